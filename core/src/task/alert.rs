//! Who is told how a task fares, and when: once when it begins to fail, once when it works again,
//! once when it has not succeeded for too long.

use std::fmt;

use chrono::Duration;
use serde_json::Value;

use crate::object::Object;
use crate::problem::Problem;
use crate::schedule::parse_duration;
use crate::suggest;

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Runs failed, as many in a row as are worth telling.
    Failure,
    /// A run succeeded after one of the others was reached.
    Recovery,
    /// No run has succeeded for some time.
    Stale,
}

impl News {
    /// As they are written.
    pub const NAMES: [&'static str; 3] = ["failure", "recovery", "stale"];
    const ALL: [News; 3] = [News::Failure, News::Recovery, News::Stale];

    /// Reads one; None when it is none.
    pub fn parse(text: &str) -> Option<News> {
        News::ALL.into_iter().find(|news| news.to_string() == text)
    }

    /// The event that says it.
    pub fn event(self) -> &'static str {
        match self {
            News::Failure => "task.failed",
            News::Recovery => "task.recovered",
            News::Stale => "task.stale",
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(News::NAMES[*self as usize])
    }
}

/// The alert of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    on: Vec<News>,
    /// Recipients, each `channel:address`.
    pub to: Vec<String>,
    pub template: Option<String>,
    /// An event is emitted as well.
    pub event: bool,
    /// How long no run may succeed.
    pub stale_after: Option<Duration>,
    after_failures: i32,
}

/// How a task has fared since it last succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// Runs in a row that failed.
    pub failures: i32,
    /// They were as many as are worth telling.
    pub failing: bool,
    /// It has not succeeded for too long.
    pub stale: bool,
}

impl Alert {
    /// Most failures in a row before one is worth telling.
    const MOST_FAILURES: u64 = 1000;

    /// Reads it, or says all that is wrong with it.
    pub fn parse(value: &Value) -> Result<Alert, Vec<Problem>> {
        let mut problems = Vec::new();
        let read = Object::open(value, "", &mut problems).map(|mut object| read(&mut object));
        match read {
            Some(alert) if problems.is_empty() => Ok(alert),
            _ => Err(problems),
        }
    }

    /// True when somebody wants to know.
    pub fn tells(&self, news: News) -> bool {
        self.on.contains(&news)
    }

    /// What the end of a run makes of the streak, and what there is to tell.
    pub fn ended(&self, before: Streak, succeeded: bool) -> (Streak, Option<News>) {
        if succeeded {
            let news = (before.failing || before.stale).then_some(News::Recovery);
            return (Streak::default(), news);
        }
        let failures = before.failures.saturating_add(1);
        let failing = before.failing || failures >= self.after_failures;
        let news = (failing && !before.failing).then_some(News::Failure);
        (Streak { failures, failing, ..before }, news)
    }
}

fn read(object: &mut Object<'_, '_>) -> Alert {
    object.allow(&["on", "to", "template", "event", "after_failures", "stale_after"]);
    let stale_after = stale_after(object);
    let mut on = vec![News::Failure, News::Recovery];
    on.extend(stale_after.map(|_| News::Stale));
    if let Some(words) = object.strings("on") {
        on = news(object, &words);
    }
    let to = object.strings("to").unwrap_or_default();
    let event = object.boolean("event").unwrap_or(false);
    if to.is_empty() && !event {
        let problem = Problem::error("", "nobody", "the alert tells nobody");
        object.problems().push(problem.with_hint(
            "Say whom, {\"to\": [\"mail:ops@example.com\"]}, or let rules hear it, {\"event\": true}.",
        ));
    }
    if on.contains(&News::Stale) && object.get("stale_after").is_none() {
        let problem = Problem::error(object.pointer("on"), "no_time", "\"stale\" needs a time");
        object.problems().push(problem.with_hint("Give it as \"stale_after\": \"26 hours\"."));
    }
    let template = match object.get("template") {
        Some(_) => object.required_string("template").map(str::to_owned),
        None => None,
    };
    let after_failures = object.integer("after_failures", 1, Alert::MOST_FAILURES).unwrap_or(1);
    let after_failures = i32::try_from(after_failures).unwrap_or(1);
    Alert { on, to, template, event, stale_after, after_failures }
}

fn stale_after(object: &mut Object<'_, '_>) -> Option<Duration> {
    let text = object.string("stale_after")?;
    let (message, hint) = match parse_duration(text) {
        Ok(duration) if duration >= Duration::seconds(1) => return Some(duration),
        Ok(_) => ("\"stale_after\" is too short".into(), Some("It is 1 second or more.".into())),
        Err(error) => (error.message, error.hint),
    };
    let mut problem = Problem::error(object.pointer("stale_after"), "duration", message);
    problem.hint = hint;
    object.problems().push(problem);
    None
}

fn news(object: &mut Object<'_, '_>, words: &[String]) -> Vec<News> {
    let mut on = Vec::new();
    for word in words {
        match News::parse(word) {
            Some(news) => on.push(news),
            None => {
                let shown: String = word.chars().take(40).collect();
                let message = format!("there is no news \"{shown}\"");
                let problem = Problem::error(object.pointer("on"), "unknown_word", message);
                let hint = suggest::hint(word, &News::NAMES);
                object.problems().push(problem.with_hint(hint));
            }
        }
    }
    if words.is_empty() {
        let problem = Problem::error(object.pointer("on"), "empty", "\"on\" must not be empty");
        object.problems().push(problem.with_hint("Leave it out for all there is."));
    }
    on
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn alert(value: Value) -> Alert {
        Alert::parse(&value).unwrap()
    }

    fn told(alert: &Alert, ends: &str) -> String {
        let mut streak = Streak::default();
        let one = |end| {
            let news;
            (streak, news) = alert.ended(streak, end == '+');
            news.map_or(".".into(), |news| news.to_string().remove(0).to_string())
        };
        ends.chars().map(one).collect()
    }

    #[test]
    fn a_streak_is_told_once_and_its_end_once() {
        let plain = alert(json!({"to": "mail:a@b"}));
        assert_eq!(told(&plain, "+---++-+"), ".f..r.fr");
        let third = alert(json!({"to": "mail:a@b", "after_failures": 3}));
        assert_eq!(told(&third, "--+---+---"), ".....fr..f");
    }

    #[test]
    fn a_success_ends_what_was_stale() {
        let alert = alert(json!({"event": true, "stale_after": "26 hours"}));
        let stale = Streak { stale: true, ..Streak::default() };
        assert_eq!(alert.ended(stale, true), (Streak::default(), Some(News::Recovery)));
        let (failed, news) = alert.ended(stale, false);
        assert_eq!((failed.stale, failed.failures, news), (true, 1, Some(News::Failure)));
    }

    #[test]
    fn what_is_told_by_default() {
        let told = |value: Value| News::ALL.map(|news| alert(value.clone()).tells(news));
        assert_eq!(told(json!({"event": true})), [true, true, false]);
        assert_eq!(told(json!({"event": true, "stale_after": "1 h"})), [true, true, true]);
        assert_eq!(told(json!({"on": ["recovery"], "to": ["log"]})), [false, true, false]);
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let codes = |value: Value| -> Vec<(String, &'static str)> {
            let problems = Alert::parse(&value).unwrap_err();
            problems.into_iter().map(|p| (p.pointer, p.code)).collect()
        };
        assert_eq!(codes(json!([])), [("".into(), "wrong_kind")]);
        assert_eq!(codes(json!({})), [("".into(), "nobody")]);
        assert_eq!(codes(json!({"to": ["a:b"], "on": ["stale"]})), [("/on".into(), "no_time")]);
        assert_eq!(codes(json!({"to": ["a:b"], "on": []})), [("/on".into(), "empty")]);
        assert_eq!(
            codes(json!({"too": ["a:b"], "on": "failures", "stale_after": "1 fortnight",
                         "after_failures": 0, "event": true, "template": " "})),
            [
                ("/too".into(), "unknown_key"),
                ("/stale_after".into(), "duration"),
                ("/on".into(), "unknown_word"),
                ("/template".into(), "empty"),
                ("/after_failures".into(), "out_of_range"),
            ]
        );
        let problems = Alert::parse(&json!({"event": true, "on": ["failures"]})).unwrap_err();
        assert_eq!(problems[0].hint.as_deref(), Some("Did you mean \"failure\"?"));
    }
}
