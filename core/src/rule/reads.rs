//! What a rule's actions read of the rows of a change, so that a match need not keep the rest.

use crate::jq;
use serde_json::Value;
use std::collections::BTreeSet;

/// The sides of a change.
pub const SIDES: [&str; 2] = ["new", "old"];

/// What is read, in words: `new` for the whole row, `new.id` for a column of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads(BTreeSet<String>);

/// How much of a row is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Whole,
    Columns(Vec<&'a str>),
}

impl Reads {
    /// What actions, as they are defined, read after the commit of a change of a table.
    pub fn of_change(actions: &Value) -> Reads {
        let mut found = Reads::default();
        found.add_actions(actions, &|reads, keys| reads.add(keys));
        found
    }

    /// The same of actions on an event, in which there may be the rows of a change.
    pub fn of_event(actions: &Value) -> Reads {
        let mut found = Reads::default();
        found.add_actions(actions, &|reads, keys| match keys {
            [event] if event == "event" => reads.add(&[]),
            [event, payload] if event == "event" && payload == "payload" => reads.add(&[]),
            [event, payload, rest @ ..] if event == "event" && payload == "payload" => {
                reads.add(rest);
            }
            // The keys of the payload stand beside those of the event.
            [event, rest @ ..] if event == "event" => reads.add(rest),
            _ => reads.add(keys),
        });
        found
    }

    /// Both rows as they are.
    pub fn all() -> Reads {
        Reads(SIDES.map(str::to_owned).into())
    }

    fn add_actions(&mut self, actions: &Value, add: &dyn Fn(&mut Reads, &[String])) {
        for action in actions.as_array().into_iter().flatten() {
            // The others are done with the write, which has the rows.
            if action["timing"] != "transaction" {
                self.add_tree(action, add);
            }
        }
    }

    /// From its words.
    pub fn from_words(words: impl IntoIterator<Item = String>) -> Reads {
        Reads(words.into_iter().collect())
    }

    pub fn words(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }

    fn add_tree(&mut self, tree: &Value, add: &dyn Fn(&mut Reads, &[String])) {
        match tree {
            Value::String(text) => {
                if let Some(source) = jq::expression(text) {
                    jq::reads(source).iter().for_each(|keys| add(self, keys));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_tree(item, add)),
            Value::Object(map) => map.values().for_each(|item| self.add_tree(item, add)),
            _ => {}
        }
    }

    fn add(&mut self, keys: &[String]) {
        match keys {
            [] => self.0.extend(SIDES.map(str::to_owned)),
            [side, rest @ ..] if SIDES.contains(&side.as_str()) => {
                let word = match rest {
                    [] => side.clone(),
                    [column, ..] => format!("{side}.{column}"),
                };
                self.0.insert(word);
            }
            _ => {}
        }
    }

    /// What is read of a side.
    pub fn part(&self, side: &str) -> Part<'_> {
        if self.0.contains(side) {
            return Part::Whole;
        }
        let column = |word: &'_ String| -> Option<usize> {
            word.strip_prefix(side)?.strip_prefix('.').map(|_| side.len() + 1)
        };
        Part::Columns(self.0.iter().filter_map(|w| column(w).map(|at| &w[at..])).collect())
    }

    /// Whether all of it is in what a match has kept; a side that `has` denies, the change has not.
    pub fn is_within(&self, kept: &Reads, has: impl Fn(&str) -> bool) -> bool {
        self.0.iter().all(|word| {
            let side = word.split('.').next().unwrap_or_default();
            !has(side) || kept.0.contains(side) || kept.0.contains(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(actions: &Value) -> String {
        Reads::of_change(actions).words().join(" ")
    }

    #[test]
    fn columns_of_sides() {
        let actions = json!([
            {"sql": "SELECT $1", "params": ["${ .new.id }", "${ .event.op }", ".old.x"]},
            {"emit": "e", "payload": {"a": {"b": ["${ .old.\"last name\" }"]}, "rule": "${ .rule }"}},
            {"notify": "t", "recipients": ["mail:a@b.c"], "data": "${ {n: .new.who.name} }"},
            {"sql": "SELECT $1", "params": ["${ .new }"], "timing": "transaction"},
        ]);
        assert_eq!(words(&actions), "new.id new.who old.last name");
        let reads = Reads::of_change(&actions);
        assert_eq!(reads.part("new"), Part::Columns(vec!["id", "who"]));
        assert_eq!(reads.part("old"), Part::Columns(vec!["last name"]));
        assert_eq!(words(&json!([{"emit": "e"}])), "");
        assert_eq!(words(&json!([{"emit": "e", "payload": "${ . }"}])), "new old");
        let whole = Reads::of_change(&json!([{"http": {"url": "http://a", "body": "${ .new }"}}]));
        assert_eq!((whole.part("new"), whole.part("old")), (Part::Whole, Part::Columns(vec![])));
    }

    #[test]
    fn rows_within_an_event() {
        for (text, expected) in [
            (".event.op", ""),
            (".event", "new old"),
            (".event.payload", "new old"),
            (".event.payload.key", ""),
            (".event.payload.new.id", "new.id"),
            (".event.old | .id", "old.id"),
            (".new.id", "new.id"),
            ("{rule}", ""),
            (".", "new old"),
        ] {
            let actions = json!([{"emit": "e", "payload": format!("${{ {text} }}")}]);
            assert_eq!(Reads::of_event(&actions).words().join(" "), expected, "{text}");
        }
    }

    #[test]
    fn what_was_kept_may_be_enough() {
        let of = |words: &str| Reads::from_words(words.split_whitespace().map(str::to_owned));
        for (needed, kept, sides, enough) in [
            ("new.a", "new.a new.b", "new old", true),
            ("new.a old.b", "new.a", "new old", false),
            ("new.a old.b", "new.a", "new", true),
            ("new.a", "new", "new", true),
            ("new", "new.a", "new", false),
            ("", "", "new", true),
        ] {
            let is_within = of(needed).is_within(&of(kept), |side| sides.contains(side));
            assert_eq!(is_within, enough, "{needed} in {kept}");
        }
    }
}
