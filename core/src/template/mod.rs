//! Message templates: subject, body and HTML of a notification, written in minijinja.
//!
//! A template is data of a user and runs inside the server, so it gets no loader (`include`,
//! `import` and `extends` do not exist), a budget of work for each part, a limit on recursion and
//! on output, and no way to the outside. A variable that is not in the data is an error, not an
//! empty string: a half-filled message must not be sent. Only the HTML part is escaped.

mod check;
mod error;
mod header;
mod message;
mod names;

#[cfg(test)]
mod tests;

pub use self::check::validate;
pub use self::error::TemplateError;
pub use self::header::check_header_value;
pub use self::message::{Message, MessageTemplate};

/// Longest source of one part, in bytes.
pub const MAX_SOURCE: usize = 256 * 1024;

/// Longest output of all parts of a message together, in bytes.
pub const MAX_OUTPUT: usize = 1 << 20;

/// Longest subject, in characters.
pub const MAX_SUBJECT: usize = 998;

/// Deepest nesting of calls and recursive loops.
const RECURSION: usize = 50;

/// Longest single string in the data of a message, in bytes. The engine does not charge for
/// finding a character inside a string, so the length of strings is what bounds that work.
pub const MAX_STRING: usize = 100_000;

/// The parts of a message. The budgets of work (one instruction, or 64 bytes handled, a unit)
/// add up to 100,000: enough for a table of some thousand rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Subject,
    Body,
    Html,
}

impl Part {
    const ALL: [Part; 3] = [Part::Subject, Part::Body, Part::Html];

    fn name(self) -> &'static str {
        match self {
            Part::Subject => "subject",
            Part::Body => "body",
            Part::Html => "html",
        }
    }

    fn fuel(self) -> u64 {
        match self {
            Part::Subject => 4_000,
            Part::Body => 40_000,
            Part::Html => 56_000,
        }
    }
}
