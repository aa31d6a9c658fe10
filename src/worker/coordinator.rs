//! The coordinator of a database: knows what is due, wakes and starts who shall do it. It runs as
//! superuser and touches the extension's own tables only; never a user's text.

use super::deadline::Deadlines;
use super::pool::Pool;
use super::process::{self, Process};
use crate::error::Result;
use crate::shmem::inflight::Inflight;
use crate::shmem::{Kind, State, registry};
use crate::spi::{Own, as_extension};
use crate::{access, guc, housekeep, instance, pg, queue, task, trigger};
use pgrx::prelude::*;
use uuid::Uuid;

/// Longest sleep: work whose wake-up was lost (two-phase commit) starts after it at the latest.
const SAFETY_WAKE_MS: i64 = 30_000;
/// Shortest pause between two looks, so that a storm of commits does not become a storm of looks.
const MIN_PAUSE_MS: i64 = 2;
/// So long before a task is due an executor of its role is started, if there is none.
const WARM_US: i64 = 100_000;
/// Before another look at due tasks that somebody has locked.
const LOCKED_US: i64 = 250_000;

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn automate_coordinator_main(index: pg_sys::Datum) {
    process::take_signals();
    let mut me = Process::enter(index.value(), Kind::Coordinator);
    // SAFETY: the bootstrap superuser; only our own tables are touched.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(me.db, pg_sys::InvalidOid, 0) };
    if process::transaction(process::extension_oid).is_ok_and(|oid| oid == pg_sys::InvalidOid) {
        me.slot.set_absent();
        process::leave();
    }
    me.bind_to_extension();
    if let Some(registry) = registry() {
        registry.troubles.clear_children(me.db);
    }
    let mut pool = Pool::new(me.db);
    let mut dead = Dead::new();
    let mut deadlines = Deadlines::new(me.db);
    let mut role_changes = 0;
    let mut next_housekeeping = 0;
    loop {
        me.leave_if_asked();
        me.slot.set_state(State::Busy);
        dead.charge(&me);
        let changes = registry().map_or(0, |r| r.role_changes());
        if changes != role_changes {
            role_changes = changes;
            pool.forgive();
            keep(queue::lease::end_ownerless);
        }
        if pg::now() >= next_housekeeping {
            next_housekeeping = pg::now() + housekeep::INTERVAL_US;
            housekeep::ROUND.iter().for_each(|step| keep(*step));
        }
        // Before the look, which frees the jobs of executors that are gone.
        let pressing_ms = deadlines.press();
        let fired = pg::now();
        fire_tasks();
        let looked = process::hasty_transaction(|| {
            look(&me, &mut pool, fired).unwrap_or_else(|e| e.raise())
        });
        let (wait, task_us) = looked.unwrap_or_else(|failure| {
            log!("pg_automate coordinator: {}", failure.text());
            trigger::watch::unsure();
            (1000, i64::MAX)
        });
        let wait = wait.min(pool.supervise()).min(pressing_ms);
        me.slot.set_state(State::Idle);
        process::report(None);
        process::report_statistics();
        rest(wait, task_us);
    }
}

/// Sleeps for so many milliseconds, or until a task wants to be looked at.
fn rest(wait_ms: i64, task_us: i64) {
    let left_ms = task_us.saturating_sub(pg::now()) / 1000;
    if left_ms > wait_ms {
        return process::wait(wait_ms.clamp(MIN_PAUSE_MS, SAFETY_WAKE_MS));
    }
    if left_ms >= MIN_PAUSE_MS {
        process::wait(left_ms.min(SAFETY_WAKE_MS));
    }
    process::wait_exactly(task_us);
}

/// One look at what is to be done; returns after how many milliseconds the next is due, and at which
/// instant a task is. `fired` is when those that were due were last looked for.
fn look(me: &Process, pool: &mut Pool, fired: i64) -> Result<(i64, i64)> {
    if !me.extension_is_ours() {
        process::leave();
    }
    // Before the snapshot in which the look is made.
    let mark = me.slot.paused_mark();
    as_extension(|own| {
        own.plan_for_queue();
        let paused = guc::paused() || instance::is_paused(own)?;
        me.slot.set_paused(mark, paused);
        if paused {
            pool.want(Vec::new(), &[], false);
            // What runs already can be cancelled all the same.
            return Ok((task::cancel::press(own)?.unwrap_or(SAFETY_WAKE_MS), i64::MAX));
        }
        queue::lease::free_orphans(own)?;
        let due_ms = [
            task::backfill::go_on(own)?,
            task::cancel::press(own)?,
            task::news::due_in(own)?,
            task::alert::tell_stale(own)?,
            trigger::fire::fire_due(own)?,
            trigger::due::queue_due(own)?,
            queue::due::promote(own)?,
        ]
        .into_iter()
        .flatten()
        .min();
        let (mut waiting, mut refused) = (Vec::new(), Vec::new());
        for role in queue::due::waiting_roles(own)? {
            if access::can_log_in(role.role) {
                waiting.push(role);
            } else if pg::role_name(role.role).is_some() {
                refused.push(role.role);
            } else {
                queue::lease::end_ownerless(own)?;
            }
        }
        pool.want(waiting, &refused, queue::due::network_is_waiting(own)?);
        Ok((due_ms.unwrap_or(SAFETY_WAKE_MS), task_us(own, pool, fired)?))
    })
}

/// When tasks want to be looked at again: when the first is due, or a little earlier to have an
/// executor ready for it.
fn task_us(own: &Own, pool: &mut Pool, fired: i64) -> Result<i64> {
    let Some((due, owner)) = task::fire::first(own)? else { return Ok(i64::MAX) };
    if due <= fired {
        // It was not taken, so it is locked: whoever has it says so when it commits, but not when
        // it is rolled back.
        return Ok(pg::now() + LOCKED_US);
    }
    if due - pg::now() > WARM_US {
        return Ok(if pool.has_executor(owner) { due } else { due - WARM_US });
    }
    let mut roles = task::fire::owners(own, due)?;
    roles.retain(|role| access::can_log_in(*role));
    pool.expect(roles);
    Ok(due)
}

/// Makes the runs of the tasks that are due, some at a time: the first begin while the others are
/// still looked at. Then lets go those that have waited for others.
fn fire_tasks() {
    let some = || {
        as_extension(|own| {
            own.plan_for_queue();
            if guc::paused() || instance::is_paused(own)? {
                return Ok(false);
            }
            Ok(task::fire::fire_due(own)? || task::pass_on(own)?)
        })
    };
    loop {
        match process::hasty_transaction(|| some().unwrap_or_else(|e| e.raise())) {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => return log!("pg_automate cannot run tasks: {}", failure.text()),
        }
    }
}

/// One piece of housekeeping in a transaction of its own; its failure is logged, and the next one
/// is not kept from running.
fn keep(step: fn(&Own) -> Result<()>) {
    let done = process::transaction(|| as_extension(step).unwrap_or_else(|e| e.raise()));
    if let Err(failure) = done {
        log!("pg_automate housekeeping: {}", failure.text());
    }
}

/// The jobs under which a process died and that are not charged yet.
struct Dead {
    file: Option<Inflight>,
    jobs: Vec<Uuid>,
}

impl Dead {
    fn new() -> Dead {
        let file = Inflight::open();
        if let Err(e) = &file {
            log!("pg_automate cannot open pg_automate/inflight: {e}");
        }
        Dead { file: file.ok(), jobs: Vec::new() }
    }

    /// Charges each death to its job; at the third the job is quarantined. A job that somebody
    /// runs again already is charged later.
    fn charge(&mut self, me: &Process) {
        let incarnation = registry().map_or(0, |r| r.incarnation());
        if let Some(file) = &self.file {
            let taken = file.died(incarnation, me.db.to_u32()).and_then(|died| {
                // What a shutdown interrupts is not to blame; its incarnation passes with it.
                if !died.is_empty() && pg::server_is_stopping() {
                    return Ok(());
                }
                self.jobs.extend(died.iter().map(|(_, job)| *job));
                died.iter().try_for_each(|(slot, _)| file.note(*slot, 0, 0, None))
            });
            if let Err(e) = taken {
                log!("pg_automate cannot read pg_automate/inflight: {e}");
            }
        }
        if self.jobs.is_empty() {
            return;
        }
        let jobs = std::mem::take(&mut self.jobs);
        let charged = process::transaction(|| {
            as_extension(|own: &Own| queue::lease::charge(own, &jobs)).unwrap_or_else(|e| e.raise())
        });
        match charged {
            Ok(left) => self.jobs = left,
            Err(failure) => log!("pg_automate cannot charge jobs: {}", failure.text()),
        }
    }
}
