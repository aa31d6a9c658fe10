//! The tasks whose schedules name a calendar.

use super::known::key;
use crate::error::Result;
use crate::spi::Own;
use crate::task::when;
use crate::wake;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Sets anew when the tasks run that name a calendar, and the name by which they know it. What is
/// due already stays due; a task without a run to come is disabled.
pub fn tasks_of(own: &Own, calendar: Uuid) -> Result<()> {
    let rows = own.run(
        // The first condition is that of the index task_calendar.
        "SELECT id, schedule::text, time_zone, next_run_at FROM automate.task
         WHERE jsonb_path_exists(schedule, '$.**.calendar')
           AND jsonb_path_exists(schedule, '$.** ? (@.id == $id)', jsonb_build_object('id', $1))
         ORDER BY id FOR NO KEY UPDATE",
        &[key(calendar).into()],
    )?;
    let now = when::now();
    let mut tasks = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let text = |column| rows.get::<String>(row, column).unwrap_or_default();
        let (Some(id), schedule) = (rows.get::<pgrx::Uuid>(row, 1), text(2)) else { continue };
        let schedule = when::read_kept(&schedule, &text(3))?;
        let next: Option<TimestampWithTimeZone> = rows.get(row, 4);
        let to_come = next.and_then(|at| when::from_us(at.into())).is_some_and(|at| at > now);
        let next = if to_come { schedule.next(now) } else { None };
        tasks.push(json!({
            "id": Uuid::from_bytes(*id.as_bytes()), "schedule": schedule.to_json(),
            "to_come": to_come, "next": next.map(|at| at.to_rfc3339()),
        }));
    }
    if tasks.is_empty() {
        return Ok(());
    }
    own.run(
        "UPDATE automate.task AS t SET schedule = n.schedule,
                next_run_at = CASE WHEN n.to_come THEN n.next ELSE t.next_run_at END,
                status = CASE WHEN n.ends THEN 'disabled' ELSE t.status END,
                status_reason = CASE WHEN n.ends THEN 'its schedule has no further run' ELSE t.status_reason END,
                updated_at = CASE WHEN n.ends THEN now() ELSE t.updated_at END
         FROM (SELECT r.*, r.to_come AND r.next IS NULL AND k.status = 'active' AS ends
               FROM jsonb_to_recordset($1::text::jsonb) AS r(id uuid, schedule jsonb, to_come boolean, next timestamptz)
               JOIN automate.task AS k ON k.id = r.id) AS n
         WHERE t.id = n.id",
        &[Value::Array(tasks).to_string().into()],
    )?;
    wake::arm_coordinator();
    Ok(())
}

/// The names of the tasks that name a calendar and that a role may see, and how many others there
/// are.
pub fn names_of_tasks(own: &Own, user: pg_sys::Oid, calendar: Uuid) -> Result<(Vec<String>, i64)> {
    let rows = own.run(
        "SELECT CASE WHEN pg_has_role($2, owner, 'USAGE') THEN name END FROM automate.task
         WHERE jsonb_path_exists(schedule, '$.**.calendar')
           AND jsonb_path_exists(schedule, '$.** ? (@.id == $id)', jsonb_build_object('id', $1))
         ORDER BY name",
        &[key(calendar).into(), user.into()],
    )?;
    let names: Vec<String> = (0..rows.len()).filter_map(|row| rows.get(row, 1)).collect();
    let others = rows.len() - names.len();
    Ok((names, i64::try_from(others).unwrap_or(i64::MAX)))
}
