//! When a trigger of type custom fires: once its condition becomes true, and not again before its
//! clear condition was true.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

/// What is remembered from one look to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last answer.
    pub value: Value,
    /// It has fired, and the clear condition was not true since.
    pub is_on: bool,
    /// Since when the condition holds without a break.
    pub since: Option<DateTime<Utc>>,
    pub fired_at: Option<DateTime<Utc>>,
    pub looked_at: Option<DateTime<Utc>>,
    /// Looks that failed since the last one that did not.
    pub failures: u32,
}

/// What a look found. None is SQL's NULL: neither true nor false.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub value: Value,
    pub holds: Option<bool>,
    pub clears: Option<bool>,
}

/// How long is waited, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long the condition must hold before it fires.
    pub hold: Option<Duration>,
    /// Shortest time from one firing to the next.
    pub cool_down: Option<Duration>,
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Fires,
    /// The condition does not hold, or is NULL.
    Quiet,
    /// It fired, and the condition still holds, or the clear condition does not.
    On,
    /// It fired, and now the clear condition holds.
    Cleared,
    /// The condition holds, but not for long enough.
    Holding(DateTime<Utc>),
    /// The condition holds, but the last firing is too near.
    Cooling(DateTime<Utc>),
}

impl Finding {
    /// When it could fire, if nothing changes.
    pub fn ripe_at(self) -> Option<DateTime<Utc>> {
        match self {
            Finding::Holding(until) | Finding::Cooling(until) => Some(until),
            _ => None,
        }
    }
}

impl Memory {
    /// Reads it as it is kept; what cannot be read is not remembered.
    pub fn read(kept: &Value) -> Memory {
        let at = |key: &str| {
            let text = kept[key].as_str()?;
            DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc))
        };
        Memory {
            value: kept["value"].clone(),
            is_on: kept["is_on"].as_bool().unwrap_or(false),
            since: at("since"),
            fired_at: at("fired_at"),
            looked_at: at("looked_at"),
            failures: kept["failures"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        }
    }

    /// As it is kept.
    pub fn to_json(&self) -> Value {
        let mut kept = Map::new();
        kept.insert("value".into(), self.value.clone());
        kept.insert("is_on".into(), self.is_on.into());
        for (key, at) in
            [("since", self.since), ("fired_at", self.fired_at), ("looked_at", self.looked_at)]
        {
            if let Some(at) = at {
                kept.insert(key.into(), text(at).into());
            }
        }
        if self.failures > 0 {
            kept.insert("failures".into(), self.failures.into());
        }
        Value::Object(kept)
    }

    /// Takes in what a look found.
    pub fn look(&mut self, seen: &Seen, patience: Patience, now: DateTime<Utc>) -> Finding {
        let finding = self.judge(seen, patience, now);
        self.value = seen.value.clone();
        self.looked_at = Some(now);
        self.failures = 0;
        finding
    }

    fn judge(&mut self, seen: &Seen, patience: Patience, now: DateTime<Utc>) -> Finding {
        let holds = seen.holds == Some(true);
        if self.is_on {
            // While the condition holds, nothing clears it: it would fire at every other look.
            if holds || seen.clears != Some(true) {
                return Finding::On;
            }
            self.is_on = false;
            self.since = None;
            return Finding::Cleared;
        }
        if !holds {
            self.since = None;
            return Finding::Quiet;
        }
        let since = *self.since.get_or_insert(now);
        let after = |from: Option<DateTime<Utc>>, wait: Option<Duration>| {
            from?.checked_add_signed(wait?).filter(|end| *end > now)
        };
        let cooling = after(self.fired_at, patience.cool_down);
        match (after(Some(since), patience.hold), cooling) {
            (Some(held), cooled) if cooled.is_none_or(|cooled| cooled <= held) => {
                Finding::Holding(held)
            }
            (_, Some(cooled)) => Finding::Cooling(cooled),
            _ => {
                self.is_on = true;
                self.fired_at = Some(now);
                Finding::Fires
            }
        }
    }

    /// Takes in that a look failed; answers when it is repeated.
    pub fn fail(&mut self, every: Option<Duration>, now: DateTime<Utc>) -> DateTime<Utc> {
        self.looked_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        // 1, 2, 4, ... seconds, at most five minutes or the usual interval.
        let most = every.unwrap_or_default().max(Duration::minutes(5));
        let pause = Duration::seconds(1i64 << (self.failures - 1).min(30)).min(most);
        now.checked_add_signed(pause).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// The payload of the event of a firing, after the look; `previous` is what was remembered before.
pub fn payload(previous: &Memory, memory: &Memory) -> Value {
    json!({
        "value": memory.value,
        "previous": previous.value,
        "since": memory.since.map(text),
    })
}

/// The first instant after `now` that is a whole number of steps from `anchor`.
pub fn next_look(anchor: DateTime<Utc>, every: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    let step = every.num_microseconds().unwrap_or(i64::MAX).max(1);
    let past = (now - anchor).num_microseconds().unwrap_or(0).rem_euclid(step);
    now.checked_add_signed(Duration::microseconds(step - past)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// True for a text that begins as the call of a function: a name, perhaps with that of its schema,
/// and a parenthesis.
pub fn is_call(text: &str) -> bool {
    const QUERIES: [&str; 4] = ["select", "values", "with", "table"];
    let mut rest = text;
    loop {
        let name = match rest.strip_prefix('"') {
            // A doubled quote within the name only begins the next piece of it.
            Some(quoted) => quoted.find('"').map(|end| end + 2),
            None => rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')),
        };
        let Some(length) = name.filter(|length| *length > 0) else { return false };
        if QUERIES.contains(&rest[..length].to_lowercase().as_str()) {
            return false;
        }
        rest = &rest[length..];
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.starts_with('"') => {}
            None => return rest.trim_start().starts_with('('),
        }
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    /// Looks at a value as over 100 and clear under 80 would.
    fn look(memory: &mut Memory, value: Option<i64>, patience: Patience, now: i64) -> Finding {
        let seen = Seen {
            value: json!(value),
            holds: value.map(|value| value > 100),
            clears: value.map(|value| value < 80),
        };
        memory.look(&seen, patience, at(now))
    }

    #[test]
    fn it_fires_at_the_edge_and_again_after_it_was_clear() {
        let (mut memory, now) = (Memory::default(), Patience::default());
        let found: Vec<Finding> = [
            Some(50),
            Some(101),
            Some(200),
            Some(90),
            Some(150),
            None,
            Some(79),
            Some(79),
            Some(101),
        ]
        .into_iter()
        .enumerate()
        .map(|(i, value)| look(&mut memory, value, now, i as i64))
        .collect();
        use Finding::*;
        assert_eq!(found, [Quiet, Fires, On, On, On, On, Cleared, Quiet, Fires]);
    }

    #[test]
    fn what_holds_is_not_clear() {
        let mut memory = Memory { is_on: true, ..Memory::default() };
        let seen = Seen { value: json!(1), holds: Some(true), clears: Some(true) };
        assert_eq!(memory.look(&seen, Patience::default(), at(0)), Finding::On);
    }

    #[test]
    fn it_must_hold_without_a_break() {
        let mut memory = Memory::default();
        let patience = Patience { hold: Some(Duration::seconds(60)), cool_down: None };
        assert_eq!(look(&mut memory, Some(200), patience, 0), Finding::Holding(at(60)));
        assert_eq!(look(&mut memory, Some(200), patience, 59), Finding::Holding(at(60)));
        assert_eq!(look(&mut memory, None, patience, 59), Finding::Quiet);
        assert_eq!(look(&mut memory, Some(200), patience, 70), Finding::Holding(at(130)));
        assert_eq!(look(&mut memory, Some(200), patience, 130), Finding::Fires);
        assert_eq!(memory.since, Some(at(70)));
    }

    #[test]
    fn what_is_on_when_the_cool_down_ends_fires_then() {
        let mut memory = Memory::default();
        let patience =
            Patience { hold: Some(Duration::seconds(10)), cool_down: Some(Duration::seconds(100)) };
        look(&mut memory, Some(200), patience, 0);
        assert_eq!(look(&mut memory, Some(200), patience, 10), Finding::Fires);
        assert_eq!(look(&mut memory, Some(70), patience, 20), Finding::Cleared);
        assert_eq!(look(&mut memory, Some(200), patience, 30), Finding::Cooling(at(110)));
        assert_eq!(look(&mut memory, Some(200), patience, 110), Finding::Fires);
        look(&mut memory, Some(70), patience, 111);
        assert_eq!(look(&mut memory, Some(200), patience, 205), Finding::Holding(at(215)));
        assert_eq!(look(&mut memory, Some(70), patience, 206), Finding::Quiet);
    }

    #[test]
    fn failures_keep_what_is_known_and_are_repeated_less_and_less() {
        let mut memory = Memory::default();
        look(&mut memory, Some(200), Patience::default(), 0);
        let before = memory.clone();
        let mut pause = |every| (memory.fail(every, at(0)) - at(0)).num_seconds();
        let pauses: Vec<i64> = (1..=12).map(|_| pause(Some(Duration::seconds(30)))).collect();
        assert_eq!(pause(Some(Duration::hours(1))), 3600);
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(
            (memory.is_on, &memory.value, memory.since),
            (true, &before.value, before.since)
        );
        assert_eq!(look(&mut memory, Some(200), Patience::default(), 20), Finding::On);
        assert_eq!(memory.failures, 0);
    }

    #[test]
    fn it_is_read_as_it_was_kept() {
        let mut memory = Memory::default();
        look(&mut memory, Some(200), Patience::default(), 0);
        memory.fail(None, at(1));
        assert_eq!(Memory::read(&memory.to_json()), memory);
        assert_eq!(Memory::read(&json!({})), Memory::default());
        let first = Memory { value: json!(3), ..Memory::default() };
        assert_eq!(payload(&first, &memory)["previous"], json!(3));
    }

    #[test]
    fn calls_are_told_from_queries() {
        for call in ["f()", "public.too_many (1)", "\"A b\".\"c\"\"d\"(2)", "größe()", "selected()"]
        {
            assert!(is_call(call), "{call}");
        }
        for query in [
            "SELECT (1)",
            "values(1)",
            "WITH x AS (",
            "DELETE FROM t",
            "(SELECT 1)",
            "t",
            "",
            "-- x\nf()",
            "\"a",
            "a.",
        ] {
            assert!(!is_call(query), "{query}");
        }
    }

    #[test]
    fn looks_keep_their_distance_from_the_anchor() {
        let every = Duration::seconds(30);
        assert_eq!(next_look(at(0), every, at(0)), at(30));
        assert_eq!(next_look(at(0), every, at(29)), at(30));
        assert_eq!(next_look(at(0), every, at(1000)), at(1020));
        assert_eq!(next_look(at(7), every, at(0)), at(7));
        assert!(next_look(at(0), Duration::MAX, at(1)) > at(1));
    }
}
