//! Schedules as JSON: `{"cron": "...", "time_zone": "..."}`, with `"gap": "run" | "skip"` and
//! `"overlap_hour": "once" | "twice"` if wanted, `{"every": "90 s"}`,
//! `{"every": "8 hours", "from": "..."}`, `{"at": "..."}`, `{"at": ["...", ...]}`,
//! `{"rrule": "...", "from": "..."}` and `{"any": [schedule, ...]}`, each perhaps with windows in
//! `"except"` and `"only"`.

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value, json};

use super::clock::Clock;
use super::cron::Cron;
use super::error::{ScheduleError, quoted};
use super::except::Except;
use super::joined::Joined;
use super::rrule::Rrule;
use super::window_json::{self, Lookup, Place};
use super::{Kind, MAX_JSON, MAX_TEXT, Schedule, format_duration, moment, parse_zone, step, wall};
use crate::suggest;

const KEYS: [&str; 11] = [
    "cron",
    "every",
    "at",
    "rrule",
    "any",
    "from",
    "time_zone",
    "gap",
    "overlap_hour",
    "except",
    "only",
];
/// Most moments of one schedule.
const MAX_MOMENTS: usize = 1000;
/// Most schedules that are joined in one place, and how deep in one another.
const MAX_PARTS: usize = 100;
const MAX_DEPTH: u32 = 4;

/// What a schedule does not say itself.
pub struct Around<'a> {
    /// An rrule without a start holds from the day on in which this lies; None: it is refused.
    pub now: Option<DateTime<Utc>>,
    /// The calendars that it may name.
    pub calendar: Lookup<'a>,
}

const NOTHING: Around = Around { now: None, calendar: &|_, _| None };

/// The calendars that a schedule names: the names that are written, and the ids that are kept
/// beside them.
pub fn calendars(schedule: &Value) -> Vec<(&str, Option<&str>)> {
    match schedule {
        Value::Array(list) => list.iter().flat_map(calendars).collect(),
        Value::Object(map) => {
            let id = map.get("id").and_then(Value::as_str);
            let own = map.get("calendar").and_then(Value::as_str).map(|name| (name.trim(), id));
            own.into_iter().chain(map.values().flat_map(calendars)).collect()
        }
        _ => Vec::new(),
    }
}

impl Schedule {
    /// The canonical form; [`Schedule::from_json`] reads it back to an equal schedule, if the
    /// calendars that it names are the same.
    pub fn to_json(&self) -> Value {
        let mut json = match &self.kind {
            Kind::Cron(cron) => {
                let mut object = Map::new();
                object.insert("cron".into(), cron.text().into());
                object.insert("time_zone".into(), cron.zone().name().into());
                cron.clock().write(&mut object);
                Value::Object(object)
            }
            Kind::Every { step, from: None } => json!({"every": format_duration(*step)}),
            Kind::Every { step, from: Some(from) } => {
                json!({"every": format_duration(*step), "from": moment::format(*from)})
            }
            Kind::At(instants) => match instants.as_slice() {
                [instant] => json!({"at": moment::format(*instant)}),
                _ => {
                    json!({"at": instants.iter().map(|at| moment::format(*at)).collect::<Vec<_>>()})
                }
            },
            Kind::Rrule(rule) => json!({
                "rrule": rule.text(),
                "from": moment::format_wall(rule.start()),
                "time_zone": rule.zone().name(),
            }),
            Kind::Any(Joined(parts)) => {
                json!({"any": parts.iter().map(Schedule::to_json).collect::<Vec<_>>()})
            }
        };
        if let Some(except) = &self.except {
            json["time_zone"] = except.zone.name().into();
            for (key, windows) in [("except", &except.except), ("only", &except.only)] {
                if !windows.is_empty() {
                    json[key] = windows.iter().map(window_json::write).collect();
                }
            }
        }
        json
    }

    /// Reads the forms of [`Schedule::to_json`]; `zone` is taken where no `time_zone` is given.
    /// A JSON string is read like the text of [`Schedule::parse`].
    pub fn from_json(value: &Value, zone: Tz) -> Result<Schedule, ScheduleError> {
        Schedule::from_json_in(value, zone, &NOTHING)
    }

    /// The same with what is around the schedule.
    pub fn from_json_in(
        value: &Value,
        zone: Tz,
        around: &Around,
    ) -> Result<Schedule, ScheduleError> {
        read(value, zone, around, 0)
    }
}

fn read(value: &Value, zone: Tz, around: &Around, depth: u32) -> Result<Schedule, ScheduleError> {
    let object = match value {
        Value::String(text) => return Schedule::parse(text, zone),
        Value::Object(object) => object,
        _ => {
            return Err(ScheduleError::new("schedule is neither a string nor a JSON object")
                .with_hint("Write for example {\"cron\": \"*/5 * * * *\"}."));
        }
    };
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let short: String = key.chars().take(30).collect();
        return Err(ScheduleError::new(format!("unknown key {} in the schedule", quoted(key)))
            .with_hint(suggest::hint(&short, &[&KEYS[..], &["on_trigger"]].concat())));
    }
    let given = text(object, "time_zone")?.map(parse_zone).transpose()?;
    let from = text(object, "from")?;
    let forms = ["cron", "every", "at", "rrule", "any"];
    let mut there = forms.into_iter().filter(|key| object.get(*key).is_some_and(|v| !v.is_null()));
    let (Some(form), None) = (there.next(), there.next()) else {
        return Err(ScheduleError::new(
            "schedule needs exactly one of \"cron\", \"every\", \"at\", \"rrule\" and \"any\"",
        )
        .with_hint("Write for example {\"cron\": \"*/5 * * * *\"}; \"any\" joins several."));
    };
    if from.is_some() && !matches!(form, "every" | "rrule") {
        return Err(ScheduleError::new("key \"from\" belongs to \"every\" and \"rrule\" only")
            .with_hint("Leave out what comes before with \"except\"."));
    }
    let clock = Clock::read(text(object, "gap")?, text(object, "overlap_hour")?)?;
    if form != "cron" && clock != Clock::default() {
        return Err(ScheduleError::new(
            "keys \"gap\" and \"overlap_hour\" belong to \"cron\" only",
        )
        .with_hint("Leave them out: only a cron expression follows the clock on the wall."));
    }
    let (mut zone, own) = (given.unwrap_or(zone), text_of(object, form)?);
    let kind = match form {
        "cron" => Kind::Cron(Cron::parse(own.trim(), zone)?.with_clock(clock)),
        "every" => {
            let from = from.map(|from| moment::parse(from, zone)).transpose()?;
            Kind::Every { step: step(own)?, from }
        }
        "at" => Kind::At(moments(&object[form], zone)?),
        "any" => Kind::Any(parts(&object[form], zone, around, depth)?),
        _ => {
            let rule = Rrule::parse(own, given, zone, start(own, from, zone, around)?)?;
            zone = rule.zone();
            Kind::Rrule(Box::new(rule))
        }
    };
    Ok(Schedule { kind, except: except(object, zone, around)? })
}

/// The text of a form; empty for those that need not be one.
fn text_of<'a>(object: &'a Map<String, Value>, form: &str) -> Result<&'a str, ScheduleError> {
    match form {
        "at" | "any" => Ok(""),
        form => Ok(text(object, form)?.unwrap_or("")),
    }
}

/// One moment or several.
fn moments(value: &Value, zone: Tz) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.is_empty() || list.len() > MAX_MOMENTS {
        return Err(ScheduleError::new(format!(
            "\"at\" of the schedule has {} moments",
            list.len()
        ))
        .with_hint(format!("It has 1 to {MAX_MOMENTS}.")));
    }
    let read = |value: &Value| match value {
        Value::String(text) => moment::parse(text, zone),
        _ => Err(ScheduleError::new("\"at\" of the schedule is not a string")
            .with_hint("Write a moment such as \"2026-12-24 18:00\", or an array of these.")),
    };
    let mut instants = list.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    instants.sort_unstable();
    instants.dedup();
    Ok(instants)
}

fn parts(value: &Value, zone: Tz, around: &Around, depth: u32) -> Result<Joined, ScheduleError> {
    let Value::Array(list) = value else {
        return Err(ScheduleError::new("\"any\" of the schedule is not an array")
            .with_hint("Write for example {\"any\": [\"0 8 * * 1-5\", \"0 10 * * 6\"]}."));
    };
    if list.is_empty() || list.len() > MAX_PARTS {
        return Err(ScheduleError::new(format!(
            "\"any\" of the schedule has {} members",
            list.len()
        ))
        .with_hint(format!("It joins 1 to {MAX_PARTS} schedules.")));
    }
    if depth >= MAX_DEPTH {
        return Err(ScheduleError::new(format!("\"any\" is nested over {MAX_DEPTH} deep"))
            .with_hint("Write the schedules into one array."));
    }
    let read = |(index, part)| {
        read(part, zone, around, depth + 1)
            .map_err(|e| e.within(&format!("member {} of \"any\"", index + 1)))
    };
    Ok(Joined(list.iter().enumerate().map(read).collect::<Result<_, _>>()?))
}

/// The first moment of an rrule: that given, or the beginning of the day.
fn start(
    rule: &str,
    from: Option<&str>,
    zone: Tz,
    around: &Around,
) -> Result<Option<chrono::NaiveDateTime>, ScheduleError> {
    match from {
        Some(from) => moment::wall_time_in(from, zone).map(Some),
        None if rule.to_ascii_uppercase().contains("DTSTART") => Ok(None),
        None => {
            let today = |now| wall::local(zone, now).date().and_time(NaiveTime::MIN);
            Ok(around.now.map(today))
        }
    }
}

fn except(
    object: &Map<String, Value>,
    zone: Tz,
    around: &Around,
) -> Result<Option<Box<Except>>, ScheduleError> {
    let place = Place { zone, calendar: Some(around.calendar) };
    let read = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => window_json::read_list(key, list, &place),
    };
    let (except, only) = (read("except")?, read("only")?);
    let any = !except.is_empty() || !only.is_empty();
    Ok(any.then(|| Box::new(Except { zone, except, only })))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ScheduleError> {
    // A rule may have many days that are left out.
    let most = if key == "rrule" { MAX_JSON } else { MAX_TEXT };
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > most => Err(ScheduleError::new(format!(
            "\"{key}\" of the schedule is longer than the {most} bytes allowed"
        ))),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ScheduleError::new(format!("\"{key}\" of the schedule is not a string"))),
    }
}
