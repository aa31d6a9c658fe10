//! Triggers: their types, and what can be asked of each beside its source and condition.

pub mod edge;
mod options;
mod pattern;

pub use options::{Custom, Data, Level, Misfire, Options, Payload, Time, When};
pub use pattern::fits;

/// What makes a trigger fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes of a table.
    Data,
    /// Events of a name.
    Event,
    /// A schedule.
    Time,
    /// A query whose answer becomes true.
    Custom,
}

impl Kind {
    /// All words, for hints.
    pub const WORDS: [&str; 4] = ["data", "event", "time", "custom"];

    /// The type of a word.
    pub fn of(word: &str) -> Option<Kind> {
        match word {
            "data" => Some(Kind::Data),
            "event" => Some(Kind::Event),
            "time" => Some(Kind::Time),
            "custom" => Some(Kind::Custom),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Event => "event",
            Kind::Time => "time",
            Kind::Custom => "custom",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn words_name_types() {
        for word in Kind::WORDS {
            assert_eq!(Kind::of(word).map(Kind::word), Some(word));
        }
        assert_eq!(Kind::of("Data"), None);
    }
}
