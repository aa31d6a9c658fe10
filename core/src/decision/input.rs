//! Reading the input of a decision: the values of the columns, out of one JSON object.

use super::decide::Failed;
use super::table::{Input, Table};
use super::value::Val;
use crate::suggest;
use serde_json::value::RawValue;
use std::collections::HashMap;

type Object<'a> = HashMap<String, &'a RawValue>;

impl Table {
    /// The values of the inputs; `None` for NULL.
    pub fn values(&self, json: &str) -> Result<Vec<Option<Val>>, Failed> {
        let Ok(object) = serde_json::from_str::<Object>(json) else {
            return Err(Failed::input("the input must be a JSON object".into())
                .with_hint(format!("Give {} by name.", self.names().join(", "))));
        };
        let mut values = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let found = find(&object, &input.path);
            if found.is_none() {
                self.check_slip(&object, input)?;
            }
            values.push(match found.map(RawValue::get) {
                None | Some("null") => None,
                Some(json) => Some(typed(input, json)?),
            });
        }
        Ok(values)
    }

    fn names(&self) -> Vec<&str> {
        self.inputs.iter().map(|input| input.path[0].as_str()).collect()
    }

    /// An input that is not there is NULL, unless a key that nobody asks for looks like it.
    fn check_slip(&self, object: &Object, input: &Input) -> Result<(), Failed> {
        let known = self.names();
        let others = object.keys().map(String::as_str).filter(|key| !known.contains(key));
        let wanted = input.path[0].as_str();
        if object.contains_key(wanted) {
            return Ok(());
        }
        match suggest::nearest(wanted, others) {
            None => Ok(()),
            Some(slip) => Err(Failed::input(format!("unknown input \"{slip}\""))
                .with_hint(format!("Did you mean \"{wanted}\"?"))),
        }
    }
}

fn find<'a>(object: &Object<'a>, path: &[String]) -> Option<&'a RawValue> {
    let (first, rest) = path.split_first()?;
    let found = object.get(first.as_str()).copied()?;
    match rest {
        [] => Some(found),
        rest => find(&serde_json::from_str::<Object>(found.get()).ok()?, rest),
    }
}

fn typed(input: &Input, json: &str) -> Result<Val, Failed> {
    let Some(value) = Val::from_json(input.kind, json) else {
        let shown: String = json.chars().take(60).collect();
        let (name, wanted) = (&input.name, input.kind.article());
        return Err(Failed::input(format!("input \"{name}\" must be {wanted}, not {shown}")));
    };
    match &input.values {
        Some(values) if !values.contains(Some(&value)) => Err(Failed::input(format!(
            "input \"{}\" must be one of its values, not {}",
            input.name,
            value.json()
        ))),
        _ => Ok(value),
    }
}
