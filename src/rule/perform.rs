//! Doing what a rule says, for one match, in a session of its owner.

use super::condition::Condition;
use super::{cause, evaluate, fault, kept, tally};
use crate::error::{Error, Failure, Result, shown};
use crate::event::{self, Emission};
use crate::notify::{self, Notification};
use crate::noun::RULE;
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::spi::{as_extension, statement};
use crate::task::steer;
use crate::workflow::{self, Start};
use crate::{pg, report};
use automate_core::rule::action::{self, Action, Moment, Rendered};
use automate_core::rule::reads::{Reads, SIDES};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use uuid::Uuid;

/// Most rules kept ready by a session.
const CACHE: usize = 1_000;

/// A rule that is ready to act.
struct Ready {
    version: i32,
    name: String,
    /// It is on events.
    hears: bool,
    /// The trigger to which it is subscribed.
    trigger: Option<Uuid>,
    /// Of a rule on events; a table's rule has been decided by its trigger.
    condition: Option<Condition>,
    actions: Vec<Action>,
    /// What they read.
    reads: Reads,
}

thread_local! {
    static READY: RefCell<HashMap<Uuid, Rc<Ready>>> = RefCell::new(HashMap::new());
    /// Versions that are no longer in force.
    static EARLIER: RefCell<HashMap<(Uuid, i32), Rc<Ready>>> = RefCell::new(HashMap::new());
}

/// Does the actions of a rule for one match, in a session of its owner.
pub fn perform(job: &Job) -> Result<Outcome> {
    if let Some(note) = job.payload.get("fault") {
        as_extension(|own| fault::record(own, note))?;
        return Ok(Outcome::Gone);
    }
    if let Some(rules) = job.payload["rules"].as_array() {
        return evaluate::choose(job, rules, &event_of(&job.payload["event"]));
    }
    let id = job.payload["rule"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    let id = id.ok_or_else(|| Error::Internal("a match without its rule".into()))?;
    let Some(ready) = ready(id)? else {
        return Ok(Outcome::Succeeded(json!({"skipped": "the rule was dropped"})));
    };
    let in_force = ready.version;
    let ready = fit_for(job, id, ready)?;
    let decided = job.payload["decided"].as_bool().unwrap_or(false);
    let event = &job.payload["event"];
    let context = context(job, &ready.name, decided);
    if let (Some(condition), false) = (&ready.condition, decided)
        && !condition.holds(&context["event"])?
    {
        count(job, id, &ready, false);
        return Ok(Outcome::Succeeded(json!({"matched": false})));
    }
    count(job, id, &ready, true);
    let depth = job.payload["depth"].as_i64().and_then(|d| i32::try_from(d).ok()).unwrap_or(1);
    let source = format!("rule:{}", ready.name);
    cause::within(id, depth, || -> Result<()> {
        for (index, action) in ready.actions.iter().enumerate() {
            // The others were done with the write.
            if action.moment() != Moment::Commit {
                continue;
            }
            let rendered = action.render(&context).map_err(|e| {
                let hint = e.hint().unwrap_or("An action sees {event, new, old, rule}.".into());
                Error::invalid(format!("action {}: {e}", index + 1))
                    .with_detail(format!("It is an action of rule {}.", shown(&ready.name)))
                    .with_hint(hint)
            })?;
            act(&rendered, &source, &format!("{}:{index}", job.id))?;
        }
        Ok(())
    })?;
    if let Some(trigger) = ready.trigger {
        tally::delay(trigger, event);
    }
    let done = ready.actions.iter().filter(|a| a.moment() == Moment::Commit).count();
    Ok(Outcome::Succeeded(match ready.version == in_force {
        true => json!({"actions": done}),
        false => json!({"actions": done, "version": ready.version}),
    }))
}

/// What actions see.
fn context(job: &Job, name: &str, decided: bool) -> Value {
    let mut context = Map::new();
    let event = &job.payload["event"];
    context.insert("event".into(), if decided { event.clone() } else { event_of(event) });
    for side in SIDES {
        // A change of a table comes with its rows, the event of a trigger has them in its payload.
        let row = match job.payload.get(side) {
            Some(row) => row,
            None => &event["payload"][side],
        };
        context.insert(side.into(), row.clone());
    }
    context.insert("rule".into(), json!(name));
    Value::Object(context)
}

/// Counts what a rule on events made of one, once for all attempts; a table's rules are counted by
/// its trigger.
fn count(job: &Job, id: Uuid, ready: &Ready, is_match: bool) {
    if ready.hears && job.attempts == 0 {
        tally::count(id, is_match);
    }
}

/// The event as rules see it. For an emitted one also the keys of its payload, so that both
/// `event.amount` and `event.payload.amount` name the same value.
pub fn event_of(event: &Value) -> Value {
    let Some(envelope) = event.as_object() else { return event.clone() };
    let Some(Value::Object(payload)) = envelope.get("payload") else { return event.clone() };
    let mut all = payload.clone();
    for (key, value) in envelope {
        if key == "payload" || !payload.contains_key(key) {
            all.insert(key.clone(), value.clone());
        }
    }
    Value::Object(all)
}

/// The rule as it is now, or None when it was dropped. What matched before it was disabled is
/// still done.
fn ready(id: Uuid) -> Result<Option<Rc<Ready>>> {
    let known = READY.with_borrow(|all| all.get(&id).cloned());
    let version = known.as_ref().map_or(0, |r| r.version);
    let me = pg::current_user();
    let row = as_extension(|own| {
        let rows = own.run(
            "SELECT version, name, on_table IS NULL,
                    CASE WHEN version <> $2 THEN coalesce(condition_sql, condition) END,
                    CASE WHEN version <> $2 THEN actions::pg_catalog.text END,
                    CASE WHEN version <> $2 THEN conditions::pg_catalog.text END, on_trigger,
                    CASE WHEN version <> $2 THEN reads END
             FROM automate.rule WHERE id = $1 AND owner = $3",
            &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), version.into(), me.into()],
        )?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some((
            rows.get::<i32>(0, 1).unwrap_or(0),
            rows.get::<String>(0, 2).unwrap_or_default(),
            rows.get::<bool>(0, 3).unwrap_or(false),
            rows.get::<String>(0, 4),
            rows.get::<String>(0, 5),
            rows.get::<String>(0, 6),
            rows.get::<pgrx::Uuid>(0, 7).map(|id| Uuid::from_bytes(*id.as_bytes())),
            kept::reads(rows.get(0, 8)),
        )))
    })?;
    let Some((found, name, elsewhere, condition, actions, logic, trigger, reads)) = row else {
        READY.with_borrow_mut(|all| all.remove(&id));
        return Ok(None);
    };
    if let Some(known) = known.filter(|known| known.version == found) {
        return Ok(Some(known));
    }
    let made = Rc::new(Ready {
        version: found,
        name,
        hears: elsewhere,
        trigger,
        condition: match elsewhere {
            true => Condition::read(condition, logic.as_deref())?,
            false => None,
        },
        actions: parse(&actions.unwrap_or_default())?,
        reads,
    });
    READY.with_borrow_mut(|all| keep(all, id, &made));
    Ok(Some(made))
}

fn keep<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Rc<Ready>>, key: K, made: &Rc<Ready>) {
    if all.len() >= CACHE {
        all.clear();
    }
    all.insert(key, made.clone());
}

fn parse(actions: &str) -> Result<Vec<Action>> {
    let actions: Value =
        serde_json::from_str(actions).map_err(|e| Error::Internal(e.to_string()))?;
    action::parse(&actions).map_err(|p| Error::problems("actions", &p, RULE.help))
}

/// The version that does a match: the one in force, so that a mended rule does what waits and what
/// is tried again; but if that reads what the match did not keep, the version that matched.
fn fit_for(job: &Job, id: Uuid, now: Rc<Ready>) -> Result<Rc<Ready>> {
    let version = job.payload["version"].as_i64().and_then(|number| i32::try_from(number).ok());
    let Some(version) = version.filter(|version| *version != now.version) else { return Ok(now) };
    let words = job.payload["kept"].as_array().into_iter().flatten();
    let kept = Reads::from_words(words.filter_map(|word| word.as_str().map(str::to_owned)));
    // The change may have had no such row.
    let has = |side: &str| {
        let row = job.payload.get(side).unwrap_or(&job.payload["event"]["payload"][side]);
        !row.is_null()
    };
    if now.reads.is_within(&kept, has) {
        return Ok(now);
    }
    if let Some(known) = EARLIER.with_borrow(|all| all.get(&(id, version)).cloned()) {
        return Ok(known);
    }
    let actions: Option<String> = as_extension(|own| {
        own.one(
            "SELECT (definition -> 'actions')::pg_catalog.text FROM automate.rule_version
             WHERE rule = $1 AND version = $2",
            &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), version.into()],
        )
    })?;
    let actions = actions.ok_or_else(|| {
        Error::Internal(format!("rule {} has lost its version {version}", shown(&now.name)))
    })?;
    let made = Rc::new(Ready {
        version,
        name: now.name.clone(),
        hears: now.hears,
        trigger: now.trigger,
        condition: None,
        actions: parse(&actions)?,
        reads: kept,
    });
    EARLIER.with_borrow_mut(|all| keep(all, (id, version), &made));
    Ok(made)
}

/// Does one action. `key` names it among all that are ever done, over every attempt.
fn act(action: &Rendered, source: &str, key: &str) -> Result<()> {
    let owner = pg::current_user();
    match action {
        Rendered::Sql { statement, params, .. } => {
            let params = params.as_array().map_or(&[][..], Vec::as_slice);
            statement::execute(statement, params, false)?;
        }
        Rendered::Workflow { name, input } => {
            workflow::start(&Start {
                owner,
                name,
                input,
                version: None,
                idempotency_key: None,
                source: Some(source),
            })?;
        }
        Rendered::Notify { template, recipients, data } => {
            let recipients = texts(recipients)?;
            notify::notify(&Notification {
                owner,
                template,
                recipients: &recipients,
                data,
                attachments: &[],
                priority: 100,
                source: Some(source),
            })?;
        }
        Rendered::Http(request) => super::request::queue(owner, request, source, key)?,
        // Done before the write.
        Rendered::Set { .. } | Rendered::Reject(_) => {}
        Rendered::Emit { name, payload } => {
            let source = Some(source);
            event::emit(&Emission { source, ..Emission::new(owner, name, payload) })?;
        }
        Rendered::Report { name, params } => {
            let (formats, deliver, source) = (None, None, Some(source));
            report::start(&report::Start {
                owner,
                name,
                params,
                formats,
                deliver,
                source,
                asker: None,
            })?;
        }
        Rendered::Task { name } => {
            steer::execute(name)?;
        }
    }
    Ok(())
}

/// Recipients must have become texts.
fn texts(recipients: &Value) -> Result<Vec<String>> {
    let list = recipients.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|item| {
            item.as_str().map(str::to_owned).ok_or_else(|| {
                Error::from(Failure::from(
                    Error::invalid(format!("a recipient is a text, not {item}"))
                        .with_detail("It is what the action's recipients became for this event.")
                        .with_hint("Write channel:address, such as \"mail:ops@example.com\"."),
                ))
            })
        })
        .collect()
}
