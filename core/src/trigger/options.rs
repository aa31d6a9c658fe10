//! The options of a trigger, by its type.

use chrono::Duration;
use serde_json::Value;

use super::Kind;
use crate::object::{Object, below};
use crate::problem::Problem;
use crate::schedule::{parse_duration, parse_zone};
use crate::suggest;

/// How often a data trigger fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For each row.
    Row,
    /// Once a statement, without rows.
    Statement,
}

/// When the condition of a data trigger counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The change matches it.
    Matches,
    /// The row matches it now, and did not before.
    Enters,
    /// The row matched it before, and does not now.
    Leaves,
}

/// How much of a row the event of a data trigger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Full,
    /// The key and the columns that changed.
    Changed,
    Key,
}

/// What is done about instants of a schedule that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfire {
    /// The latest of them fires now.
    Once,
    /// None fires.
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub level: Level,
    pub when: When,
    /// Also for changes that logical replication applies.
    pub fire_on_replica: bool,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    pub time_zone: Option<String>,
    pub misfire: Misfire,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    /// Between two looks.
    pub every: Option<Duration>,
    /// Tables after whose changes it looks.
    pub tables: Vec<String>,
    /// How long the answer must be true before it fires.
    pub hold: Option<Duration>,
    /// The condition under which it may fire again; else: that it is no longer true.
    pub clear: Option<String>,
    /// Shortest time from one firing to the next.
    pub cool_down: Option<Duration>,
}

/// What else was asked of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    Data(Data),
    /// Only events of this source, which may be a pattern.
    Event {
        from: Option<String>,
    },
    Time(Time),
    Custom(Custom),
}

impl Options {
    /// Reads the options of a trigger, or says all that is wrong with them.
    pub fn parse(kind: Kind, options: &Value) -> Result<Options, Vec<Problem>> {
        let mut problems = Vec::new();
        let found = Object::open(options, "", &mut problems).map(|mut object| match kind {
            Kind::Data => Options::Data(data(&mut object)),
            Kind::Event => {
                object.allow(&["from"]);
                Options::Event { from: text(&mut object, "from") }
            }
            Kind::Time => Options::Time(time(&mut object)),
            Kind::Custom => Options::Custom(custom(&mut object)),
        });
        match found {
            Some(found) if problems.is_empty() => Ok(found),
            _ => Err(problems),
        }
    }
}

fn data(object: &mut Object<'_, '_>) -> Data {
    object.allow(&["level", "when", "fire_on_replica", "payload"]);
    let level = word(object, "level", &["row", "statement"]);
    let when = word(object, "when", &["matches", "enters", "leaves"]);
    let payload = word(object, "payload", &["full", "changed", "key"]);
    let statement = level == Some("statement");
    if statement && matches!(when, Some("enters" | "leaves")) {
        let problem = Problem::error(
            object.pointer("when"),
            "no_rows",
            "\"when\" is about rows, and a trigger of level statement sees none",
        );
        object.problems().push(problem.with_hint("Leave \"level\" out."));
    }
    Data {
        level: if statement { Level::Statement } else { Level::Row },
        when: match when {
            Some("enters") => When::Enters,
            Some("leaves") => When::Leaves,
            _ => When::Matches,
        },
        fire_on_replica: object.boolean("fire_on_replica").unwrap_or(false),
        payload: match payload {
            Some("changed") => Payload::Changed,
            Some("key") => Payload::Key,
            _ => Payload::Full,
        },
    }
}

fn time(object: &mut Object<'_, '_>) -> Time {
    object.allow(&["time_zone", "misfire"]);
    let time_zone = text(object, "time_zone");
    if let Some(name) = &time_zone
        && let Err(error) = parse_zone(name)
    {
        let mut problem = Problem::error(object.pointer("time_zone"), "time_zone", error.message);
        problem.hint = error.hint;
        object.problems().push(problem);
    }
    let skip = word(object, "misfire", &["once", "skip"]) == Some("skip");
    Time { time_zone, misfire: if skip { Misfire::Skip } else { Misfire::Once } }
}

fn custom(object: &mut Object<'_, '_>) -> Custom {
    object.allow(&["every", "tables", "for", "clear", "cool_down"]);
    let every = duration(object, "every");
    if every.is_some_and(|every| every < Duration::seconds(1)) {
        let problem =
            Problem::error(object.pointer("every"), "too_short", "\"every\" is too short");
        object.problems().push(problem.with_hint("The shortest interval is 1 second."));
    }
    let tables = object.strings("tables").unwrap_or_default();
    if object.get("every").is_none() && tables.is_empty() {
        let problem = Problem::error("", "never", "the trigger would never look");
        let hint = "Say how often, {\"every\": \"30 s\"}, or after which changes, {\"tables\": [\"orders\"]}.";
        object.problems().push(problem.with_hint(hint));
    }
    Custom {
        every,
        tables,
        hold: duration(object, "for"),
        clear: text(object, "clear"),
        cool_down: duration(object, "cool_down"),
    }
}

/// One of the words known at `key`.
fn word<'a>(object: &mut Object<'a, '_>, key: &str, known: &[&str]) -> Option<&'a str> {
    let found = object.string(key)?;
    if known.contains(&found) {
        return Some(found);
    }
    let message = format!("\"{key}\" cannot be \"{}\"", found.chars().take(40).collect::<String>());
    let problem = Problem::error(object.pointer(key), "unknown_word", message);
    object.problems().push(problem.with_hint(suggest::hint(found, known)));
    None
}

/// The text at `key`, which must not be blank.
fn text(object: &mut Object<'_, '_>, key: &str) -> Option<String> {
    object.get(key)?;
    object.required_string(key).map(str::to_owned)
}

/// The duration at `key`.
fn duration(object: &mut Object<'_, '_>, key: &str) -> Option<Duration> {
    let text = object.string(key)?;
    match parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(error) => {
            let mut problem = Problem::error(below("", key), "duration", error.message);
            problem.hint = error.hint;
            object.problems().push(problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn codes(kind: Kind, value: Value) -> Vec<(String, &'static str)> {
        let problems = Options::parse(kind, &value).unwrap_err();
        problems.into_iter().map(|p| (p.pointer, p.code)).collect()
    }

    #[test]
    fn each_type_has_options_of_its_own() {
        let data = |value| match Options::parse(Kind::Data, &value).unwrap() {
            Options::Data(data) => data,
            other => panic!("{other:?}"),
        };
        let plain = data(json!({}));
        assert_eq!(
            (plain.level, plain.when, plain.payload),
            (Level::Row, When::Matches, Payload::Full)
        );
        assert!(!plain.fire_on_replica);
        let full = data(json!({"when": "enters", "payload": "key", "fire_on_replica": true}));
        assert_eq!(
            (full.when, full.payload, full.fire_on_replica),
            (When::Enters, Payload::Key, true)
        );
        assert_eq!(data(json!({"level": "statement"})).level, Level::Statement);
        assert_eq!(data(json!({"when": "leaves", "payload": "changed"})).when, When::Leaves);
        assert_eq!(
            Options::parse(Kind::Event, &json!({"from": "webhook:*"})),
            Ok(Options::Event { from: Some("webhook:*".into()) })
        );
        assert_eq!(
            Options::parse(Kind::Time, &json!({"time_zone": "Europe/Zurich", "misfire": "skip"})),
            Ok(Options::Time(Time {
                time_zone: Some("Europe/Zurich".into()),
                misfire: Misfire::Skip
            }))
        );
        let custom = json!({"every": "30 s", "tables": "orders", "for": "5 min", "clear": "value < 80", "cool_down": "1 h"});
        assert_eq!(
            Options::parse(Kind::Custom, &custom),
            Ok(Options::Custom(Custom {
                every: Some(Duration::seconds(30)),
                tables: vec!["orders".into()],
                hold: Some(Duration::minutes(5)),
                clear: Some("value < 80".into()),
                cool_down: Some(Duration::hours(1)),
            }))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_a_way_out() {
        let at = |place: &str, code| vec![(place.to_owned(), code)];
        assert_eq!(codes(Kind::Data, json!([])), at("", "wrong_kind"));
        assert_eq!(codes(Kind::Data, json!({"levle": "row"})), at("/levle", "unknown_key"));
        assert_eq!(codes(Kind::Data, json!({"level": "rows"})), at("/level", "unknown_word"));
        assert_eq!(
            codes(Kind::Data, json!({"fire_on_replica": 1})),
            at("/fire_on_replica", "wrong_kind")
        );
        assert_eq!(
            codes(Kind::Data, json!({"level": "statement", "when": "enters"})),
            at("/when", "no_rows")
        );
        assert_eq!(codes(Kind::Event, json!({"when": "enters"})), at("/when", "unknown_key"));
        assert_eq!(codes(Kind::Event, json!({"from": " "})).len(), 1);
        assert_eq!(
            codes(Kind::Time, json!({"time_zone": "Europe/Zürich"})),
            at("/time_zone", "time_zone")
        );
        assert_eq!(codes(Kind::Custom, json!({})), at("", "never"));
        assert_eq!(codes(Kind::Custom, json!({"every": "10 ms"})), at("/every", "too_short"));
        assert_eq!(codes(Kind::Custom, json!({"every": "10 parsec"})), at("/every", "duration"));
        let problems = Options::parse(Kind::Data, &json!({"when": "entres"})).unwrap_err();
        assert_eq!(problems[0].hint.as_deref(), Some("Did you mean \"enters\"?"));
    }
}
