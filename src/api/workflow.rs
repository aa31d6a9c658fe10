//! The SQL calls of workflows.

use super::args::Answer;
use crate::error::Error;
use crate::queue::limit;
use crate::workflow::{self, Start};
use crate::{access, pg, sql_function};
use pgrx::prelude::*;
use serde_json::{Value, json};

sql_function!(automate_create_workflow, pg_finfo_automate_create_workflow, |args| {
    let owner = access::require_owner()?;
    let name = args.text(0, "name")?;
    if args.opt_json(3, "nodes")?.is_some() {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "a workflow cannot be made from nodes yet",
        )
        .with_detail("The argument nodes is kept for later.")
        .with_hint("Give a definition: '{\"do\": [{\"first\": {\"call\": \"sql\", \"with\": {\"query\": \"...\"}}}]}'."));
    }
    let definition = args.opt_json(1, "definition")?.ok_or_else(|| {
        Error::invalid("a workflow needs a definition").with_detail("It is NULL.").with_hint(
            "Give a document such as '{\"do\": [{\"first\": {\"call\": \"sql\", \"with\": {\"query\": \"...\"}}}]}'.",
        )
    })?;
    let (description, trigger) = (args.opt_text(2), args.opt_text(4));
    workflow::create(owner, &name, &definition, description.as_deref(), trigger.as_deref())
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
    let problems = workflow::problems(&definition, owner)?;
    nest.undo();
    let rows = problems.into_iter().map(|p| {
        json!({
            "severity": p.severity.to_string(),
            "pointer": p.pointer,
            "code": p.code,
            "message": p.message,
            "hint": p.hint,
        })
    });
    Ok(Answer::Json(Value::Array(rows.collect())))
});

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
