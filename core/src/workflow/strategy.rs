//! Which events a listening step or a schedule wants.

use super::WorkflowError;
use super::command::Wanted;
use super::definition::{Data, Read};
use super::scope::Scope;
use crate::jq::{Filter, Template};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Listen {
    pub to: Strategy,
    pub read: Read,
    pub each: Option<ForEvent>,
}

/// What is done with each event.
#[derive(Debug)]
pub(super) struct ForEvent {
    pub body: Option<usize>,
    pub data: Data,
}

#[derive(Debug)]
pub(super) struct Strategy {
    pub mode: Mode,
    pub filters: Vec<EventFilter>,
    pub until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    One,
    Any,
    All,
}

/// When listening to `any` ends.
#[derive(Debug)]
pub(super) enum Until {
    /// With the first event.
    First,
    Never,
    /// When it holds on what has been consumed.
    Condition(Filter),
    Events(Box<Strategy>),
}

#[derive(Debug, Default)]
pub(super) struct EventFilter {
    pub with: Vec<(String, Match)>,
    pub correlate: Vec<Correlate>,
}

#[derive(Debug)]
pub(super) enum Match {
    /// The same value; a text may also be a regular expression for the whole of it.
    Equals(Value, Option<Filter>),
    /// An expression on the attribute: a condition, or a value to be the same.
    Expression(Template),
}

#[derive(Debug)]
pub(super) struct Correlate {
    pub name: String,
    pub from: Filter,
    pub expect: Option<Template>,
}

impl Strategy {
    /// Lets an event count: whether it is wanted, and by that whether all has been heard. `input` is
    /// that of the listening step.
    /// `met` holds the filters that have had their event.
    pub fn take(
        &self,
        event: &Value,
        met: &mut Vec<usize>,
        correlated: &mut BTreeMap<String, Value>,
        scope: &Scope<'_>,
        input: &Value,
    ) -> Result<Taken, WorkflowError> {
        if self.filters.is_empty() {
            return Ok(Taken::Enough);
        }
        for (i, filter) in self.filters.iter().enumerate() {
            if self.mode == Mode::All && met.contains(&i) {
                continue;
            }
            if !filter.takes(event, correlated, scope, input)? {
                continue;
            }
            if self.mode != Mode::All {
                return Ok(Taken::Enough);
            }
            met.push(i);
            return Ok(if met.len() == self.filters.len() { Taken::Enough } else { Taken::More });
        }
        Ok(Taken::Not)
    }

    /// What is known of wanted events beforehand.
    pub fn wants(
        &self,
        correlated: &BTreeMap<String, Value>,
        scope: &Scope<'_>,
        input: &Value,
    ) -> Result<Vec<Wanted>, WorkflowError> {
        let mut wants = Vec::new();
        if self.filters.is_empty() {
            wants.push(Wanted::default());
        }
        for filter in &self.filters {
            wants.push(filter.wants(correlated, scope, input)?);
        }
        if let Until::Events(until) = &self.until {
            wants.extend(until.wants(correlated, scope, input)?);
        }
        Ok(wants)
    }
}

/// What a strategy makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Not,
    /// It is wanted, and others are still missing.
    More,
    /// It is wanted, and the last one.
    Enough,
}

impl EventFilter {
    fn takes(
        &self,
        event: &Value,
        correlated: &mut BTreeMap<String, Value>,
        scope: &Scope<'_>,
        input: &Value,
    ) -> Result<bool, WorkflowError> {
        for (name, wanted) in &self.with {
            if !wanted.holds(event.get(name).unwrap_or(&Value::Null), scope)? {
                return Ok(false);
            }
        }
        let mut learned = Vec::new();
        for correlate in &self.correlate {
            // An event of another shape than the expression is made for is not wanted.
            let Ok(found) = correlate.from.run_with(event, &|i| scope.get(i)) else {
                return Ok(false);
            };
            let expected = match (&correlate.expect, correlated.get(&correlate.name)) {
                (Some(expect), _) => Some(scope.render(expect, input)?),
                (None, known) => known.cloned(),
            };
            match expected {
                Some(expected) if expected != found => return Ok(false),
                Some(_) => {}
                // Without anything to go by, the first value sets what the others must be.
                None if found.is_null() => return Ok(false),
                None => learned.push((correlate.name.clone(), found)),
            }
        }
        correlated.extend(learned);
        Ok(true)
    }

    fn wants(
        &self,
        correlated: &BTreeMap<String, Value>,
        scope: &Scope<'_>,
        input: &Value,
    ) -> Result<Wanted, WorkflowError> {
        let text = |key: &str| {
            let found = self.with.iter().find(|(name, _)| name == key)?;
            match &found.1 {
                Match::Equals(Value::String(text), _) => Some(text.clone()),
                _ => None,
            }
        };
        let mut wanted =
            Wanted { event_type: text("type"), source: text("source"), correlate: Vec::new() };
        for correlate in &self.correlate {
            let known = match (&correlate.expect, correlated.get(&correlate.name)) {
                (Some(expect), _) => Some(scope.render(expect, input)?),
                (None, known) => known.cloned(),
            };
            wanted.correlate.extend(known.map(|value| (correlate.name.clone(), value)));
        }
        Ok(wanted)
    }
}

impl Match {
    fn holds(&self, found: &Value, scope: &Scope<'_>) -> Result<bool, WorkflowError> {
        match self {
            Match::Equals(wanted, _) if wanted == found => Ok(true),
            Match::Equals(_, Some(pattern)) if found.is_string() => scope.holds(pattern, found),
            Match::Equals(..) => Ok(false),
            Match::Expression(template) => Ok(match scope.render(template, found) {
                Ok(Value::Bool(holds)) => holds,
                Ok(value) => !found.is_null() && value == *found,
                // Data of another shape than the expression is made for are not wanted.
                Err(_) => false,
            }),
        }
    }
}
