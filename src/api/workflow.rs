//! The SQL calls of workflows.

use super::args::Answer;
use crate::error::Error;
use crate::queue::limit;
use crate::workflow::{self, New, Start};
use crate::{access, pg, sql_function};
use automate_core::problem::Problem;
use automate_core::workflow::import::import;
use serde_json::{Value, json};

sql_function!(automate_create_workflow, pg_finfo_automate_create_workflow, |args| {
    let owner = access::require_owner()?;
    let name = args.text(0, "name")?;
    let definition = match (args.opt_json(1, "definition")?, args.opt_json(3, "nodes")?) {
        (Some(definition), None) => definition,
        (None, Some(nodes)) => import(&nodes).map_err(|problems| {
            let help = "What has no structured form is written as a definition.";
            Error::problems(&format!("workflow \"{name}\""), &problems, help)
        })?,
        (given, _) => {
            let both = if given.is_some() { "Both are given." } else { "Both are NULL." };
            return Err(Error::invalid("a workflow needs either a definition or nodes")
                .with_detail(both)
                .with_hint("Give automate.steps(...), or a document such as '{\"do\": [{\"first\": {\"call\": \"sql\", \"with\": {\"query\": \"...\"}}}]}'."));
        }
    };
    let (description, trigger) = (args.opt_text(2), args.opt_text(4));
    workflow::create(&New {
        owner,
        name: &name,
        document: &definition,
        description: description.as_deref(),
        on_trigger: trigger.as_deref(),
        activate: args.bool(5, true),
    })
    .map(Answer::Int)
});

sql_function!(automate_drop_workflow, pg_finfo_automate_drop_workflow, |args| {
    let role = access::require_owner()?;
    workflow::drop(role, &args.text(0, "name")?).map(|()| Answer::Void)
});

sql_function!(automate_enable_workflow, pg_finfo_automate_enable_workflow, |args| {
    let role = access::require_owner()?;
    workflow::set_status(role, &args.text(0, "name")?, "active").map(|()| Answer::Void)
});

sql_function!(automate_disable_workflow, pg_finfo_automate_disable_workflow, |args| {
    let role = access::require_owner()?;
    workflow::set_status(role, &args.text(0, "name")?, "disabled").map(|()| Answer::Void)
});

sql_function!(automate_validate_workflow, pg_finfo_automate_validate_workflow, |args| {
    let owner = access::require_owner()?;
    let definition = args.json(0, "definition")?;
    let path = std::ffi::CString::new(args.text(1, "path")?)
        .map_err(|e| Error::Internal(e.to_string()))?;
    let nest = pg::GucNest::open();
    pg::set_local(c"search_path", &path);
    let problems = workflow::problems(&definition, owner, None)?;
    nest.undo();
    Ok(problem_rows(problems))
});

/// What is wrong with a definition, as rows.
pub fn problem_rows(problems: Vec<Problem>) -> Answer {
    let rows = problems.into_iter().map(|p| {
        json!({
            "severity": p.severity.to_string(),
            "pointer": p.pointer,
            "code": p.code,
            "message": p.message,
            "hint": p.hint,
        })
    });
    Answer::Json(Value::Array(rows.collect()))
}

sql_function!(automate_execute_workflow, pg_finfo_automate_execute_workflow, |args| {
    let owner = access::require_owner()?;
    let name = args.text(0, "name")?;
    let input = args.opt_json(1, "input")?.unwrap_or_else(|| json!({}));
    limit::admit(owner, args.size(1))?;
    let key = args.opt_text(3);
    workflow::start(&Start {
        owner,
        name: &name,
        input: &input,
        version: args.opt_int(2),
        idempotency_key: key.as_deref(),
        source: None,
    })
    .map(Answer::Uuid)
});

sql_function!(automate_workflow_advice, pg_finfo_automate_workflow_advice, |args| {
    let (name, since) = (args.text(0, "name")?, args.text(1, "since")?);
    Ok(Answer::Json(Value::Array(workflow::advise(pg::current_user(), &name, &since)?)))
});
