//! A look of a custom trigger, in a session of its owner: the query is asked, and what it remembers
//! and the event of a firing are written in one transaction.

use super::decide::{self, Verdict};
use super::known::{self, Known};
use super::{ask, fault, source};
use crate::error::{Failure, Result};
use crate::event::{self, Emission};
use crate::pg;
use crate::queue::finish::Outcome;
use crate::rule::tally;
use crate::spi::{Own, as_extension, step};
use crate::task::when;
use crate::wake;
use automate_core::schedule::format_duration;
use automate_core::trigger::Options;
use automate_core::trigger::edge::{self, Finding, Memory, Seen};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// Looks. The next look is queued by the coordinator once this one is over.
pub fn perform(id: Uuid) -> Result<Outcome> {
    let me = pg::current_user();
    wake::arm_coordinator();
    let Some(trigger) = as_extension(|own| known::working(own, me, id))? else {
        return Ok(Outcome::Gone);
    };
    let noted = match ask::ask(&trigger) {
        Ok(seen) => {
            step::in_subtransaction(|| take_in(&trigger, &seen).unwrap_or_else(|e| e.raise()))
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = noted {
        as_extension(|own| fail(own, &trigger, &failure))?;
    }
    Ok(Outcome::Gone)
}

/// Writes down what was found, and fires. A trigger that was changed meanwhile looks anew.
fn take_in(trigger: &Known, seen: &Seen) -> Result<()> {
    let Some(before) = as_extension(|own| remembered(own, trigger))? else { return Ok(()) };
    let mut memory = before.clone();
    let finding = memory.look(seen, ask::patience(trigger), when::now());
    tally::count(trigger.id, finding == Finding::Fires);
    if finding == Finding::Fires {
        event::emit(&Emission {
            source: Some(&source(&trigger.name)),
            trigger: Some(trigger.id),
            ..Emission::new(trigger.owner, &trigger.event, &edge::payload(&before, &memory))
        })?;
    }
    let ripe = finding.ripe_at().map(when::to_datum).transpose()?;
    as_extension(|own| {
        // A change of its tables may have made it due already.
        own.run(
            "UPDATE automate.trigger
             SET state = $2::pg_catalog.text::pg_catalog.jsonb, next_at = least(next_at, $3) WHERE id = $1",
            &[trigger.key().into(), memory.to_json().to_string().into(), ripe.into()],
        )?;
        Ok(())
    })
}

/// What the trigger remembers, locked; None when it is another one by now.
fn remembered(own: &Own, trigger: &Known) -> Result<Option<Memory>> {
    // Who changes the trigger may take his time to commit.
    pg::set_local(c"lock_timeout", c"1s");
    let locked = known::locked(own, trigger)?;
    Ok(locked.map(|now| Memory::read(&now.state)))
}

/// Notes a look that failed. What is remembered stays; the next look comes later each time.
fn fail(own: &Own, trigger: &Known, failure: &Failure) -> Result<()> {
    let Some(mut memory) = remembered(own, trigger)? else { return Ok(()) };
    let now = when::now();
    let every = match &trigger.options {
        Options::Custom(options) => options.every,
        _ => None,
    };
    let next = memory.fail(every, now);
    fault::note(own, trigger.key(), &failure.text(), false)?;
    own.run(
        "UPDATE automate.trigger
         SET state = $2::pg_catalog.text::pg_catalog.jsonb, next_at = $3 WHERE id = $1",
        &[trigger.key().into(), memory.to_json().to_string().into(), when::to_datum(next)?.into()],
    )?;
    Ok(())
}

/// Asks now, and does nothing: what would come of it, and the payload that the event would have,
/// with what the conditions say.
pub fn rehearse(trigger: &Known) -> (Verdict, Value) {
    let before = Memory::read(&trigger.state);
    let seen = match ask::ask(trigger) {
        Ok(seen) => seen,
        Err(failure) => {
            let why = format!("its query fails: {}: {}", failure.sqlstate(), failure.message);
            let verdict = decide::at_rest(trigger).unwrap_or_else(|| Verdict::no(why));
            return (verdict, Value::Null);
        }
    };
    let mut memory = before.clone();
    let finding = memory.look(&seen, ask::patience(trigger), when::now());
    let mut payload = edge::payload(&before, &memory);
    payload["condition"] = json!(seen.holds);
    payload["clear"] = json!(seen.clears);
    let verdict = decide::at_rest(trigger).unwrap_or_else(|| verdict(trigger, &seen, finding));
    (verdict, payload)
}

fn verdict(trigger: &Known, seen: &Seen, finding: Finding) -> Verdict {
    let patience = ask::patience(trigger);
    let length = |length: Option<Duration>| format_duration(length.unwrap_or_default());
    match finding {
        Finding::Fires => Verdict::yes("its condition holds"),
        Finding::Quiet if seen.holds.is_none() => Verdict::no("its condition is NULL"),
        Finding::Quiet => Verdict::no("its condition does not hold"),
        Finding::On if seen.holds == Some(true) => {
            Verdict::no("it has fired already, and its condition still holds")
        }
        Finding::On if seen.clears.is_none() => {
            Verdict::no("it has fired already, and its clear condition is NULL")
        }
        Finding::On => Verdict::no("it has fired already, and its clear condition does not hold"),
        Finding::Cleared => {
            Verdict::no("its clear condition holds: it may fire again once its condition does")
        }
        Finding::Holding(until) => Verdict::no(format!(
            "its condition holds, and must hold for {}, until {}",
            length(patience.hold),
            shown(until)
        )),
        Finding::Cooling(until) => Verdict::no(format!(
            "its condition holds, and it cools down for {}, until {}",
            length(patience.cool_down),
            shown(until)
        )),
    }
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
