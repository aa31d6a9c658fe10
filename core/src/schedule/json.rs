//! Schedules as JSON: `{"cron": "...", "time_zone": "..."}`, with `"gap": "run" | "skip"` and
//! `"overlap_hour": "once" | "twice"` if wanted, `{"every": "90 s"}`,
//! `{"every": "8 hours", "from": "..."}`, `{"at": "..."}`.

use chrono_tz::Tz;
use serde_json::{Map, Value, json};

use super::clock::Clock;
use super::cron::Cron;
use super::error::{ScheduleError, quoted};
use super::{Kind, MAX_TEXT, Schedule, format_duration, moment, parse_zone, step};
use crate::suggest;

const KEYS: [&str; 7] = ["cron", "every", "at", "from", "time_zone", "gap", "overlap_hour"];

impl Schedule {
    /// The canonical form; [`Schedule::from_json`] reads it back to an equal schedule.
    pub fn to_json(&self) -> Value {
        match &self.kind {
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
            Kind::At(instant) => json!({"at": moment::format(*instant)}),
        }
    }

    /// Reads the forms of [`Schedule::to_json`]; `zone` is taken where no `time_zone` is given.
    /// A JSON string is read like the text of [`Schedule::parse`].
    pub fn from_json(value: &Value, zone: Tz) -> Result<Schedule, ScheduleError> {
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
        let zone = text(object, "time_zone")?.map_or(Ok(zone), parse_zone)?;
        let from = text(object, "from")?;
        let clock = Clock::read(text(object, "gap")?, text(object, "overlap_hour")?)?;
        let kind = match (text(object, "cron")?, text(object, "every")?, text(object, "at")?) {
            (Some(cron), None, None) => {
                Kind::Cron(Cron::parse(cron.trim(), zone)?.with_clock(clock))
            }
            (None, ..) if clock != Clock::default() => {
                return Err(ScheduleError::new(
                    "keys \"gap\" and \"overlap_hour\" belong to \"cron\" only",
                )
                .with_hint(
                    "Leave them out: only a cron expression follows the clock on the wall.",
                ));
            }
            (None, Some(every), None) => {
                let from = from.map(|from| moment::parse(from, zone)).transpose()?;
                return Ok(Schedule { kind: Kind::Every { step: step(every)?, from } });
            }
            (None, None, Some(at)) => Kind::At(moment::parse(at, zone)?),
            _ => {
                return Err(ScheduleError::new(
                    "schedule needs exactly one of \"cron\", \"every\" and \"at\"",
                )
                .with_hint("Write for example {\"cron\": \"*/5 * * * *\"}."));
            }
        };
        match from {
            None => Ok(Schedule { kind }),
            Some(_) => Err(ScheduleError::new("key \"from\" belongs to \"every\" only")),
        }
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ScheduleError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_TEXT => Err(ScheduleError::new(format!(
            "\"{key}\" of the schedule is longer than the {MAX_TEXT} bytes allowed"
        ))),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ScheduleError::new(format!("\"{key}\" of the schedule is not a string"))),
    }
}
