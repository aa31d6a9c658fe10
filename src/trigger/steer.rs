//! Removing triggers and switching them on and off.

use super::define::sides;
use super::known::{self, Known};
use super::store::tell_table;
use super::{ask, watch};
use crate::audit;
use crate::error::{Error, Result};
use crate::rule::expression;
use crate::rule::rights::{check_rights, check_table};
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use crate::task::when;
use crate::wake;
use automate_core::trigger::{Kind, Level, Options};
use pgrx::prelude::*;

/// Most subscribers that a refusal names.
const NAMED: usize = 10;

/// Removes a trigger to which nobody is subscribed.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = known::find(own, user, name)?;
        refuse_subscribers(own, user, &found)?;
        let watched = watch::of(own, found.key())?;
        audit::around(own, &audit::TRIGGER, (user, "drop"), found.id, || {
            own.run("DELETE FROM automate.trigger WHERE id = $1", &[found.key().into()])
        })?;
        watch::see_to(own, watched)?;
        found.table.map_or(Ok(()), |table| tell_table(own, table))
    })
}

fn refuse_subscribers(own: &Own, user: pg_sys::Oid, found: &Known) -> Result<()> {
    let rows = own.run(
        "SELECT s.kind || ' \"' || s.name || '\"', pg_has_role($2, s.owner, 'USAGE')
         FROM (SELECT 'rule' AS kind, name, owner FROM automate.rule WHERE on_trigger = $1
               UNION ALL SELECT 'task', name, owner FROM automate.task WHERE on_trigger = $1
               UNION ALL SELECT 'workflow', name, owner FROM automate.workflow WHERE on_trigger = $1) AS s
         ORDER BY 1",
        &[found.key().into(), user.into()],
    )?;
    if rows.is_empty() {
        return Ok(());
    }
    let seen = (0..rows.len()).filter(|row| rows.get(*row, 2) == Some(true));
    let mut named: Vec<String> = seen.filter_map(|row| rows.get(row, 1)).take(NAMED).collect();
    if named.len() < rows.len() {
        named.push(format!("{} others", rows.len() - named.len()));
    }
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("trigger \"{}\" cannot be dropped: there are subscribers", found.name),
    )
    .with_detail(format!("Subscribed are {}.", named.join(", ")))
    .with_hint("Drop these first, or let the trigger rest: SELECT automate.disable_trigger(name)."))
}

/// Lets a trigger rest.
pub fn disable(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = known::find(own, user, name)?;
        audit::around(own, &audit::TRIGGER, (user, "disable"), found.id, || {
            own.run(
                "UPDATE automate.trigger SET status = 'disabled', next_at = NULL, version = version + 1,
                        updated_at = pg_catalog.now() WHERE id = $1",
                &[found.key().into()],
            )
        })?;
        watch::see_to(own, watch::of(own, found.key())?)?;
        found.table.map_or(Ok(()), |table| tell_table(own, table))
    })
}

/// Puts a trigger back to work, if it still makes sense.
pub fn enable(user: pg_sys::Oid, name: &str) -> Result<()> {
    let found = as_extension(|own| known::find(own, user, name))?;
    if let (Some(table), Options::Data(options)) = (found.table, &found.options) {
        check_table(table, &found.operations, options.level == Level::Statement)?;
        check_rights(table, found.owner)?;
        if let Some(text) = &found.condition {
            let sides = sides(&found.operations, options.when);
            as_role(found.owner, || expression::check(table, text, sides, &found.search_path))?;
        }
    }
    ask::check(&found)?;
    let next = next(&found)?;
    as_extension(|own| {
        let watched = watch::of(own, found.key())?;
        watch::check_still(&watched, found.owner)?;
        // Whether it held all the time, nobody knows.
        audit::around(own, &audit::TRIGGER, (user, "enable"), found.id, || {
            own.run(
                "UPDATE automate.trigger SET status = 'active', next_at = $2, version = version + 1,
                        state = CASE WHEN state ->> 'is_on' = 'true' THEN state ELSE state - 'since' END - 'failures',
                        updated_at = pg_catalog.now() WHERE id = $1",
                &[found.key().into(), next.into()],
            )
        })?;
        watch::see_to(own, watched)?;
        wake::arm_coordinator();
        found.table.map_or(Ok(()), |table| tell_table(own, table))
    })
}

/// When a trigger that is enabled now looks next.
fn next(found: &Known) -> Result<Option<pgrx::datum::TimestampWithTimeZone>> {
    match (found.kind, &found.options) {
        (Kind::Time, _) => {
            let text = found.schedule.as_deref().unwrap_or_default();
            let next = when::read_kept(text, "UTC")?.next(when::now()).ok_or_else(|| {
                Error::refused(
                    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("the schedule of trigger \"{}\" has no instant to come", found.name),
                )
                .with_detail(format!("Looked for in {text}."))
                .with_hint(
                    "Give it another: SELECT automate.alter_trigger(name, schedule => '...').",
                )
            })?;
            when::to_datum(next).map(Some)
        }
        (Kind::Custom, _) => when::to_datum(when::now()).map(Some),
        _ => Ok(None),
    }
}
