//! enqueue_sql, retry_job, cancel_job, worker_trouble.

use super::args::Answer;
use crate::error::Error;
use crate::noun::looked_for;
use crate::queue::{Lane, NewJob, claim, limit};
use crate::shmem::registry;
use crate::spi::{as_extension, statement};
use crate::worker::toplevel;
use crate::{access, pg, sql_function, task, wake};
use automate_core::object::kind;
use pgrx::prelude::*;
use serde_json::{Value, json};

sql_function!(automate_enqueue_sql, pg_finfo_automate_enqueue_sql, |args| {
    let owner = access::require_owner()?;
    let text = args.text(0, "statement")?;
    let params = args.opt_json(1, "params")?.unwrap_or(json!([]));
    let max_attempts = args.int(6, 1);
    let (dedupe_key, concurrency_key) = (args.opt_text(4), args.opt_text(5));
    if !params.is_array() {
        return Err(Error::invalid("params must be a JSON array")
            .with_detail(format!("The value of params is {}.", kind(&params)))
            .with_hint("Its members fill $1, $2, ...: '[42, \"Zurich\"]'."));
    }
    if !(1..=100).contains(&max_attempts) {
        let meaning = "It counts all attempts, the first among them.";
        return Err(Error::out_of_range("max_attempts", max_attempts, 1, 100, meaning));
    }
    let top_level = toplevel::is_needed_checked("statement", &text)
        .map_err(|e| e.or_detail(statement::beginning("statement", &text)))?;
    let given = params.as_array().map_or(0, Vec::len);
    if top_level && given > 0 {
        return Err(statement::no_parameters("statement", &text, given));
    }
    if !top_level {
        statement::check("statement", &text)?;
    }
    limit::admit(owner, args.size(0) + args.size(1))?;
    let payload = json!({ "sql": text, "params": params });
    let path = pg::search_path();
    as_extension(|own| {
        let id = NewJob {
            run_at: args.timestamp(2),
            priority: args.int(3, 100),
            max_attempts,
            timeout_ms: args.interval_ms(7, "timeout")?,
            dedupe_key: dedupe_key.as_deref(),
            concurrency_key: concurrency_key.as_deref(),
            search_path: Some(&path),
            top_level,
            ..NewJob::new("sql", owner, Lane::Sql, &payload)
        }
        .put(own)?;
        Ok(Answer::Uuid(id))
    })
});

sql_function!(automate_retry_job, pg_finfo_automate_retry_job, |args| {
    let id = args.uuid(0, "id")?;
    let user = access::require_owner()?;
    let key = pgrx::Uuid::from_bytes(*id.as_bytes());
    as_extension(|own| {
        let done = own.run(
            "SELECT status, pg_has_role($2, owner, 'USAGE'), owner::oid FROM automate.job_history
             WHERE id = $1 ORDER BY finished_at DESC LIMIT 1",
            &[key.into(), user.into()],
        )?;
        let status: Option<String> = done.get(0, 1);
        if done.get::<bool>(0, 2) != Some(true) {
            return Err(Error::missing(format!("job {id} is not in automate.job_history"))
                .with_detail(looked_for("the finished jobs", user))
                .with_hint("Jobs that are still to be done are in automate.job."));
        }
        if status.as_deref() == Some("succeeded") {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("job {id} has succeeded"),
            )
            .with_detail(
                "A job can be retried when it has failed, or was cancelled or quarantined.",
            )
            .with_hint("Enqueue its statement again if it is to run once more."));
        }
        own.run(
            "WITH h AS (DELETE FROM automate.job_history WHERE id = $1 AND status <> 'succeeded' RETURNING *)
             INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status, enqueued_at, last_error,
                 priority, max_attempts, timeout_ms, backoff_ms, concurrency_key, search_path, top_level, order_key, order_seq)
             SELECT id, kind, owner, (retry ->> 'lane')::\"char\", retry -> 'payload', source, now(), 'ready', enqueued_at, error,
                 (retry ->> 'priority')::int, (retry ->> 'max_attempts')::int, (retry ->> 'timeout_ms')::int, (retry ->> 'backoff_ms')::int8,
                 retry ->> 'concurrency_key', retry ->> 'search_path', (retry ->> 'top_level')::boolean,
                 retry ->> 'order_key', (retry ->> 'order_seq')::int8
             FROM h",
            &[key.into()],
        )?;
        task::ended::reopen(own, id)?;
        match done.get::<pg_sys::Oid>(0, 3) {
            Some(owner) => wake::arm_role(owner),
            None => wake::arm_coordinator(),
        }
        wake::arm_courier();
        Ok(Answer::Uuid(id))
    })
});

sql_function!(automate_cancel_job, pg_finfo_automate_cancel_job, |args| {
    let id = args.uuid(0, "id")?;
    let user = access::require_owner()?;
    as_extension(|own| {
        let gone = own.run(
            "WITH c AS (SELECT id FROM automate.job
                        WHERE id = ANY ($1) AND status NOT IN ('running', 'waiting') AND kind <> 'run' AND pg_has_role($2, owner, 'USAGE')
                        FOR UPDATE SKIP LOCKED),
             j AS (DELETE FROM automate.job USING c WHERE job.id = c.id RETURNING job.*, automate.redrive(job) AS retry)
             INSERT INTO automate.job_history (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
             SELECT id, kind, owner, 'cancelled', attempts, enqueued_at, clock_timestamp(),
                    'cancelled by ' || quote_ident(session_user), source,
                    retry
             FROM j",
            &[claim::to_uuids(&[id]).into(), user.into()],
        )?;
        task::ended::note_from_history(own, &[id])?;
        // Others may have waited for their turn after it.
        wake::arm_coordinator();
        Ok(Answer::Bool(gone.processed == 1))
    })
});

sql_function!(automate_try_key, pg_finfo_automate_try_key, |args| {
    let owner = args.oid(0).unwrap_or(pg_sys::InvalidOid);
    Ok(Answer::Bool(claim::try_key(owner, &args.text(1, "key")?)))
});

sql_function!(automate_worker_trouble, pg_finfo_automate_worker_trouble, |_args| {
    let Some(registry) = registry() else { return Ok(Answer::Json(json!([]))) };
    let troubles: Vec<Value> = registry
        .troubles
        .of_database(pg::my_database())
        .map(|t| {
            json!({
                "worker": t.kind.name(),
                "role": t.role.to_u32(),
                "reason": t.reason.text(),
                "since_us": t.since,
                "next_try_us": t.next_try,
            })
        })
        .collect();
    Ok(Answer::Json(Value::Array(troubles)))
});
