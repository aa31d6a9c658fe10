//! Which arguments belong to which type of trigger.

use super::define::Definition;
use crate::error::{Error, Result};
use automate_core::trigger::Kind;
use serde_json::Value;

impl Definition {
    /// The short form for schedules: what was given as conditions is the schedule.
    pub fn read_short_form(&mut self) {
        if self.kind != Kind::Time || self.schedule.is_some() {
            return;
        }
        self.schedule = self.conditions.take().map(|given| match given {
            Value::String(text) => text,
            other => other.to_string(),
        });
    }

    /// Refuses arguments that mean nothing for the type, and asks for those that it needs.
    pub(super) fn check_arguments(&self) -> Result<()> {
        use Kind::{Custom, Data, Event, Time};
        let given: [(&str, bool, &[Kind]); 7] = [
            ("on_table", self.on_table.is_some(), &[Data]),
            ("operations", self.operations.is_some(), &[Data]),
            ("columns", self.columns.is_some(), &[Data]),
            ("schedule", self.schedule.is_some(), &[Time]),
            ("source", self.source.is_some(), &[Custom]),
            ("condition", self.condition.is_some(), &[Data, Event, Custom]),
            ("conditions", self.conditions.is_some(), &[Data, Event]),
        ];
        for (name, given, kinds) in given {
            if given && !kinds.contains(&self.kind) {
                return Err(foreign(name, self.kind, kinds));
            }
        }
        let missing = match self.kind {
            Data if self.on_table.is_none() => Some(("a table", "on_table => 'orders'")),
            Time if self.schedule.is_none() => {
                Some(("a schedule", "schedule => '0 8 * * 1-5' or schedule => 'every 5 min'"))
            }
            Custom if self.source.is_none() => {
                Some(("a query", "source => 'SELECT count(*) FROM tickets'"))
            }
            _ => None,
        };
        match missing {
            None => Ok(()),
            Some((what, example)) => {
                let word = self.kind.word();
                Err(Error::invalid(format!("a trigger of type {word} needs {what}"))
                    .with_detail(format!("The trigger \"{}\" has none.", self.name))
                    .with_hint(format!("Give {example}.")))
            }
        }
    }
}

fn foreign(name: &str, kind: Kind, kinds: &[Kind]) -> Error {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
    let hint = match (kind, name) {
        (Kind::Time, "condition" | "conditions") => {
            "Let a rule that is subscribed to it have the condition, or make a trigger of type custom."
                .to_owned()
        }
        (Kind::Custom, "conditions") => "Write condition => 'value > 100' in SQL.".to_owned(),
        (Kind::Event, "on_table") => {
            "To look at the changes of a table, give trigger_type => 'data'.".to_owned()
        }
        _ => format!("Leave it out, or give trigger_type => '{}'.", words[0]),
    };
    Error::invalid(format!("{name} is not for a trigger of type {}", kind.word()))
        .with_detail(format!("It is for triggers of type {}.", words.join(" and ")))
        .with_hint(hint)
}
