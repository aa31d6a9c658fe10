//! When custom triggers look: for the coordinator, which queues a look for those that are due and
//! never asks a query itself. There is one look of a trigger at a time: the next waits for its end.

use super::known::{self, Known};
use super::{fault, source, watch};
use crate::error::Result;
use crate::queue::{Lane, NewJob};
use crate::rule;
use crate::spi::{Own, step};
use crate::task::when;
use crate::{access, pg};
use automate_core::trigger::Options;
use automate_core::trigger::edge::next_look;
use chrono::{DateTime, Duration, Utc};
use pgrx::prelude::*;
use serde_json::json;

/// Before another look at due triggers that somebody has locked, in milliseconds.
const LOCKED_MS: i64 = 250;
/// How often a trigger looks that only waits for tables: what changed them may have been a
/// prepared transaction, or a write to a partition that came later.
const SAFETY_S: i64 = 60;

/// Queues a look for each trigger that is due; answers after how many milliseconds the next one is.
pub fn queue_due(own: &Own) -> Result<Option<i64>> {
    let heard_all = watch::hear(own)?;
    let now = when::now();
    let due = known::due_to_look(own, now)?;
    let none_due = due.is_empty();
    for (id, trigger) in due {
        let queued = step::in_subtransaction(|| {
            trigger.and_then(|trigger| queue(own, &trigger, now)).unwrap_or_else(|e| e.raise());
        });
        if let Err(failure) = queued {
            log!("pg_automate: trigger {id} is broken: {}", failure.text());
            fault::note(own, id, &failure.text(), true)?;
        }
    }
    // Whoever looks now says so when the look is over.
    let wait: Option<i64> = own.one(
        "SELECT greatest(0, ceil(extract(epoch FROM next_at - clock_timestamp()) * 1000))::int8
         FROM automate.trigger AS t
         WHERE next_at IS NOT NULL AND trigger_type = 'custom' AND status = 'active'
           AND NOT EXISTS (SELECT FROM automate.job AS j WHERE j.owner = t.owner AND j.dedupe_key = 'look:' || t.id)
         ORDER BY next_at LIMIT 1",
        &[],
    )?;
    let pause = if none_due { LOCKED_MS } else { 0 };
    let wait = wait.map(|ms| if ms == 0 { pause } else { ms });
    Ok(if heard_all { wait } else { Some(wait.unwrap_or(LOCKED_MS).min(LOCKED_MS)) })
}

/// Queues a look, and moves the trigger to the next one.
fn queue(own: &Own, trigger: &Known, now: DateTime<Utc>) -> Result<()> {
    if pg::role_name(trigger.owner).is_none() {
        return fault::note(own, trigger.key(), "its owner was dropped", true);
    }
    if access::can_log_in(trigger.owner) {
        let key = format!("look:{}", trigger.id);
        let payload = json!({"look": trigger.id});
        NewJob {
            source: Some(&source(&trigger.name)),
            max_attempts: rule::ATTEMPTS,
            dedupe_key: Some(&key),
            // The query has a limit of its own, which is no failure of the job.
            timeout_ms: Some(0),
            search_path: trigger.search_path.to_str().ok(),
            ..NewJob::new("trigger", trigger.owner, Lane::Sql, &payload)
        }
        .put(own)?;
    } else {
        fault::note(own, trigger.key(), "its owner may not log in", false)?;
    }
    own.run(
        "UPDATE automate.trigger SET next_at = $2 WHERE id = $1",
        &[trigger.key().into(), when::to_datum(next(trigger, now))?.into()],
    )?;
    Ok(())
}

/// The next look by the clock: a whole number of intervals after the trigger was made, however long
/// the last one took.
fn next(trigger: &Known, now: DateTime<Utc>) -> DateTime<Utc> {
    let every = match &trigger.options {
        Options::Custom(options) => options.every,
        _ => None,
    };
    let (seconds, nanos) = trigger.id.get_timestamp().map_or((0, 0), |made| made.to_unix());
    let made = DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), nanos);
    let every = every.unwrap_or(Duration::seconds(SAFETY_S));
    next_look(made.unwrap_or_default(), every, now)
}
