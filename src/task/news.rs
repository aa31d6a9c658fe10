//! What became of tasks, for those who wait for it: other tasks' runs, and people. Written in the
//! transaction in which it happened, and only added to, so that nobody there waits for anybody;
//! read by the coordinator.

use super::alert;
use crate::error::Result;
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use crate::wake;
use pgrx::datum::TimestampWithTimeZone;
use uuid::Uuid;

/// Before another look at what somebody has locked.
const LOCKED_MS: i64 = 100;
/// News read in one transaction.
const CHUNK: i64 = 200;

/// Runs that are over.
#[derive(Default)]
pub struct Over {
    tasks: Vec<Uuid>,
    instants: Vec<TimestampWithTimeZone>,
    statuses: Vec<String>,
}

impl Over {
    pub fn push(&mut self, task: Uuid, at: TimestampWithTimeZone, status: String) {
        self.tasks.push(task);
        self.instants.push(at);
        self.statuses.push(status);
    }

    /// Tells it where somebody wants to know. (Scalar subqueries: EXISTS might be hashed, and read
    /// all alerts.)
    pub fn tell(self, own: &Own) -> Result<()> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let told = own.run(
            "INSERT INTO automate.task_news (task, scheduled_at, status)
             SELECT n.task, n.at, n.status FROM unnest($1, $2, $3) AS n(task, at, status)
             WHERE coalesce((SELECT true FROM automate.task_wait AS w WHERE w.upstream = n.task AND w.asleep LIMIT 1),
                            (SELECT true FROM automate.task_alert AS a WHERE a.task = n.task))",
            &[to_uuids(&self.tasks).into(), self.instants.into(), self.statuses.into()],
        )?;
        if told.processed > 0 {
            wake::arm_coordinator();
        }
        Ok(())
    }
}

/// Lets the runs that wait for these tasks be looked at again.
pub fn rouse(own: &Own, tasks: &[Uuid]) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let told = own.run(
        "INSERT INTO automate.task_news (task)
         SELECT DISTINCT upstream FROM automate.task_wait WHERE upstream = ANY ($1) AND asleep",
        &[to_uuids(tasks).into()],
    )?;
    if told.processed > 0 {
        wake::arm_coordinator();
    }
    Ok(())
}

/// For the coordinator: reads the news, and sees to those who wait for them; true when there may be
/// more.
pub fn read(own: &Own) -> Result<bool> {
    let rows = own.run(
        "SELECT id, task, scheduled_at, status FROM automate.task_news ORDER BY id LIMIT $1",
        &[CHUNK.into()],
    )?;
    let (mut done, mut stuck): (Vec<i64>, Vec<pgrx::Uuid>) = (Vec::new(), Vec::new());
    for row in 0..rows.len() {
        let (Some(id), Some(task)) = (rows.get(row, 1), rows.get::<pgrx::Uuid>(row, 2)) else {
            continue;
        };
        let run = rows.get::<TimestampWithTimeZone>(row, 3).zip(rows.get::<String>(row, 4));
        // What is told of a task is told in its order.
        let told = !stuck.contains(&task)
            && wake_waiting(own, task)?
            && match run {
                Some((at, status)) => alert::ended(own, task, at, &status)?,
                None => true,
            };
        match told {
            true => done.push(id),
            false => stuck.push(task),
        }
    }
    if done.is_empty() {
        return Ok(false);
    }
    let read = done.len() as i64;
    own.run("DELETE FROM automate.task_news WHERE id = ANY ($1)", &[done.into()])?;
    Ok(read == CHUNK)
}

/// False when somebody has locked one of those that wait.
fn wake_waiting(own: &Own, upstream: pgrx::Uuid) -> Result<bool> {
    let asleep = own
        .run("SELECT FROM automate.task_wait WHERE upstream = $1 AND asleep", &[upstream.into()])?;
    if asleep.processed == 0 {
        return Ok(true);
    }
    let awake = own.run(
        "UPDATE automate.task_wait AS w SET asleep = false
         FROM (SELECT task, scheduled_at, upstream FROM automate.task_wait
               WHERE upstream = $1 AND asleep FOR UPDATE SKIP LOCKED) AS s
         WHERE w.task = s.task AND w.scheduled_at = s.scheduled_at AND w.upstream = s.upstream",
        &[upstream.into()],
    )?;
    Ok(awake.processed == asleep.processed)
}

/// When to look again at what was locked.
pub fn due_in(own: &Own) -> Result<Option<i64>> {
    let left: Option<bool> = own.one(
        "SELECT EXISTS (SELECT FROM automate.task_news)
             OR EXISTS (SELECT FROM automate.task_wait WHERE NOT asleep)",
        &[],
    )?;
    Ok((left == Some(true)).then_some(LOCKED_MS))
}
