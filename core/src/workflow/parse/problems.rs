//! What the walk finds wrong.

use super::Walk;
use crate::problem::Problem;
use crate::suggest;
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

/// Problems after which the walk no longer adds any.
const MAX_PROBLEMS: usize = 100;

impl<'a> Walk<'a> {
    pub(super) fn object<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
    ) -> Option<&'v Map<String, Value>> {
        if value.as_object().is_none() {
            self.problem(at, "wrong_type", "an object is expected here", "");
        }
        value.as_object()
    }

    /// Reports keys that are neither `known` nor `handled` elsewhere.
    pub(super) fn keys(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        known: &[&str],
        handled: &[&str],
    ) {
        for key in map.keys() {
            if known.contains(&&**key) || handled.contains(&&**key) {
                continue;
            }
            let hint = suggest::hint(key, known);
            let place = format!("{at}/{}", escape(key));
            self.problem(&place, "unknown_key", format!("unknown key \"{key}\""), hint);
        }
    }

    pub(super) fn unsupported(&mut self, at: &str, what: &str, instead: &str) {
        self.problem(at, "unsupported_task", format!("{what} is not supported"), instead);
    }

    pub(super) fn problem(
        &mut self,
        at: &str,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let hint = hint.into();
        let problem = Problem::error(self.real(at), code, message);
        let problem = if hint.is_empty() { problem } else { problem.with_hint(hint) };
        // A function that is called twice is wrong once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Where the author wrote what stands at this place.
    pub(super) fn real(&self, at: &str) -> String {
        let mut at = at.to_owned();
        for (place, real) in self.aliases.iter().rev() {
            if let Some(rest) = at.strip_prefix(place.as_str()) {
                at = format!("{real}{rest}");
            }
        }
        at
    }

    pub(super) fn feature(&mut self, feature: Feature, at: &str) {
        let used = (feature, self.real(at));
        if !self.features.contains(&used) {
            self.features.push(used);
        }
    }
}

/// A key as a part of a JSON Pointer.
pub(in crate::workflow) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
