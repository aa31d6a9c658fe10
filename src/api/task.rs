//! The SQL calls of tasks.

use super::args::Answer;
use crate::error::Error;
use crate::queue::limit;
use crate::task::alter::{self, Changes};
use crate::task::define::NewTask;
use crate::task::{backfill, cancel, import, steer, when};
use crate::{pg, sql_function};
use serde_json::{Value, json};

sql_function!(automate_schedule_task, pg_finfo_automate_schedule_task, |args| {
    let task = NewTask {
        name: args.text(0, "name")?,
        task_type: args.text(1, "task_type")?,
        schedule: args.text(2, "schedule")?,
        command: args.text(3, "command")?,
        args: args.opt_json(4, "args")?.unwrap_or(json!({})),
        time_zone: args.opt_text(5),
        misfire: args.opt_text(6).unwrap_or_else(|| "once".into()),
        overlap: args.opt_text(7).unwrap_or_else(|| "skip".into()),
        jitter_ms: args.pause_ms(8, "jitter", 0)?,
        timeout_ms: args.interval_ms(9, "timeout")?,
        retries: args.int(10, 0),
        backoff_ms: args.pause_ms(11, "backoff", 10_000)?,
        priority: args.int(12, 100),
        depends_on: args.opt_texts(13, "depends_on")?.unwrap_or_default(),
        valid_from: args.timestamp(14),
        valid_until: args.timestamp(15),
        enabled: args.bool(16, true),
        description: args.opt_text(17),
        concurrency_key: args.opt_text(18),
        on_upstream_failure: args.opt_text(19).unwrap_or_else(|| "skip".into()),
        alert: args.opt_json(20, "alert")?,
        search_path: pg::search_path(),
    };
    Ok(Answer::Uuid(task.create()?))
});

sql_function!(automate_alter_task, pg_finfo_automate_alter_task, |args| {
    let pause = |index, name| args.pause_ms(index, name, -1).map(|ms| (ms >= 0).then_some(ms));
    // No time at all: no limit any more.
    let timeout_ms = match pause(8, "timeout")? {
        None => None,
        Some(0) => Some(None),
        Some(_) => args.interval_ms(8, "timeout")?.map(Some),
    };
    let changes = Changes {
        schedule: args.opt_text(1),
        command: args.opt_text(2),
        args: args.opt_json(3, "args")?,
        time_zone: args.opt_text(4),
        misfire: args.opt_text(5),
        overlap: args.opt_text(6),
        jitter_ms: pause(7, "jitter")?,
        timeout_ms,
        retries: args.opt_int(9),
        backoff_ms: pause(10, "backoff")?,
        priority: args.opt_int(11),
        depends_on: args.opt_texts(12, "depends_on")?,
        valid_from: args.timestamp(13),
        valid_until: args.timestamp(14),
        enabled: args.opt_bool(15),
        description: args.opt_text(16),
        concurrency_key: args.opt_text(17),
        on_upstream_failure: args.opt_text(18),
        alert: args.opt_json(19, "alert")?,
        new_name: args.opt_text(20),
    };
    alter::alter(pg::current_user(), &args.text(0, "name")?, changes)?;
    Ok(Answer::Void)
});

sql_function!(automate_unschedule_task, pg_finfo_automate_unschedule_task, |args| {
    steer::unschedule(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_pause_task, pg_finfo_automate_pause_task, |args| {
    steer::pause(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_resume_task, pg_finfo_automate_resume_task, |args| {
    alter::resume(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_execute_task, pg_finfo_automate_execute_task, |args| {
    limit::admit(pg::current_user(), 0)?;
    Ok(Answer::Uuid(steer::execute(&args.text(0, "name")?)?))
});

sql_function!(automate_cancel_task_run, pg_finfo_automate_cancel_task_run, |args| {
    let (name, reason) = (args.text(0, "name")?, args.opt_text(2));
    cancel::runs(pg::current_user(), &name, args.timestamp(1), reason.as_deref()).map(Answer::Int)
});

sql_function!(automate_backfill_task, pg_finfo_automate_backfill_task, |args| {
    let user = pg::current_user();
    limit::admit(user, 0)?;
    let name = args.text(0, "name")?;
    let (from, until) = (args.need_timestamp(1, "from")?, args.need_timestamp(2, "until")?);
    backfill::start(user, &name, from, until).map(Answer::Uuid)
});

sql_function!(automate_cancel_backfill, pg_finfo_automate_cancel_backfill, |args| {
    backfill::cancel(pg::current_user(), args.uuid(0, "id")?).map(Answer::Bool)
});

sql_function!(automate_import_pg_cron, pg_finfo_automate_import_pg_cron, |args| {
    import::run(pg::current_user(), args.bool(0, true), args.bool(1, false)).map(Answer::Json)
});

sql_function!(automate_next_runs, pg_finfo_automate_next_runs, |args| {
    /// Most runs shown at once.
    const MOST: i32 = 1000;
    let n = args.int(1, 5);
    if !(1..=MOST).contains(&n) {
        return Err(Error::out_of_range("n", n, 1, MOST, "It counts the runs to be shown."));
    }
    let zone = when::zone_name(args.opt_text(2).as_deref())?;
    let text = args.text(0, "schedule")?;
    if when::trigger_name(&text)?.is_some() {
        return Ok(Answer::Json(json!([])));
    }
    let schedule = when::look(&text, &zone)?;
    let mut at = match args.timestamp(3) {
        None => when::now(),
        Some(after) => when::from_us(after.into()).ok_or_else(|| {
            Error::invalid("after must be a finite instant")
                .with_detail("It is infinite, or beyond the years that can be counted here.")
                .with_hint("Leave it out for the runs from now on.")
        })?,
    };
    let mut runs = Vec::new();
    while runs.len() < n as usize {
        let Some(next) = schedule.next(at) else { break };
        runs.push(json!({ "run_at": next.to_rfc3339(), "note": schedule.note(next) }));
        at = next;
    }
    Ok(Answer::Json(Value::Array(runs)))
});
