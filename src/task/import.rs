//! Taking over the jobs of pg_cron, each by itself: one that cannot be taken keeps no other back.

use super::define::NewTask;
use crate::error::{Error, Failure, Result};
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension, step};
use crate::{access, pg};
use automate_core::task::schedule_of_pg_cron;
use pgrx::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// A row of cron.job; what versions of pg_cron do not all have may be missing.
#[derive(Deserialize)]
struct CronJob {
    jobid: i64,
    schedule: String,
    command: String,
    nodename: Option<String>,
    database: String,
    username: String,
    #[serde(default = "yes")]
    active: bool,
    jobname: Option<String>,
}

fn yes() -> bool {
    true
}

/// What becomes of a job, and why.
enum Fate {
    Import,
    /// It is there already; true when it has the same command.
    There(bool),
    Elsewhere(String),
    Refuse(String),
}

/// What is wanted of the import.
struct Import<'a> {
    own: &'a Own,
    user: pg_sys::Oid,
    database: String,
    zone: String,
    dry_run: bool,
    unschedule: bool,
}

/// Takes over the jobs in cron.job; answers a JSON object for each.
pub fn run(user: pg_sys::Oid, dry_run: bool, unschedule: bool) -> Result<Value> {
    as_extension(|own| {
        // The table of the extension and no other: anybody may make one of that name elsewhere.
        let there: Option<bool> = own.one(
            "SELECT true FROM pg_extension AS e
             JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
             WHERE e.extname = 'pg_cron' AND d.classid = 'pg_class'::regclass AND d.objid = to_regclass('cron.job')",
            &[],
        )?;
        if there.is_none() {
            return Err(Error::missing("there is no pg_cron in this database")
                .with_detail(
                    "The extension pg_cron, which has the table cron.job, is not installed here.",
                )
                .with_hint("Run this in the database that the setting cron.database_name names."));
        }
        let text = |sql| own.one::<String>(sql, &[]).map(Option::unwrap_or_default);
        let import = Import {
            own,
            user,
            database: text("SELECT current_database()::text")?,
            zone: text(
                "SELECT coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT')",
            )?,
            dry_run,
            unschedule,
        };
        let rows = own.run("SELECT to_jsonb(j)::text FROM cron.job AS j ORDER BY jobid", &[])?;
        let jobs = (0..rows.len()).filter_map(|row| rows.get::<String>(row, 1));
        jobs.map(|job| import.take(&job)).collect::<Result<Vec<Value>>>().map(Value::Array)
    })
}

impl Import<'_> {
    fn take(&self, job: &str) -> Result<Value> {
        let job: CronJob = serde_json::from_str(job)
            .map_err(|e| Error::Internal(format!("a row of cron.job: {e}")))?;
        let name = job.jobname.clone().unwrap_or_else(|| format!("cron_{}", job.jobid));
        let schedule = schedule_of_pg_cron(&job.schedule);
        let taken = step::in_subtransaction(|| {
            let fate = self.fate(&job, &name, schedule.as_deref()).unwrap_or_else(|e| e.raise());
            let over = self.unschedule && matches!(fate, Fate::Import | Fate::There(true));
            if over && !self.dry_run {
                let gone = "SELECT cron.unschedule($1::int8)";
                self.own.run(gone, &[job.jobid.into()]).unwrap_or_else(|e| e.raise());
            }
            (fate, over)
        });
        let (fate, over) = match taken {
            Ok(taken) => taken,
            Err(failure) if failure.stops() => return Err(failure.into()),
            Err(failure) => (Fate::Refuse(told(&failure)), false),
        };
        let (action, reason) = match fate {
            Fate::Import => ("import", None),
            Fate::There(true) => {
                ("skip", Some("there is a task of that name with that command".into()))
            }
            Fate::There(false) => ("skip", Some("there is another task of that name".into())),
            Fate::Elsewhere(reason) => ("skip", Some(reason)),
            Fate::Refuse(reason) => ("refuse", Some(reason)),
        };
        Ok(json!({
            "jobid": job.jobid, "task": name, "owner": job.username, "schedule": schedule.unwrap_or(job.schedule),
            "time_zone": self.zone, "command": job.command, "enabled": job.active,
            "action": action, "reason": reason, "unscheduled": over && !self.dry_run,
        }))
    }

    fn fate(
        &self,
        job: &CronJob,
        name: &str,
        schedule: std::result::Result<&str, &&'static str>,
    ) -> Result<Fate> {
        if job.database != self.database {
            let place = format!("it runs in database {}: schedule it there", job.database);
            return Ok(Fate::Elsewhere(place));
        }
        if let Some(node) = job.nodename.as_deref().filter(|node| !is_here(node)) {
            return Ok(Fate::Elsewhere(format!("it runs on another server, {node}")));
        }
        let rows = self.own.run(
            "SELECT r.oid, pg_has_role($2, r.oid, 'USAGE'),
                    (SELECT t.command = $4 FROM automate.task AS t WHERE t.owner = r.oid AND t.name = $3),
                    coalesce((SELECT substr(c, 13) FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c
                              WHERE c LIKE 'search_path=%' AND s.setrole IN (0, r.oid)
                                AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                              ORDER BY s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
                              LIMIT 1), '\"$user\", public')
             FROM pg_authid AS r WHERE r.rolname = $1",
            &[job.username.as_str().into(), self.user.into(), name.into(), job.command.as_str().into()],
        )?;
        let Some(owner) = rows.get::<pg_sys::Oid>(0, 1) else {
            return Ok(Fate::Refuse(format!("there is no role {}", job.username)));
        };
        if rows.get(0, 2) != Some(true) {
            return Ok(Fate::Refuse(format!(
                "you do not have the privileges of role {}",
                job.username
            )));
        }
        if let Some(same) = rows.get::<bool>(0, 3) {
            return Ok(Fate::There(same));
        }
        if !access::can_log_in(owner) {
            return Ok(Fate::Refuse(format!("role {} is not permitted to log in", job.username)));
        }
        let schedule = match schedule {
            Ok(schedule) => schedule,
            Err(why) => return Ok(Fate::Refuse((*why).into())),
        };
        let path: String = rows.get(0, 4).unwrap_or_default();
        self.define(job, name, schedule, owner, path)?;
        Ok(Fate::Import)
    }

    /// Checks the task with the rights of its owner, and stores it unless that is not wanted.
    fn define(
        &self,
        job: &CronJob,
        name: &str,
        schedule: &str,
        owner: pg_sys::Oid,
        search_path: String,
    ) -> Result<()> {
        let task = NewTask {
            name: name.to_owned(),
            task_type: "sql".into(),
            schedule: schedule.to_owned(),
            command: job.command.clone(),
            args: json!({}),
            time_zone: Some(self.zone.clone()),
            // As pg_cron has it: what was missed is left out, what is late waits.
            misfire: "skip".into(),
            overlap: "queue".into(),
            jitter_ms: 0,
            timeout_ms: None,
            retries: 0,
            backoff_ms: 10_000,
            priority: 100,
            depends_on: Vec::new(),
            valid_from: None,
            valid_until: None,
            concurrency_key: None,
            on_upstream_failure: "skip".into(),
            alert: None,
            enabled: job.active,
            description: Some(format!("Job {} of pg_cron.", job.jobid)),
            search_path,
        };
        let checked = as_role(owner, || pg::under_path(&task.search_path, || task.check(owner)))?;
        if !self.dry_run {
            task.put(self.own, owner, (self.user, "import"), &checked)?;
        }
        Ok(())
    }
}

/// pg_cron reaches its own server by one of these.
fn is_here(node: &str) -> bool {
    node.is_empty() || node.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(&node)
}

/// An error on one line.
fn told(failure: &Failure) -> String {
    let hint = failure.hint.as_deref().map(|hint| format!(" ({hint})"));
    format!("{}{}", failure.message, hint.unwrap_or_default())
}
