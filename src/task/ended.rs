//! What becomes of a run when its job is over, in the transaction that ends the job.

use super::news::Over;
use super::upstream;
use crate::error::Result;
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use crate::spi::own::Rows;
use serde_json::Value;
use uuid::Uuid;

/// The keys under which answers name what was started.
const STARTED: [&str; 3] = ["run", "report_run", "notification"];

/// A job of a task that is over.
pub struct Ended {
    pub task: Uuid,
    /// The instant, as the job's payload has it.
    pub scheduled_at: String,
    /// As in automate.job_history; running when what it started goes on.
    pub status: &'static str,
    pub attempts: i32,
    pub started_us: Option<i64>,
    pub error: Option<String>,
    pub rows: Option<i64>,
    pub output: Option<String>,
    pub started: Option<Uuid>,
}

impl Ended {
    /// Of a job that succeeded; takes out of its answer what is for the run alone.
    pub fn succeeded(payload: &Value, answer: &mut Value) -> Option<Ended> {
        let started = STARTED.iter().find_map(|key| answer[key].as_str());
        let started = started.and_then(|id| Uuid::parse_str(id).ok());
        let rows = answer["rows"].as_i64();
        let output = answer.as_object_mut().and_then(|answer| answer.remove("output"));
        let output = output.and_then(|text| text.as_str().map(str::to_owned));
        Some(Ended { started, rows, output, ..Ended::of(payload, "succeeded")? })
    }

    /// Of a job that is over for now: what it has started goes on.
    pub fn away(payload: &Value, answer: &mut Value) -> Option<Ended> {
        Some(Ended { status: "running", ..Ended::succeeded(payload, answer)? })
    }

    /// Of a job that has failed for good, or was cancelled.
    pub fn failed(payload: &Value, status: &'static str, error: &str) -> Option<Ended> {
        Some(Ended { error: Some(error.to_owned()), ..Ended::of(payload, status)? })
    }

    fn of(payload: &Value, status: &'static str) -> Option<Ended> {
        Some(Ended {
            task: Uuid::parse_str(payload["task"].as_str()?).ok()?,
            scheduled_at: payload["scheduled_at"].as_str()?.to_owned(),
            status,
            attempts: 0,
            started_us: None,
            error: None,
            rows: None,
            output: None,
            started: None,
        })
    }
}

/// Writes down what became of runs. (IS TRUE keeps the index of open runs out of it: while that is
/// empty, a plan looks cheap which then goes through all open runs for each that ended.)
pub fn note(own: &Own, ended: &[Ended]) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = ended.iter().map(|e| e.task).collect();
    let started: Vec<Option<pgrx::Uuid>> =
        ended.iter().map(|e| e.started.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()))).collect();
    let over = own.run(
        "UPDATE automate.task_run AS r
         SET status = CASE WHEN d.status <> 'failed' THEN d.status WHEN r.cancelling IS NOT NULL THEN 'cancelled'
                           WHEN d.error LIKE '57P01: interrupted%' THEN 'interrupted' ELSE 'failed' END,
             finished_at = CASE WHEN d.status <> 'running' THEN clock_timestamp() END,
             started_at = coalesce('2000-01-01 00:00:00+00'::timestamptz + d.began * interval '1 microsecond', r.started_at),
             attempts = d.attempts, error = d.error, rows = d.rows, output = d.output,
             started = coalesce(d.started, r.started)
         FROM unnest($1, $2::text[], $3::text[], $4::int4[], $5::int8[], $6::text[], $7::int8[], $8::text[], $9)
              AS d(task, at, status, attempts, began, error, rows, output, started)
         WHERE r.task = d.task AND r.scheduled_at = d.at::timestamptz AND (r.finished_at IS NULL) IS TRUE
         RETURNING r.task, r.scheduled_at, r.status",
        &[
            to_uuids(&tasks).into(),
            ended.iter().map(|e| e.scheduled_at.clone()).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.status).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.attempts).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.started_us).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.error.clone()).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.rows).collect::<Vec<_>>().into(),
            ended.iter().map(|e| e.output.clone()).collect::<Vec<_>>().into(),
            started.into(),
        ],
    )?;
    pass_on(own, &over)
}

/// Passes on which runs have ended, and how, from rows of task, instant and status.
fn pass_on(own: &Own, rows: &Rows) -> Result<()> {
    let mut over = Over::default();
    for row in 0..rows.len() {
        let id = rows.get::<pgrx::Uuid>(row, 1).map(|id| Uuid::from_bytes(*id.as_bytes()));
        let status = rows.get::<String>(row, 3).filter(|status| status != "running");
        if let (Some(id), Some(at), Some(status)) = (id, rows.get(row, 2), status) {
            over.push(id, at, status);
        }
    }
    over.tell(own)
}

/// The runs of jobs that ended otherwise than in an executor: interrupted, quarantined, cancelled,
/// or of a role that is gone.
pub fn note_from_history(own: &Own, jobs: &[Uuid]) -> Result<()> {
    let rows = own.run(
        "SELECT status, attempts, error, retry ->> 'payload' FROM automate.job_history
         WHERE id = ANY ($1) AND kind = 'task' AND status <> 'succeeded' AND retry IS NOT NULL",
        &[to_uuids(jobs).into()],
    )?;
    let ended: Vec<Ended> = (0..rows.len())
        .filter_map(|row| {
            let status = match rows.get::<String>(row, 1)?.as_str() {
                "quarantined" => "quarantined",
                "cancelled" => "cancelled",
                _ => "failed",
            };
            let payload: Value = serde_json::from_str(&rows.get::<String>(row, 4)?).ok()?;
            let error = rows.get::<String>(row, 3).unwrap_or_default();
            let attempts = rows.get(row, 2).unwrap_or(0);
            Some(Ended { attempts, ..Ended::failed(&payload, status, &error)? })
        })
        .collect();
    note(own, &ended)?;
    // One of them may have been cancelled while it waited for other tasks.
    let tasks: Vec<Uuid> = ended.iter().map(|e| e.task).collect();
    upstream::forget_over(own, &tasks)
}

/// The open runs of roles that were dropped are over.
pub fn end_ownerless(own: &Own) -> Result<()> {
    let over = own.run(
        "UPDATE automate.task_run AS r
         SET status = 'failed', finished_at = clock_timestamp(),
             error = '42704: the role with OID ' || r.owner::oid || ', which owned it, was dropped'
         WHERE finished_at IS NULL AND NOT EXISTS (SELECT FROM pg_authid AS a WHERE a.oid = r.owner)
         RETURNING r.task, r.scheduled_at, r.status",
        &[],
    )?;
    pass_on(own, &over)
}

/// A dead letter that is put back in the queue is a run again.
pub fn reopen(own: &Own, job: Uuid) -> Result<()> {
    // Whoever looks how its runs stand does so before or after this.
    own.run(
        "SELECT FROM automate.task WHERE id = (SELECT (payload ->> 'task')::uuid FROM automate.job
                                              WHERE id = $1 AND kind = 'task') FOR NO KEY UPDATE",
        &[pgrx::Uuid::from_bytes(*job.as_bytes()).into()],
    )?;
    own.run(
        "UPDATE automate.task_run AS r
         SET status = 'queued', finished_at = NULL, cancelling = NULL
         FROM automate.job AS j
         WHERE j.id = $1 AND j.kind = 'task' AND r.task = (j.payload ->> 'task')::uuid
           AND r.scheduled_at = (j.payload ->> 'scheduled_at')::timestamptz AND r.job = j.id",
        &[pgrx::Uuid::from_bytes(*job.as_bytes()).into()],
    )?;
    Ok(())
}
