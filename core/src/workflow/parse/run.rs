//! `run`: other workflows; containers, scripts and shells are refused.

use super::Walk;
use crate::workflow::definition::{EffectRef, Kind, RunWorkflow};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

/// Processes the language knows and this project does not run, with what to use instead.
const REFUSED: [(&str, &str); 3] = [
    ("container", "Use call: http to a service that runs it."),
    ("script", "Use call: sql with a function, in any language PostgreSQL has."),
    ("shell", "Use call: sql with a function, or call: http."),
];

impl Walk<'_> {
    pub(super) fn run(&mut self, value: &Value, task: &str, at: &str) -> Option<Kind> {
        let map = self.object(value, at)?;
        for (key, hint) in REFUSED {
            if map.contains_key(key) {
                self.unsupported(&format!("{at}/{key}"), &format!("\"run: {key}\""), hint);
                return None;
            }
        }
        self.keys(map, at, &["workflow", "await", "return"], &REFUSED.map(|(key, _)| key));
        self.feature(Feature::RunWorkflow, at);
        let wait = match map.get("await") {
            None => true,
            Some(Value::Bool(wait)) => *wait,
            Some(_) => {
                let place = format!("{at}/await");
                self.problem(&place, "wrong_type", "\"await\" must be true or false", "");
                true
            }
        };
        let returns = match map.get("return").map(|v| v.as_str().unwrap_or_default()) {
            None | Some("stdout") => true,
            Some("none") => false,
            Some(_) => {
                let hint = "Write \"none\", or leave it out for the output of the workflow.";
                let place = format!("{at}/return");
                self.unsupported(&place, "this \"return\" of a workflow", hint);
                true
            }
        };
        let place = format!("{at}/workflow");
        let Some(workflow) = map.get("workflow") else {
            let hint =
                "Write {\"workflow\": {\"namespace\": ..., \"name\": ..., \"version\": ...}}.";
            self.problem(at, "missing_key", "\"run\" needs \"workflow\"", hint);
            return None;
        };
        let map = self.object(workflow, &place)?;
        self.keys(map, &place, &["namespace", "name", "version", "input"], &[]);
        let name = self.part(map, &place, "name", None)?;
        let namespace = self.part(map, &place, "namespace", Some("default"))?;
        let version = self.part(map, &place, "version", Some("latest"))?;
        let pointer = self.real(task);
        let (ns, v) = (namespace.clone(), version.clone());
        self.effects.push(EffectRef::Workflow {
            pointer,
            namespace: ns,
            name: name.clone(),
            version: v,
        });
        let input = match map.get("input") {
            Some(input) => Some(self.template(input, &format!("{place}/input"), &["output"])?),
            None => None,
        };
        Some(Kind::Run(Box::new(RunWorkflow { namespace, name, version, input, wait, returns })))
    }

    fn part(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        key: &str,
        default: Option<&str>,
    ) -> Option<String> {
        match (map.get(key), default) {
            (Some(value), _) => self.constant_text(value, &format!("{at}/{key}")),
            (None, Some(default)) => Some(default.to_owned()),
            (None, None) => {
                let message = format!("a workflow to run needs \"{key}\"");
                self.problem(at, "missing_key", message, "Name one made by create_workflow.");
                None
            }
        }
    }
}
