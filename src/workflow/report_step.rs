//! Reports that a step asks for: the session that renders one tells the run.

use super::run::Run;
use super::{failure, news};
use crate::error::{Failure, Result};
use crate::report;
use crate::spi::Own;
use automate_core::workflow::{Command, Event};
use pgrx::pg_sys;
use serde_json::{Value, json};
use uuid::Uuid;

/// Starts a run of a report.
pub fn start(run: &Run, command: &Command) -> Result<()> {
    let Command::Report { step, arguments, .. } = command else { return Ok(()) };
    let format = arguments["format"].as_str().map(str::to_owned);
    let asker = json!({ "run": run.id, "owner": run.owner.to_u32(), "step": step });
    report::start(&report::Start {
        owner: run.owner,
        name: arguments["name"].as_str().unwrap_or_default(),
        params: arguments.get("params").unwrap_or(&json!({})),
        formats: format.as_slice().first().map(std::slice::from_ref),
        deliver: None,
        source: Some(&run.source()),
        asker: Some(&asker),
    })?;
    Ok(())
}

/// Tells the run whose step asked for a report, if the job was for one, what became of it.
pub fn ended(
    own: &Own,
    payload: &Value,
    result: std::result::Result<Value, &Failure>,
) -> Result<()> {
    let asker = &payload["asker"];
    let run = asker["run"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    let owner = asker["owner"].as_u64().and_then(|oid| u32::try_from(oid).ok());
    let (Some(run), Some(owner), Some(step)) = (run, owner, asker["step"].as_str()) else {
        return Ok(());
    };
    let step = step.to_owned();
    let event = match result {
        Ok(output) => Event::Done { step, output },
        Err(error) => Event::Failed { step, error: failure::of_sql(error, false) },
    };
    news::tell(own, run, pg_sys::Oid::from(owner), &news::of_event(&event))
}
