//! Between serde_json's values and jq's.

use super::Error;
use super::bounded::{Bounded, shown};
use jaq_json::{Num, Val};
use serde_json::{Number, Value};

/// Levels of a result; PostgreSQL's own jsonb parser stops near there too.
const MAX_DEPTH: usize = 512;
/// Values in a result, counted as a tree.
const MAX_NODES: usize = 1_000_000;

/// serde_json to jq.
pub(super) fn from_json(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::Number(n) => Val::Num(number_in(n)),
        Value::String(s) => Val::utf8_str(s.clone()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(map) => {
            Val::obj(map.iter().map(|(k, v)| (Val::utf8_str(k.clone()), from_json(v))).collect())
        }
    }
}

fn number_in(n: &Number) -> Num {
    match (n.as_i64(), n.as_u64()) {
        (Some(i), _) => Num::from_integral(i),
        (None, Some(u)) => Num::from_integral(u),
        (None, None) => Num::Float(n.as_f64().unwrap_or(f64::NAN)),
    }
}

/// jq to serde_json.
pub(super) fn to_json(value: &Val) -> Result<Value, Error> {
    let mut left = MAX_NODES;
    out(value, 0, &mut left)
}

fn out(value: &Val, depth: usize, left: &mut usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Exhausted("its result is nested too deeply"));
    }
    *left = left.checked_sub(1).ok_or(Error::Exhausted("its result is too large"))?;
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(b) => Value::Bool(*b),
        Val::Num(n) => number_out(n)?,
        Val::TStr(s) | Val::BStr(s) => Value::String(String::from_utf8_lossy(s).into_owned()),
        Val::Arr(items) => {
            Value::Array(items.iter().map(|v| out(v, depth + 1, left)).collect::<Result<_, _>>()?)
        }
        Val::Obj(map) => {
            let mut object = serde_json::Map::with_capacity(map.len());
            for (k, v) in map.iter() {
                object.insert(key_out(k)?, out(v, depth + 1, left)?);
            }
            Value::Object(object)
        }
    })
}

fn key_out(key: &Val) -> Result<String, Error> {
    match key {
        Val::TStr(s) | Val::BStr(s) => Ok(String::from_utf8_lossy(s).into_owned()),
        _ => Err(Error::Run("object keys must be strings".into())),
    }
}

fn number_out(n: &Num) -> Result<Value, Error> {
    let text = || Error::Number(clip(&n.to_string()));
    match n {
        Num::Int(i) => Ok(Value::from(*i as i64)),
        Num::BigInt(_) => n.to_string().parse::<u64>().map(Value::from).map_err(|_| text()),
        Num::Float(f) => float_out(*f).ok_or_else(text),
        Num::Dec(digits) => float_out(digits.parse().unwrap_or(f64::INFINITY)).ok_or_else(text),
    }
}

fn float_out(f: f64) -> Option<Value> {
    if f.is_nan() {
        return Some(Value::Null);
    }
    // 3.0 computed from integers reads as 3 again, as jq prints it.
    if f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0 {
        return Some(Value::from(f as i64));
    }
    Number::from_f64(f).map(Value::Number)
}

/// What an error says: `error("text")` just its text.
pub(super) fn message(error: jaq_core::Error<Bounded>) -> String {
    match error.into_val().val {
        Val::TStr(text) => clip(&String::from_utf8_lossy(&text)),
        other => clip(&shown(&other)),
    }
}

/// The first 200 characters, for messages.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
