//! What a task is called in a picture, in a few words.

use super::super::duration;
use serde_json::{Map, Value};

/// Characters of a label; the rest is in the definition.
const MOST: usize = 200;

/// A text on one line, without what a terminal or a page would obey.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = words.join(" ");
    // Marks that turn the direction of writing could make a name look like another.
    let plain = plain.chars().filter(|c| {
        !c.is_control() && !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    });
    cut(&plain.collect::<String>(), MOST)
}

/// At most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.chars().nth(most) {
        None => text.into(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => one_line(text),
        Some(other) => one_line(&other.to_string()),
    }
}

/// The kind of a task, and what it does.
pub(super) fn of(map: &Map<String, Value>) -> (String, String) {
    // `for` before `do`, which a `for` has too.
    const KINDS: [&str; 12] = [
        "for", "try", "do", "set", "switch", "wait", "raise", "call", "emit", "fork", "listen",
        "run",
    ];
    let Some((kind, value)) = KINDS.iter().find_map(|k| map.get_key_value(*k)) else {
        return ("?".into(), String::new());
    };
    let label = match kind.as_str() {
        "for" => each(value, map),
        "set" => value.as_object().map_or_else(|| text(Some(value)), keys),
        "wait" => span(value),
        "raise" => raise(value),
        "call" => return call(value, map.get("with").unwrap_or(&Value::Null)),
        "emit" => text(value.pointer("/event/with/type")),
        "fork" if value.get("compete") == Some(&Value::Bool(true)) => "first one wins".into(),
        "fork" => "all of them".into(),
        "listen" => listen(value),
        "run" => {
            let part = |key| text(value.pointer(&format!("/workflow/{key}")));
            [part("namespace"), part("name"), part("version")]
                .into_iter()
                .filter(|s| !s.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        }
        _ => String::new(),
    };
    (kind.clone(), label)
}

fn keys(map: &Map<String, Value>) -> String {
    one_line(&map.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

fn each(value: &Value, map: &Map<String, Value>) -> String {
    let name = value.get("each").and_then(Value::as_str).unwrap_or("item");
    let mut label = format!("each {} in {}", one_line(name), text(value.get("in")));
    if let Some(most) = map.get("metadata").and_then(|m| m.get("maxParallel")) {
        label.push_str(&format!(", {most} at a time"));
    }
    label
}

fn raise(value: &Value) -> String {
    let Some(error) = value.get("error") else { return String::new() };
    let title = text(error.get("title"));
    match (title.is_empty(), error.as_str()) {
        (_, Some(name)) => one_line(name),
        (false, _) => title,
        (true, _) => text(error.get("type")),
    }
}

fn call(value: &Value, with: &Value) -> (String, String) {
    let kind = text(Some(value));
    let label = match kind.as_str() {
        "sql" => match with.get("query") {
            Some(query) => text(Some(query)),
            None => format!("{}()", text(with.get("function"))),
        },
        "http" => {
            let method = text(with.get("method")).to_uppercase();
            let endpoint = with.get("endpoint").map(|e| e.get("uri").unwrap_or(e));
            let url = text(endpoint);
            // What follows a question mark may be long, or a secret.
            let url = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            format!("{method} {}", url.split('?').next().unwrap_or_default())
        }
        "notify" => format!("{} to {}", text(with.get("template")), recipients(with)),
        "report" => format!("{} {}", text(with.get("name")), text(with.get("format"))),
        "approval" => {
            let more =
                with.pointer("/escalate/role").map(|role| format!(", then {}", text(Some(role))));
            format!("by {}{}", text(with.get("role")), more.unwrap_or_default())
        }
        _ => String::new(),
    };
    (kind, label.trim().into())
}

fn recipients(with: &Value) -> String {
    text(with.get("to").or_else(|| with.get("recipients")))
}

fn listen(value: &Value) -> String {
    let Some(to) = value.get("to") else { return String::new() };
    let (word, filters) = match (to.get("one"), to.get("any"), to.get("all")) {
        (Some(one), _, _) => ("", vec![one]),
        (_, Some(any), _) => ("any of ", any.as_array().into_iter().flatten().collect()),
        (_, _, Some(all)) => ("all of ", all.as_array().into_iter().flatten().collect()),
        _ => return String::new(),
    };
    let types: Vec<String> = filters.iter().map(|f| text(f.pointer("/with/type"))).collect();
    let until = to.get("until").map(|u| format!(" until {}", text(Some(u)))).unwrap_or_default();
    one_line(&format!("{word}{}{until}", types.join(", ")))
}

/// A duration of the document for people.
fn span(value: &Value) -> String {
    match duration::millis(value) {
        Ok(ms) => time(i64::try_from(ms).unwrap_or(i64::MAX / 1000).saturating_mul(1000)),
        Err(_) => text(Some(value)),
    }
}

/// What the errors are that a catch clause takes, and how it tries again.
pub(super) fn catch(value: Option<&Value>) -> String {
    let Some(catch) = value else { return String::new() };
    let with = catch.pointer("/errors/with");
    let kind = with.and_then(|w| w.get("type")).and_then(Value::as_str);
    let kind = kind.map(|k| one_line(k.rsplit('/').next().unwrap_or(k)));
    let status = with.and_then(|w| w.get("status")).map(|s| text(Some(s)));
    let which: Vec<String> = kind.into_iter().chain(status).collect();
    format!("catch {}", which.join(" ")).trim().into()
}

pub(super) fn notes(map: &Map<String, Value>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(condition) = map.get("if") {
        notes.push(format!("if {}", text(Some(condition))));
    }
    if let Some(limit) = map.get("timeout") {
        let after = limit.get("after").unwrap_or(limit);
        notes.push(format!("at most {}", span(after)));
    }
    if let Some(catch) = map.get("catch") {
        if catch.get("do").is_none() {
            notes.push(self::catch(Some(catch)));
        }
        match catch.get("retry") {
            Some(Value::String(name)) => notes.push(format!("retry {}", one_line(name))),
            Some(retry) => {
                let count = retry.pointer("/limit/attempt/count");
                let count = count.map(|c| format!(" {c} times")).unwrap_or_default();
                let delay = retry.get("delay").map(|d| format!(" after {}", span(d)));
                notes.push(format!("retry{count}{}", delay.unwrap_or_default()));
            }
            None => {}
        }
    }
    notes
}

/// Microseconds for people.
pub(super) fn time(us: i64) -> String {
    let (ms, s) = (us / 1_000, us / 1_000_000);
    let two = |a: i64, unit: &str, b: i64, small: &str| match b {
        0 => format!("{a} {unit}"),
        _ => format!("{a} {unit} {b} {small}"),
    };
    match s {
        _ if us < 10_000 && us % 1_000 != 0 => format!("{:.1} ms", us as f64 / 1e3),
        0 => format!("{ms} ms"),
        1..60 if ms % 1_000 == 0 => format!("{s} s"),
        1..60 => format!("{:.1} s", us as f64 / 1e6),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s / 60 % 60, "min"),
        _ => two(s / 86_400, "d", s / 3_600 % 24, "h"),
    }
}
