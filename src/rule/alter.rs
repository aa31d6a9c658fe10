//! Changing a rule: what is given replaces what was, and all of it is looked at anew.

use super::define::{self, Definition};
use super::version::{self, Change};
use super::{case, publish, read};
use crate::error::Result;
use crate::spi::as_extension;
use crate::spi::own::as_role;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;

/// What is to be another way; None stays as it is.
pub struct Changes {
    pub actions: Option<Value>,
    pub operations: Option<Vec<String>>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub columns: Option<Vec<String>>,
    pub priority: Option<i32>,
    pub stop: Option<bool>,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub on_error: Option<String>,
    pub description: Option<String>,
    pub timing: Option<String>,
    /// Empty: in none.
    pub ruleset: Option<String>,
}

/// Changes a rule; returns the version that this makes. A broken rule that is good now works again.
/// With `draft` the version in force stays as it is.
pub fn alter(user: pg_sys::Oid, name: &str, changes: Changes, draft: bool) -> Result<i32> {
    let (rule, beside) = as_extension(|own| {
        let rule = read::find(own, user, name)?;
        let beside = draft && !rule.definition.draft;
        let kept = if beside { version::draft(own, rule.id)? } else { None };
        Ok((rule, beside.then_some(kept)))
    })?;
    // A draft goes on from the one there is.
    let base = match beside.as_ref().and_then(Option::as_ref) {
        Some(kept) => Some(kept.definition(&rule)?),
        None => None,
    };
    let base = base.as_ref().unwrap_or(&rule.definition);
    let mut definition = base.clone();
    changes.apply(&mut definition);
    let checked = as_role(rule.owner, || define::check(rule.owner, &definition))?;
    let is_draft = beside.is_some() || definition.draft;
    if !is_draft {
        let cases = as_extension(|own| case::read(own, rule.id))?;
        publish::require_cases(rule.owner, &definition, &checked, &cases)?;
    }
    let change = Change {
        user,
        id: rule.id,
        owner: rule.owner,
        definition: &definition,
        checked: &checked,
        before: Some(&rule),
        action: if is_draft { "draft" } else { "alter" },
        note: None,
    };
    as_extension(|own| match beside {
        Some(_) => change.put_beside(own, base),
        None => change.put(own, None),
    })
}

impl Changes {
    fn apply(self, d: &mut Definition) {
        // One of the two forms of a condition replaces the other; both at once are refused later.
        if self.condition.is_some() || self.conditions.is_some() {
            d.condition = self.condition;
            d.conditions = self.conditions;
        }
        replace(&mut d.actions, self.actions);
        replace(&mut d.operations, self.operations);
        replace(&mut d.priority, self.priority);
        replace(&mut d.stop, self.stop);
        replace(&mut d.on_error, self.on_error);
        replace(&mut d.timing, self.timing);
        d.columns = self.columns.or_else(|| d.columns.take());
        d.valid_from = self.valid_from.or(d.valid_from);
        d.valid_until = self.valid_until.or(d.valid_until);
        d.description = self.description.or_else(|| d.description.take());
        if let Some(ruleset) = self.ruleset {
            d.ruleset = Some(ruleset).filter(|name| !name.is_empty());
        }
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
