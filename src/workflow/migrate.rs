//! A run that goes on with another version of its workflow.

use super::known::{self, Known};
use super::load::{self, Loaded, now_text};
use super::outside;
use super::run::Run;
use crate::error::{Error, Result};
use crate::noun::{WORKFLOW, looked_for};
use crate::spi::{Own, as_extension};
use crate::wake;
use automate_core::problem::Problem;
use automate_core::workflow::{
    Awaits, Command, Migrated, Moved, migrate as map_state, pending_commands,
};
use pgrx::Uuid as PgUuid;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::rc::Rc;
use uuid::Uuid;

/// Lets a run go on with a version, or only looks whether it could (`dry_run`): rows of the steps
/// that it waits for, and of what there is no place for.
pub fn migrate(user: pg_sys::Oid, run: Uuid, version: i32, dry_run: bool) -> Result<Value> {
    as_extension(|own| {
        check_run(own, user, run)?;
        if !dry_run {
            lock(own, run)?;
        }
        let loaded = load::load(own, &[run], &mut HashMap::new())?.pop();
        let mut run = match loaded {
            Some(Loaded::Run(run)) => run,
            Some(Loaded::Broken(_, error)) => return Err(unreadable(run, &error.to_string())),
            _ => return Err(ended(run)),
        };
        let known = target(own, &run, version)?;
        let (steps, problems) = match change(&run, &known) {
            Ok(Some(migrated)) => {
                let problems = out(own, &run, &migrated)?;
                (Some(migrated), problems)
            }
            Ok(None) => (None, Vec::new()),
            Err(problems) => (None, problems),
        };
        let rows = rows(steps.as_ref(), &problems);
        if dry_run {
            return Ok(rows);
        }
        if !problems.is_empty() {
            let what = format!("run {} cannot go on with version {version}", run.id);
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(Error::problems(&what, &problems, WORKFLOW.help).with_code(code));
        }
        save(own, &mut run, known, version, steps)?;
        Ok(rows)
    })
}

/// The run is there, and the user may steer it.
fn check_run(own: &Own, user: pg_sys::Oid, run: Uuid) -> Result<()> {
    let open: Option<bool> = own.one(
        "SELECT finished_at IS NULL FROM automate.run WHERE id = $1 AND pg_has_role($2, owner, 'USAGE')",
        &[key(run).into(), user.into()],
    )?;
    match open {
        Some(true) => Ok(()),
        Some(false) => Err(ended(run)),
        None => Err(Error::missing(format!("run {run} does not exist"))
            .with_detail(looked_for("the runs in automate.run", user))
            .with_hint("SELECT id, workflow, status FROM automate.run shows those there are.")),
    }
}

fn ended(run: Uuid) -> Error {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Error::refused(code, format!("run {run} has ended"))
        .with_detail("Only a run that goes on can take another version.")
        .with_hint("Start a new one with automate.execute_workflow.")
}

fn unreadable(run: Uuid, why: &str) -> Error {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Error::refused(code, format!("run {run} cannot be read"))
        .with_detail(format!("It says: {why}."))
        .with_hint("Cancel it with automate.cancel_run.")
}

/// Takes the right to the run's turn until the end of the transaction. The row of the run comes
/// first: whoever puts down news for the run waits for that, and finds the job free afterwards.
fn lock(own: &Own, run: Uuid) -> Result<()> {
    for sql in [
        "SELECT true FROM automate.run WHERE id = $1 FOR UPDATE SKIP LOCKED",
        "SELECT true FROM automate.job WHERE id = $1 FOR UPDATE SKIP LOCKED",
    ] {
        if own.one::<bool>(sql, &[key(run).into()])?.is_none() {
            return Err(busy(run));
        }
    }
    Ok(())
}

fn busy(run: Uuid) -> Error {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_IN_USE;
    Error::refused(code, format!("run {run} is in the middle of a step"))
        .with_detail("A session goes on with it just now.")
        .with_hint("Suspend the run first, or try again in a moment.")
}

fn target(own: &Own, run: &Run, version: i32) -> Result<Known> {
    super::start::check_version(own, &run.runtime.workflow, key(run.workflow), version)?;
    known::read(own, run.workflow, version)?.map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        Error::refused(code, format!("version {version} cannot be read"))
            .with_detail(format!("It says: {error}."))
            .with_hint("Choose another version.")
    })
}

/// The state in the other version; none while the run has not begun.
fn change(run: &Run, to: &Known) -> std::result::Result<Option<Migrated>, Vec<Problem>> {
    let state = run.state.as_ref();
    state.map(|state| map_state(state, &run.known.definition, &to.definition)).transpose()
}

/// Steps that somebody does who knows them by the place that they had.
fn out(own: &Own, run: &Run, migrated: &Migrated) -> Result<Vec<Problem>> {
    let mut found = Vec::new();
    for step in migrated.steps.iter().filter(|step| step.from != step.to) {
        let busy = match step.waits_for {
            Awaits::Answer => true,
            Awaits::Session => has_job(own, run, step)?,
            Awaits::Events | Awaits::Nobody => false,
        };
        if busy {
            let message =
                format!("the step \"{}\" is being done, and stands elsewhere there", step.name);
            let hint = "Wait until it is done, or keep it at its place: add tasks after it.";
            found
                .push(Problem::error(step.from.clone(), "step_under_way", message).with_hint(hint));
        }
    }
    Ok(found)
}

fn has_job(own: &Own, run: &Run, step: &Moved) -> Result<bool> {
    let key = outside::key(run.id, &step.from, step.attempt);
    let found: Option<bool> = own.one(
        "SELECT true FROM automate.job WHERE owner = $1 AND dedupe_key = $2",
        &[run.owner.into(), key.into()],
    )?;
    Ok(found.is_some())
}

fn rows(migrated: Option<&Migrated>, problems: &[Problem]) -> Value {
    let steps = migrated.into_iter().flat_map(|m| &m.steps);
    // What stands in the way is told below.
    let steps = steps.filter(|step| problems.iter().all(|p| p.pointer != step.from));
    let fine = steps.map(|step| {
        let change = if step.from == step.to { "none" } else { "moved" };
        json!({ "step": step.from, "new_step": step.to, "name": step.name, "compatible": true, "change": change })
    });
    let wrong = problems.iter().map(|p| {
        json!({ "step": p.pointer, "compatible": false, "change": p.code, "message": p.message, "hint": p.hint })
    });
    Value::Array(fine.chain(wrong).collect())
}

fn save(
    own: &Own,
    run: &mut Run,
    known: Known,
    version: i32,
    migrated: Option<Migrated>,
) -> Result<()> {
    let (steps, loops, state) = match migrated {
        Some(m) => (m.steps, m.loops, Some(m.state)),
        None => (Vec::new(), Vec::new(), None),
    };
    let listening: Vec<&Moved> =
        steps.iter().filter(|step| step.waits_for == Awaits::Events).collect();
    for step in &listening {
        outside::withdraw(own, run, &step.from, step.attempt)?;
    }
    run.state = state;
    run.known = Rc::new(known);
    run.runtime.version = version;
    write(own, run, version, &steps)?;
    // Whoever came for the run meanwhile has found it locked, and looks again.
    wake::arm_role(run.owner);
    for (from, to) in loops.iter().filter(|(from, to)| from != to) {
        own.run(
            "UPDATE automate.run_item SET step = $3 WHERE run = $1 AND step = $2",
            &[key(run.id).into(), from.as_str().into(), to.as_str().into()],
        )?;
    }
    if !listening.is_empty() {
        for command in commands(run)? {
            if listening.iter().any(|step| command.step() == Some(&step.to)) {
                outside::issue(own, run, &command)?;
            }
        }
    }
    Ok(())
}

/// What the run waits for now, as its new version has it.
fn commands(run: &Run) -> Result<Vec<Command>> {
    let Some(state) = &run.state else { return Ok(Vec::new()) };
    pending_commands(&run.known.definition, &run.runtime, state, &now_text())
        .map_err(|error| Error::Internal(error.to_string()))
}

fn write(own: &Own, run: &Run, version: i32, steps: &[Moved]) -> Result<()> {
    let state = run.state_text().map_err(|error| Error::Internal(error.to_string()))?;
    let moved = |step: &String| {
        steps
            .iter()
            .find(|moved| moved.from == *step)
            .map_or_else(|| step.clone(), |m| m.to.clone())
    };
    let todo: Option<Vec<String>> =
        run.named.as_ref().map(|named| named.iter().map(moved).collect());
    let saved = own.run(
        "UPDATE automate.run
         SET version = $3, state = $4::jsonb, todo = $5, revision = revision + 1
         WHERE id = $1 AND revision = $2",
        &[key(run.id).into(), run.revision.into(), version.into(), state.into(), todo.into()],
    )?;
    if saved.processed == 1 {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
    Err(Error::refused(code, "the run was gone on with meanwhile")
        .with_detail("What was read of it is not what is there now.")
        .with_hint("Try again in a new transaction."))
}

fn key(id: Uuid) -> PgUuid {
    PgUuid::from_bytes(*id.as_bytes())
}
