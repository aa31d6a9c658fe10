//! A trigger put to the test: nothing is recorded, nobody is told, and everything is shown.

use super::decide::{self, Change, Verdict};
use super::evaluate::envelope;
use super::known::{self, Known};
use super::look;
use crate::error::{Error, Result};
use crate::rule::trial::Given;
use crate::spi::{Own, as_extension};
use crate::task::when;
use automate_core::trigger::{Data, Kind, Level, Options, Payload};
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

/// What a trigger is to be tried with.
pub struct Trial {
    pub new: Option<Given>,
    pub old: Option<Given>,
    pub payload: Option<Value>,
}

/// What would come of it, as a JSON object.
pub fn run(user: pg_sys::Oid, name: &str, trial: Trial) -> Result<Value> {
    let (trigger, subscribers) = as_extension(|own| {
        let trigger = known::see(own, user, name)?;
        let subscribers = subscribers(own, user, &trigger)?;
        Ok((trigger, subscribers))
    })?;
    check_given(&trigger, &trial)?;
    let (verdict, payload) = match &trigger.options {
        Options::Data(options) => on_change(&trigger, options, trial)?,
        Options::Event { .. } => {
            let payload = trial.payload.unwrap_or_else(|| json!({}));
            let event = envelope(user, &trigger.event, &payload);
            (decide::on_event(&trigger, user, &event), payload)
        }
        Options::Custom(_) => look::rehearse(&trigger),
        Options::Time(_) => by_clock(&trigger),
    };
    Ok(json!({
        "fires": verdict.fires, "reason": verdict.reason, "event": trigger.event,
        "payload": payload, "subscribers": subscribers,
    }))
}

/// Rows are for triggers on tables, a payload is for those on events.
fn check_given(trigger: &Known, trial: &Trial) -> Result<()> {
    let rows = trial.new.is_some() || trial.old.is_some();
    let (wrong, hint) = match trigger.kind {
        Kind::Data if trial.payload.is_some() => {
            ("a payload", "Give new => to_jsonb(a_row), and old as well for an update.")
        }
        Kind::Event if rows => ("rows", "Give payload => '{...}' as the event would have it."),
        Kind::Time | Kind::Custom if rows || trial.payload.is_some() => {
            ("rows or a payload", "Leave them out: it looks at nothing that could be given.")
        }
        _ => return Ok(()),
    };
    let word = trigger.kind.word();
    Err(Error::invalid(format!("a trigger of type {word} is not tried with {wrong}"))
        .with_detail(format!("The trigger \"{}\" is of that type.", trigger.name))
        .with_hint(hint))
}

fn on_change(trigger: &Known, options: &Data, trial: Trial) -> Result<(Verdict, Value)> {
    let operation = match (&trial.new, &trial.old) {
        (Some(_), None) => "insert".to_owned(),
        (Some(_), Some(_)) => "update".to_owned(),
        (None, Some(_)) => "delete".to_owned(),
        (None, None) => without_rows(trigger, options)?,
    };
    let change = Change { operation, new: trial.new, old: trial.old };
    let verdict = decide::on_change(trigger, &change)?;
    let payload = as_extension(|own| payload(own, trigger, options, &change))?;
    Ok((verdict, payload))
}

/// The operation that is meant where no row was given.
fn without_rows(trigger: &Known, options: &Data) -> Result<String> {
    let has = |name: &str| trigger.operations.iter().any(|o| o == name);
    match (options.level, has("truncate")) {
        (_, true) => Ok("truncate".to_owned()),
        (Level::Statement, false) => Ok(trigger.operations.first().cloned().unwrap_or_default()),
        (Level::Row, false) => Err(Error::invalid("the trigger sees rows, and none was given")
            .with_detail(format!("It sees {}.", trigger.operations.join(" and ")))
            .with_hint("Give new => to_jsonb(a_row), and old as well for an update.")),
    }
}

/// The payload that the event of a change would have.
fn payload(own: &Own, trigger: &Known, options: &Data, change: &Change) -> Result<Value> {
    let table = trigger.table.unwrap_or(pg_sys::InvalidOid);
    let rows = own.run(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_index AS i
                      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                      WHERE i.indrelid = c.oid AND i.indisprimary)
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = $1",
        &[table.into()],
    )?;
    let key: Vec<String> = rows.get(0, 3).unwrap_or_default();
    let mut all = json!({
        "op": change.operation,
        "schema": rows.get::<String>(0, 1),
        "table": rows.get::<String>(0, 2),
    });
    if options.level == Level::Row && change.operation != "truncate" {
        all["new"] = part(options.payload, &key, change.new.as_ref(), change.old.as_ref());
        all["old"] = part(options.payload, &key, change.old.as_ref(), change.new.as_ref());
    }
    Ok(all)
}

/// As much of a row as the event holds.
fn part(much: Payload, key: &[String], row: Option<&Given>, other: Option<&Given>) -> Value {
    let Some(Value::Object(columns)) = row.map(|row| &row.value) else { return Value::Null };
    let stays = |column: &String, value: &Value| match much {
        Payload::Full => true,
        Payload::Key => key.contains(column),
        Payload::Changed => {
            key.contains(column) || other.is_none_or(|other| other.value.get(column) != Some(value))
        }
    };
    let kept = columns.iter().filter(|(column, value)| stays(column, value));
    Value::Object(
        kept.map(|(column, value)| (column.clone(), value.clone())).collect::<Map<_, _>>(),
    )
}

/// What fires by the clock.
fn by_clock(trigger: &Known) -> (Verdict, Value) {
    let next = trigger.next.map(|next| next.to_rfc3339());
    let payload = json!({"scheduled_at": next});
    match (decide::at_rest(trigger), next) {
        (Some(rest), _) => (rest, payload),
        (None, Some(next)) => (Verdict::yes(format!("it is due at {next}")), payload),
        (None, None) => {
            let now = when::now().to_rfc3339();
            (Verdict::no(format!("nothing is to come after {now}")), payload)
        }
    }
}

/// Who is subscribed, as far as a role may see it, and what each would do.
fn subscribers(own: &Own, user: pg_sys::Oid, trigger: &Known) -> Result<Value> {
    let text: Option<String> = own.one(
        "SELECT coalesce(jsonb_agg(s.what || jsonb_build_object('owner', pg_get_userbyid(s.owner),
                    'told', s.awake AND pg_has_role(s.owner, $3, 'USAGE')) ORDER BY s.what ->> 'kind', s.what ->> 'name'), '[]')::text
         FROM (SELECT owner::oid, status = 'active' AND (valid_from IS NULL OR valid_from <= now())
                        AND (valid_until IS NULL OR now() < valid_until) AS awake,
                      jsonb_build_object('kind', 'rule', 'name', name, 'condition', coalesce(condition_sql, condition),
                        'actions', actions) AS what
               FROM automate.rule WHERE on_trigger = $1
               UNION ALL
               SELECT owner::oid, status = 'active', jsonb_build_object('kind', 'task', 'name', name,
                        'task_type', task_type, 'command', command)
               FROM automate.task WHERE on_trigger = $1
               UNION ALL
               SELECT owner::oid, status = 'active', jsonb_build_object('kind', 'workflow', 'name', name,
                        'version', version)
               FROM automate.workflow WHERE on_trigger = $1) AS s
         WHERE pg_has_role($2, s.owner, 'USAGE')",
        &[trigger.key().into(), user.into(), trigger.owner.into()],
    )?;
    let text = text.unwrap_or_else(|| "[]".into());
    serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))
}
