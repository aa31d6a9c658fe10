//! The policies of a task, as their authors write them.

use std::fmt;

/// What is done about instants that were missed, such as while the server was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfire {
    /// None of them runs; the latest still does if it is not late by more than a minute.
    Skip,
    /// The latest runs for all of them.
    Once,
    /// Each of them runs, up to the last [`Misfire::MOST`].
    All,
    /// The latest so many run.
    Last(usize),
}

impl Misfire {
    /// Most runs that are made up for after an outage.
    pub const MOST: usize = 1000;
    /// How the policies are written; n stands for a number.
    pub const FORMS: [&'static str; 4] = ["skip", "once", "all", "last n"];

    /// Reads a policy; None when it is none.
    pub fn parse(text: &str) -> Option<Misfire> {
        match text {
            "skip" => Some(Misfire::Skip),
            "once" => Some(Misfire::Once),
            "all" => Some(Misfire::All),
            _ => {
                let count = text.strip_prefix("last ")?.trim().parse().ok()?;
                (1..=Misfire::MOST).contains(&count).then_some(Misfire::Last(count))
            }
        }
    }

    /// Whether runs are made up for one by one.
    pub fn makes_up(self) -> bool {
        matches!(self, Misfire::All | Misfire::Last(_))
    }

    /// How many of the latest instants run, and whether also those that are late.
    pub(super) fn runs(self) -> (usize, bool) {
        match self {
            Misfire::Skip => (1, false),
            Misfire::Once => (1, true),
            Misfire::All => (Misfire::MOST, true),
            Misfire::Last(count) => (count, true),
        }
    }
}

impl fmt::Display for Misfire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfire::Skip => f.write_str("skip"),
            Misfire::Once => f.write_str("once"),
            Misfire::All => f.write_str("all"),
            Misfire::Last(count) => write!(f, "last {count}"),
        }
    }
}

/// What is done about a run that is due while an earlier one of the task is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It waits for its turn.
    Queue,
    /// The earlier one is cancelled.
    Replace,
    /// Both run.
    Allow,
}

impl Overlap {
    /// The policies' names.
    pub const NAMES: [&'static str; 4] = ["skip", "queue", "replace", "allow"];

    /// Reads a policy; None when it is none.
    pub fn parse(text: &str) -> Option<Overlap> {
        let all = [Overlap::Skip, Overlap::Queue, Overlap::Replace, Overlap::Allow];
        all.into_iter().zip(Overlap::NAMES).find(|(_, name)| *name == text).map(|(it, _)| it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written() {
        for text in ["skip", "once", "all", "last 1", "last 1000"] {
            assert_eq!(Misfire::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        for text in ["", "last", "last 0", "last 1001", "last -1", "Once", "last n"] {
            assert_eq!(Misfire::parse(text), None, "{text}");
        }
        assert_eq!(Overlap::parse("queue"), Some(Overlap::Queue));
        assert_eq!(Overlap::parse("allow"), Some(Overlap::Allow));
        assert_eq!(Overlap::parse("wait"), None);
    }
}
