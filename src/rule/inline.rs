//! What a rule does within the write: before it, `set` and `reject`; after it, in the writer's
//! transaction, statements.

use super::before::{self, Place};
use super::cache::Condition;
use crate::error::{Error, Failure, Result};
use automate_core::rule::action::{self, Action, Moment};
use automate_core::rule::before::Rejection;
use pgrx::prelude::*;

/// The actions of a rule that are done within the write.
pub struct Inline {
    /// Before the row is written, in order.
    pub deeds: Vec<Deed>,
    /// After that, in the writer's transaction: each with its number among the rule's actions.
    pub statements: Vec<(usize, Action)>,
    /// There are others, which follow after the commit.
    pub commits: bool,
}

/// What is done to a row before it is written.
pub enum Deed {
    Set(Vec<Assign>),
    Reject(Box<Rejection>),
}

/// A column's number, and the expression of its value.
pub struct Assign {
    pub column: i16,
    pub value: Condition,
}

/// Nothing within the write: every action follows after the commit.
impl Default for Inline {
    fn default() -> Inline {
        Inline { deeds: Vec::new(), statements: Vec::new(), commits: true }
    }
}

/// The actions of a rule from its row.
pub fn parse(text: &str) -> std::result::Result<Vec<Action>, Failure> {
    let value = serde_json::from_str(text).map_err(|e| Failure::internal(e.to_string()))?;
    action::parse(&value).map_err(|p| Error::problems("actions", &p, crate::noun::RULE.help).into())
}

/// Gets the actions ready; expressions are kept in `context`. With the rights and the settings of
/// the rule's owner, where an error ends a subtransaction.
pub(super) fn compile(
    context: pg_sys::MemoryContext,
    place: &Place,
    actions: Vec<Action>,
) -> Result<Inline> {
    let mut inline = Inline { commits: false, ..Inline::default() };
    for (index, action) in actions.into_iter().enumerate() {
        match (action.moment(), action) {
            (_, Action::Set { values }) => {
                let assigns = values.iter().map(|value| before::compile(context, place, value));
                inline.deeds.push(Deed::Set(assigns.collect::<Result<_>>()?));
            }
            (_, Action::Reject(rejection)) => inline.deeds.push(Deed::Reject(rejection)),
            (Moment::Transaction, action) => inline.statements.push((index, action)),
            _ => inline.commits = true,
        }
    }
    Ok(inline)
}
