//! Hit policies: what the rows that match mean together.

/// DMN's hit policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Unique,
    First,
    Priority,
    Any,
    Collect,
    Sum,
    Min,
    Max,
    Count,
    RuleOrder,
    OutputOrder,
}

/// The words, with DMN's letters.
const WORDS: [(&str, &str, Policy); 11] = [
    ("unique", "U", Policy::Unique),
    ("first", "F", Policy::First),
    ("priority", "P", Policy::Priority),
    ("any", "A", Policy::Any),
    ("collect", "C", Policy::Collect),
    ("sum", "C+", Policy::Sum),
    ("min", "C<", Policy::Min),
    ("max", "C>", Policy::Max),
    ("count", "C#", Policy::Count),
    ("rule_order", "R", Policy::RuleOrder),
    ("output_order", "O", Policy::OutputOrder),
];

/// All words, for hints.
pub const POLICIES: [&str; 11] = [
    "unique",
    "first",
    "priority",
    "any",
    "collect",
    "sum",
    "min",
    "max",
    "count",
    "rule_order",
    "output_order",
];

impl Policy {
    /// The policy of a word or a letter.
    pub fn of(word: &str) -> Option<Policy> {
        let word = word.trim();
        let is = |w: &&(&str, &str, Policy)| w.0.eq_ignore_ascii_case(word) || w.1 == word;
        WORDS.iter().find(is).map(|(_, _, policy)| *policy)
    }

    pub fn word(self) -> &'static str {
        POLICIES[self as usize]
    }

    /// The answer is one row's outputs.
    pub fn is_single(self) -> bool {
        matches!(self, Policy::Unique | Policy::First | Policy::Priority | Policy::Any)
    }

    /// The answer is a list of rows' outputs.
    pub fn is_list(self) -> bool {
        matches!(self, Policy::Collect | Policy::RuleOrder | Policy::OutputOrder)
    }

    /// Needs the outputs' values in order of importance.
    pub fn is_ordered(self) -> bool {
        matches!(self, Policy::Priority | Policy::OutputOrder)
    }
}
