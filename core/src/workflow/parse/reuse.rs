//! What is written once under `use`, and referred to by name.

use super::{Walk, escape};
use crate::suggest;
use crate::workflow::command::SecretRef;
use crate::workflow::definition::{EffectRef, Kind};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value, json};

/// Functions within functions.
const MAX_NESTED: usize = 8;

impl<'a> Walk<'a> {
    /// What `use.<group>.<name>` holds, with its pointer.
    pub(super) fn shared(
        &mut self,
        group: &str,
        name: &str,
        at: &str,
    ) -> Option<(&'a Value, String)> {
        let found = self.shared.and_then(|s| s.get(group)).and_then(Value::as_object);
        if let Some(value) = found.and_then(|g| g.get(name)) {
            return Some((value, format!("/use/{group}/{}", escape(name))));
        }
        let known: Vec<&str> = found.into_iter().flat_map(|g| g.keys()).map(|k| &**k).collect();
        let hint = match known.is_empty() {
            true => format!("Define it under \"use.{group}\"."),
            false => suggest::hint(name, &known),
        };
        self.problem(at, "unknown_name", format!("there is no \"{name}\" in use.{group}"), hint);
        None
    }

    /// Whether `use.functions` has this name.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.shared.and_then(|s| s.get("functions")).is_some_and(|f| f.get(name).is_some())
    }

    pub(super) fn function_names(&self) -> Vec<&'a str> {
        let found = self.shared.and_then(|s| s.get("functions")).and_then(Value::as_object);
        found.into_iter().flat_map(|f| f.keys()).map(|k| k.as_str()).collect()
    }

    /// A call of a function: its task stands at the call, so that its steps are told apart.
    pub(super) fn function_call(
        &mut self,
        name: &'a str,
        map: &Map<String, Value>,
        at: &str,
    ) -> Option<Kind> {
        let (task, real) = self.shared("functions", name, &format!("{at}/call"))?;
        if self.functions.iter().any(|f| f == name) || self.functions.len() >= MAX_NESTED {
            let message = format!("the function \"{name}\" calls itself");
            let hint = "Call a workflow by run, which may call itself.";
            self.problem(&format!("{at}/call"), "cycle", message, hint);
            return None;
        }
        let empty = json!({});
        let with =
            self.template(map.get("with").unwrap_or(&empty), &format!("{at}/with"), &["output"]);
        let place = format!("{at}/call/{}", escape(name));
        self.functions.push(name.to_owned());
        self.aliases.push((place.clone(), real));
        let list = self.lone_task(name, task, place);
        self.aliases.pop();
        self.functions.pop();
        Some(Kind::Function(with?, list?))
    }

    pub(super) fn secrets(&mut self, value: &Value) {
        let Some(items) = value.as_array() else {
            let hint = "Write [\"name\", ...].";
            self.problem("/use/secrets", "wrong_type", "\"secrets\" must be an array", hint);
            return;
        };
        self.feature(Feature::Secrets, "/use/secrets");
        for (i, item) in items.iter().enumerate() {
            let at = format!("/use/secrets/{i}");
            if let Some(name) = self.constant_text(item, &at) {
                self.effects.push(EffectRef::Secret { pointer: at, name });
            }
        }
    }

    /// A secret of `use.secrets` by its name.
    pub(super) fn secret(&mut self, name: &str, path: Vec<String>, at: &str) -> Option<SecretRef> {
        let found = self.shared.and_then(|s| s.get("secrets")).and_then(Value::as_array);
        let known: Vec<&str> = found.into_iter().flatten().filter_map(Value::as_str).collect();
        if known.contains(&name) {
            return Some(SecretRef { name: name.to_owned(), path });
        }
        let hint = match known.is_empty() {
            true => "Name it under \"use.secrets\".".to_owned(),
            false => suggest::hint(name, &known),
        };
        self.problem(at, "unknown_name", format!("there is no \"{name}\" in use.secrets"), hint);
        None
    }

    /// `${ $secrets.name.member }`, the only way in which an expression may name a secret: its
    /// value is never seen by one.
    pub(super) fn secret_of(&mut self, value: &Value, at: &str) -> Option<Option<SecretRef>> {
        let source = value.as_str().and_then(crate::jq::expression)?;
        let path = source.strip_prefix("$secrets.")?;
        let mut parts = path.split('.').map(str::to_owned);
        let word = |p: &str| {
            !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if !path.split('.').all(word) {
            return None;
        }
        let name = parts.next()?;
        Some(self.secret(&name, parts.collect(), at))
    }
}
