//! What is due by the clock: for the coordinator. A trigger's `next_at` moves in the transaction
//! that records its event, so that an instant fires once or not at all.

use super::known::{self, Known};
use super::{fault, source};
use crate::error::Result;
use crate::event::{self, Emission};
use crate::rule::tally;
use crate::spi::{Own, step};
use crate::task::when;
use crate::{access, pg};
use automate_core::trigger::{Misfire, Options};
use chrono::{DateTime, Duration, Utc};
use pgrx::prelude::*;
use serde_json::json;

/// With misfire `skip`, an instant that is later than this does not fire.
const LATE_S: i64 = 60;
/// Before another look at due triggers that somebody has locked.
const LOCKED_MS: i64 = 250;

/// Fires the triggers that are due; returns after how many milliseconds the next one is. One that
/// cannot fire is broken, and keeps no other from it.
pub fn fire_due(own: &Own) -> Result<Option<i64>> {
    let now = when::now();
    let due = known::due(own, now)?;
    let none_due = due.is_empty();
    for (id, trigger) in due {
        let settled = step::in_subtransaction(|| {
            trigger.and_then(|trigger| settle(own, &trigger, now)).unwrap_or_else(|e| e.raise());
        });
        if let Err(failure) = settled {
            log!("pg_automate: trigger {id} is broken: {}", failure.text());
            fault::note(own, id, &failure.text(), true)?;
        }
    }
    let wait: Option<i64> = own.one(
        "SELECT greatest(0, ceil(extract(epoch FROM next_at - clock_timestamp()) * 1000))::int8
         FROM automate.trigger WHERE next_at IS NOT NULL AND trigger_type = 'time' AND status = 'active'
         ORDER BY next_at LIMIT 1",
        &[],
    )?;
    let pause = if none_due { LOCKED_MS } else { 0 };
    Ok(wait.map(|ms| if ms == 0 { pause } else { ms }))
}

/// Settles what has come due up to `now`, and moves the trigger to its next instant; one without a
/// further instant is done.
fn settle(own: &Own, trigger: &Known, now: DateTime<Utc>) -> Result<()> {
    if pg::role_name(trigger.owner).is_none() {
        return fault::note(own, trigger.key(), "its owner was dropped", true);
    }
    let text = trigger.schedule.as_deref().unwrap_or_default();
    let schedule = when::read_kept(text, "UTC")?;
    let Some(first) = trigger.next else { return Ok(()) };
    let latest = schedule.last(first, now).unwrap_or(first);
    let skips = matches!(&trigger.options, Options::Time(time) if time.misfire == Misfire::Skip);
    if !access::can_log_in(trigger.owner) {
        fault::note(own, trigger.key(), "its owner may not log in", false)?;
    } else if !(skips && now - latest > Duration::seconds(LATE_S)) {
        record(trigger, latest)?;
    }
    let next = schedule.next(now).map(when::to_datum).transpose()?;
    own.run(
        "UPDATE automate.trigger
         SET next_at = $2, status = CASE WHEN $2 IS NULL THEN 'disabled' ELSE status END WHERE id = $1",
        &[trigger.key().into(), next.into()],
    )?;
    Ok(())
}

/// Records the event of an instant, and tells it.
fn record(trigger: &Known, instant: DateTime<Utc>) -> Result<()> {
    tally::count(trigger.id, true);
    let payload = json!({"scheduled_at": instant.to_rfc3339()});
    event::emit(&Emission {
        source: Some(&source(&trigger.name)),
        trigger: Some(trigger.id),
        ..Emission::new(trigger.owner, &trigger.event, &payload)
    })?;
    Ok(())
}
