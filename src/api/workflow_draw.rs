//! The SQL calls that draw workflows and runs.

use super::args::Answer;
use crate::error::Error;
use crate::sql_function;
use crate::workflow::draw::{self, Subject};
use pgrx::prelude::*;

sql_function!(automate_draw_workflow, pg_finfo_automate_draw_workflow, |args| {
    let form = args.text(0, "form")?;
    let definition = args.opt_json(4, "definition")?;
    let subject = if let Some(definition) = definition {
        Subject::Definition(definition)
    } else if let Some(name) = args.opt_text(1) {
        Subject::Workflow(name, args.opt_int(2))
    } else if let Ok(run) = args.uuid(3, "run") {
        Subject::Run(run)
    } else {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "what is to be drawn must not be NULL",
        )
        .with_detail("A picture is of a workflow, a run or a definition.")
        .with_hint("Give the name of a workflow, the id of a run, or a definition."));
    };
    let direction = args.opt_text(5).unwrap_or_else(|| "TB".into());
    draw::draw(&form, subject, &direction).map(Answer::Text)
});

sql_function!(automate_run_timeline, pg_finfo_automate_run_timeline, |args| {
    draw::timeline(args.uuid(0, "run")?, args.int(1, 60)).map(Answer::Json)
});

sql_function!(automate_run_timeline_svg, pg_finfo_automate_run_timeline_svg, |args| {
    draw::timeline_svg(args.uuid(0, "run")?).map(Answer::Text)
});
