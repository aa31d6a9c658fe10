//! Windows as JSON: `{"days": [...]}`, `{"from": ..., "until": ...}`, `{"weekdays": "sat,sun"}`,
//! `{"hours": "22:00-06:00"}`, `{"rrule": ...}`, `{"calendar": "holidays"}`; several keys in one
//! object are all to hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use chrono_tz::Tz;
use serde_json::{Map, Value, json};

use super::calendar::Calendar;
use super::error::{ScheduleError, quoted};
use super::moment;
use super::rrule::Rrule;
use super::window::Window;
use crate::suggest;

const KEYS: [&str; 7] = ["calendar", "days", "from", "hours", "rrule", "until", "weekdays"];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LONG: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Most members of one list.
const MAX_LIST: usize = 10_000;
const EXAMPLE: &str = "Write for example [{\"days\": [\"12-25\"]}, {\"weekdays\": \"sat,sun\"}, \
                       {\"hours\": \"22:00-06:00\"}, {\"from\": \"2026-12-24\", \"until\": \"2027-01-02\"}].";

/// Finds a calendar by the name that is written, and by the id that is kept beside it.
pub type Lookup<'a> = &'a dyn Fn(&str, Option<&str>) -> Option<Arc<Calendar>>;

/// Where windows are read.
pub(super) struct Place<'a> {
    pub(super) zone: Tz,
    /// None: calendars cannot be named here.
    pub(super) calendar: Option<Lookup<'a>>,
}

fn error(message: String, hint: impl Into<String>) -> ScheduleError {
    ScheduleError::new(message).with_hint(hint)
}

/// Reads an array of windows, or a single one.
pub(super) fn read_list(
    key: &str,
    value: &Value,
    place: &Place,
) -> Result<Vec<Window>, ScheduleError> {
    let list = match value {
        Value::Array(list) if list.is_empty() => {
            return Err(error(format!("\"{key}\" is empty"), EXAMPLE));
        }
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |(index, window)| {
        read(window, place).map_err(|e| match list.len() {
            1 => e.within(&format!("\"{key}\"")),
            _ => e.within(&format!("member {} of \"{key}\"", index + 1)),
        })
    };
    list.iter().enumerate().map(read).collect()
}

fn read(value: &Value, place: &Place) -> Result<Window, ScheduleError> {
    let Value::Object(map) = value else {
        return Err(error("it is not a JSON object".into(), EXAMPLE));
    };
    let known = |key: &&str| place.calendar.is_some() || *key != "calendar";
    let known: Vec<&str> = KEYS.into_iter().filter(known).collect();
    if let Some(key) = map.keys().find(|k| !known.contains(&k.as_str()) && k.as_str() != "id") {
        if key == "calendar" {
            return Err(error(
                "a calendar cannot name another".into(),
                "Name both in the schedule: \"except\": [{\"calendar\": ...}, {\"calendar\": ...}].",
            ));
        }
        let short: String = key.chars().take(30).collect();
        return Err(error(format!("unknown key {}", quoted(key)), suggest::hint(&short, &known)));
    }
    let mut windows = Vec::new();
    if let Some(name) = map.get("calendar") {
        windows.push(calendar(map, name, place)?);
    }
    if let Some(days) = map.get("days") {
        windows.push(read_days(days)?);
    }
    if let Some(rule) = map.get("rrule") {
        windows.push(read_rule(map, rule, place)?);
    } else if map.contains_key("from") || map.contains_key("until") {
        windows.push(span(map)?);
    }
    if let Some(days) = map.get("weekdays") {
        windows.push(Window::Weekdays(weekdays(days)?));
    }
    if let Some(hours) = map.get("hours") {
        windows.push(Window::Hours(read_hours(hours)?));
    }
    match windows.len() {
        0 => Err(error("nothing is said in it".into(), EXAMPLE)),
        1 => Ok(windows.remove(0)),
        _ => Ok(Window::All(windows)),
    }
}

/// The form that is read back to the same window.
pub(super) fn write(window: &Window) -> Value {
    match window {
        Window::Span { from, until } => {
            json!({"from": moment::format_wall(*from), "until": moment::format_wall(*until)})
        }
        Window::Days { days, yearly } => {
            let mut list: Vec<String> = days.iter().map(NaiveDate::to_string).collect();
            list.extend(yearly.iter().map(|(month, day)| format!("{month:02}-{day:02}")));
            json!({ "days": list })
        }
        Window::Weekdays(bits) => {
            let names = WEEKDAYS.iter().enumerate().filter(|(day, _)| bits >> day & 1 == 1);
            json!({"weekdays": names.map(|(_, name)| *name).collect::<Vec<_>>().join(",")})
        }
        Window::Hours(spans) => {
            let spans = spans.iter().map(|(from, until)| match *until == NaiveTime::MIN {
                true => format!("{}-24:00", time(*from)),
                false => format!("{}-{}", time(*from), time(*until)),
            });
            json!({"hours": spans.collect::<Vec<_>>().join(",")})
        }
        Window::Rule(rule) => {
            json!({"rrule": rule.text(), "from": moment::format_wall(rule.start())})
        }
        Window::Calendar(calendar) => json!({"calendar": calendar.name(), "id": calendar.id()}),
        Window::All(windows) => {
            let mut all = Map::new();
            for window in windows {
                if let Value::Object(keys) = write(window) {
                    all.extend(keys);
                }
            }
            Value::Object(all)
        }
    }
}

fn time(at: NaiveTime) -> String {
    at.format(if at.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}

fn calendar(
    map: &Map<String, Value>,
    name: &Value,
    place: &Place,
) -> Result<Window, ScheduleError> {
    let name = text("calendar", name)?;
    let id = map.get("id").and_then(Value::as_str);
    match place.calendar.and_then(|find| find(name, id)) {
        Some(calendar) => Ok(Window::Calendar(calendar)),
        None => Err(error(
            format!("calendar {} does not exist", quoted(name)),
            "Make it with automate.create_calendar.",
        )),
    }
}

fn read_rule(
    map: &Map<String, Value>,
    rule: &Value,
    place: &Place,
) -> Result<Window, ScheduleError> {
    if map.contains_key("until") {
        return Err(error(
            "\"until\" does not go with \"rrule\"".into(),
            "Write the end into the rule, such as UNTIL=20301231.",
        ));
    }
    let rule = text("rrule", rule)?;
    let from = match map.get("from") {
        Some(from) => Some(wall_time("from", from)?),
        // Without a start a rule may only say what does not depend on one.
        None => Rrule::needs_no_start(rule).then(|| {
            NaiveDate::from_ymd_opt(1970, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN)
        }),
    };
    let from =
        from.filter(|_| map.contains_key("from") || !rule.to_ascii_uppercase().contains("DTSTART"));
    let read = Rrule::parse(rule, None, place.zone, from)?;
    if !read.is_of_days() {
        return Err(error(
            "an rrule in this place says which days are meant".into(),
            "Write FREQ=DAILY, WEEKLY, MONTHLY or YEARLY; times of day are \"hours\".",
        ));
    }
    Ok(Window::Rule(Box::new(read)))
}

fn span(map: &Map<String, Value>) -> Result<Window, ScheduleError> {
    let (Some(from), Some(until)) = (map.get("from"), map.get("until")) else {
        return Err(error(
            "\"from\" and \"until\" belong together".into(),
            "Write {\"from\": \"2026-12-24\", \"until\": \"2027-01-02\"}; until is the first moment that is no longer meant.",
        ));
    };
    let (from, until) = (wall_time("from", from)?, wall_time("until", until)?);
    if from >= until {
        return Err(error(
            format!("it ends at {} before it begins", quoted(&moment::format_wall(until))),
            "until is the first moment that is no longer meant, and comes after from.",
        ));
    }
    Ok(Window::Span { from, until })
}

fn wall_time(key: &str, value: &Value) -> Result<NaiveDateTime, ScheduleError> {
    let text = text(key, value)?;
    moment::wall_time(text).ok_or_else(|| {
        error(
            format!("cannot read {} of \"{key}\"", quoted(text)),
            "Write it as \"2026-12-24\" or \"2026-12-24 18:00\", in wall time and without an offset.",
        )
    })
}

/// `"2026-12-25"`, or `"12-25"` for the day of each year.
fn read_days(value: &Value) -> Result<Window, ScheduleError> {
    let (mut days, mut yearly) = (BTreeSet::new(), BTreeSet::new());
    for text in texts("days", value)? {
        // A leap year has every day that a year can have.
        let in_year = NaiveDate::parse_from_str(&format!("2000-{text}"), "%Y-%m-%d").ok();
        if let Some(day) = in_year.filter(|_| text.len() == 5) {
            yearly.insert((day.month(), day.day()));
        } else if let Some(day) =
            NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)
        {
            days.insert(day);
        } else {
            return Err(error(
                format!("cannot read the day {}", quoted(text)),
                "Write it as \"2026-12-25\", or as \"12-25\" for the day of each year.",
            ));
        }
    }
    Ok(Window::Days { days, yearly })
}

/// `"sat,sun"`, `"mon-fri"`, `["Saturday"]`.
fn weekdays(value: &Value) -> Result<u8, ScheduleError> {
    let mut bits = 0;
    for text in texts("weekdays", value)? {
        for item in text.split(',') {
            let (from, until) = item.split_once('-').unwrap_or((item, item));
            let (from, until) = (weekday(from)?, weekday(until)?);
            let count = (until + 7 - from) % 7;
            bits = (0..=count).fold(bits, |bits, day| bits | 1 << ((from + day) % 7));
        }
    }
    Ok(bits)
}

fn weekday(text: &str) -> Result<usize, ScheduleError> {
    let name = text.trim().to_lowercase();
    let is_it = |day: &usize| WEEKDAYS[*day] == name || LONG[*day] == name;
    (0..7).find(is_it).ok_or_else(|| {
        let name: String = name.chars().take(20).collect();
        error(format!("unknown day of the week {}", quoted(text)), suggest::hint(&name, &WEEKDAYS))
    })
}

/// `"22:00-06:00"`, several with commas or as an array.
fn read_hours(value: &Value) -> Result<Vec<(NaiveTime, NaiveTime)>, ScheduleError> {
    let mut spans = Vec::new();
    for text in texts("hours", value)? {
        for item in text.split(',') {
            let wrong = || {
                error(
                    format!("cannot read the hours {}", quoted(item)),
                    "Write them as \"22:00-06:00\": from the first to before the second, past midnight if need be.",
                )
            };
            let (from, until) = item.split_once('-').ok_or_else(wrong)?;
            let (from, end) = (clock(from).ok_or_else(wrong)?, until.trim());
            let end = if end == "24:00" {
                Some(NaiveTime::MIN)
            } else {
                clock(end).filter(|t| *t != from)
            };
            spans.push((from, end.ok_or_else(wrong)?));
        }
    }
    Ok(spans)
}

fn clock(text: &str) -> Option<NaiveTime> {
    let text = text.trim();
    let read = |form| NaiveTime::parse_from_str(text, form).ok();
    read("%H:%M").or_else(|| read("%H:%M:%S")).filter(|at| at.nanosecond() == 0)
}

fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str, ScheduleError> {
    match value {
        Value::String(text) => Ok(text.trim()),
        _ => Err(ScheduleError::new(format!("\"{key}\" is not a string"))),
    }
}

/// A string, or an array of strings.
fn texts<'a>(key: &str, value: &'a Value) -> Result<Vec<&'a str>, ScheduleError> {
    let list = match value {
        Value::Array(list) if !list.is_empty() && list.len() <= MAX_LIST => list.as_slice(),
        Value::Array(list) => {
            return Err(error(
                format!("\"{key}\" has {} members", list.len()),
                format!("It has 1 to {MAX_LIST}."),
            ));
        }
        one => std::slice::from_ref(one),
    };
    list.iter().map(|value| text(key, value)).collect()
}
