//! Values of a decision: typed, ordered, numbers exact to the last digit.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use std::cmp::Ordering;

use crate::report::decimal::Decimal;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Integer,
    Text,
    Boolean,
    Date,
    Timestamp,
    /// Any JSON; for outputs only.
    Json,
}

/// Names of the types of inputs; outputs have json, too.
pub const KINDS: [&str; 7] = ["number", "integer", "text", "boolean", "date", "timestamp", "json"];

impl Kind {
    pub fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "number" => Kind::Number,
            "integer" => Kind::Integer,
            "text" | "string" => Kind::Text,
            "boolean" => Kind::Boolean,
            "date" => Kind::Date,
            "timestamp" => Kind::Timestamp,
            "json" => Kind::Json,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        KINDS[self as usize]
    }

    /// What a value of it is, for a message.
    pub fn article(self) -> &'static str {
        match self {
            Kind::Number => "a number",
            Kind::Integer => "a whole number",
            Kind::Text => "a string",
            Kind::Boolean => "true or false",
            Kind::Date => "a date such as \"2026-01-31\"",
            Kind::Timestamp => "an instant such as \"2026-01-31T12:00:00Z\"",
            Kind::Json => "JSON",
        }
    }

    /// Between a value and the next one there is nothing.
    pub fn is_discrete(self) -> bool {
        matches!(self, Kind::Integer | Kind::Date)
    }
}

/// A value; compared with others of its type only.
#[derive(Clone, Debug)]
pub enum Val {
    Boolean(bool),
    Number(Decimal),
    Text(String),
    Date(NaiveDate),
    Timestamp(DateTime<Utc>),
}

impl Ord for Val {
    fn cmp(&self, other: &Val) -> Ordering {
        match (self, other) {
            (Val::Boolean(a), Val::Boolean(b)) => a.cmp(b),
            (Val::Number(a), Val::Number(b)) => a.order(b),
            (Val::Text(a), Val::Text(b)) => a.cmp(b),
            (Val::Date(a), Val::Date(b)) => a.cmp(b),
            (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
            // Columns have one type; any fixed order will do.
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Val {
    fn partial_cmp(&self, other: &Val) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Val {
    fn eq(&self, other: &Val) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Val {}

impl Val {
    fn rank(&self) -> u8 {
        match self {
            Val::Boolean(_) => 0,
            Val::Number(_) => 1,
            Val::Text(_) => 2,
            Val::Date(_) => 3,
            Val::Timestamp(_) => 4,
        }
    }

    /// A JSON value of a type, from its text; `None` for another type's.
    pub fn from_json(kind: Kind, json: &str) -> Option<Val> {
        match (kind, json.as_bytes().first()?) {
            (Kind::Boolean, b't' | b'f') => Some(Val::Boolean(json == "true")),
            (Kind::Number | Kind::Integer, b'-' | b'0'..=b'9') => Val::from_text(kind, json),
            (Kind::Text, b'"') => Some(Val::Text(serde_json::from_str(json).ok()?)),
            (Kind::Date | Kind::Timestamp, b'"') => {
                Val::from_text(kind, &serde_json::from_str::<String>(json).ok()?)
            }
            _ => None,
        }
    }

    /// A value as it is written in a cell.
    pub fn from_text(kind: Kind, text: &str) -> Option<Val> {
        match kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Some(Val::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Some(Val::Boolean(false)),
            Kind::Boolean | Kind::Json => None,
            Kind::Number => Decimal::parse(text).map(Val::Number),
            Kind::Integer => Decimal::parse(text).filter(Decimal::is_whole).map(Val::Number),
            Kind::Text => Some(Val::Text(text.to_owned())),
            Kind::Date => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Val::Date),
            Kind::Timestamp => instant(text).map(Val::Timestamp),
        }
    }

    /// The value as JSON text.
    pub fn json(&self) -> String {
        match self {
            Val::Boolean(known) => known.to_string(),
            Val::Number(number) => number.to_string(),
            Val::Text(text) => serde_json::Value::String(text.clone()).to_string(),
            Val::Date(date) => format!("\"{}\"", date.format("%Y-%m-%d")),
            Val::Timestamp(at) => format!("\"{}\"", at.to_rfc3339()),
        }
    }

    /// The next value of a type that has one.
    pub fn next(&self) -> Option<Val> {
        match self {
            Val::Number(number) => Some(Val::Number(number.add(&whole(1)))),
            Val::Date(date) => date.succ_opt().map(Val::Date),
            _ => None,
        }
    }

    /// A value below it, if that is easily said.
    pub fn before(&self) -> Option<Val> {
        match self {
            Val::Number(number) => Some(Val::Number(number.add(&whole(-1)))),
            Val::Date(date) => date.pred_opt().map(Val::Date),
            Val::Timestamp(at) => at.checked_sub_signed(TimeDelta::days(1)).map(Val::Timestamp),
            _ => None,
        }
    }

    /// A value above it.
    pub fn after(&self) -> Option<Val> {
        match self {
            Val::Timestamp(at) => at.checked_add_signed(TimeDelta::days(1)).map(Val::Timestamp),
            Val::Text(text) => Some(Val::Text(format!("{text} "))),
            _ => self.next(),
        }
    }

    /// A value between two, if their type has one there.
    pub fn between(&self, other: &Val) -> Option<Val> {
        match (self, other) {
            (Val::Number(a), Val::Number(b)) => {
                let sum = a.add(b);
                let five = (0..4).fold(sum.clone(), |all, _| all.add(&sum));
                Decimal::parse(&format!("{five}e-1")).map(Val::Number)
            }
            (Val::Timestamp(a), Val::Timestamp(b)) => Some(Val::Timestamp(*a + (*b - *a) / 2)),
            _ => None,
        }
    }
}

fn whole(number: i64) -> Decimal {
    Decimal::parse(&number.to_string()).unwrap_or_else(Decimal::zero)
}

/// An instant in ISO 8601; without a zone it is in UTC.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|at| at.and_utc())
}
