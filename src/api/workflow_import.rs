//! The SQL calls for workflows in other forms: YAML, and SQL text.

use super::args::{Answer, parse_json};
use crate::error::Error;
use crate::{access, guc, sql_function, workflow};
use automate_core::workflow::yaml;
use pgrx::prelude::*;

sql_function!(automate_create_workflow_yaml, pg_finfo_automate_create_workflow_yaml, |args| {
    let owner = access::require_owner()?;
    let (name, text) = (args.text(0, "name")?, args.text(1, "yaml")?);
    let limit = guc::max_payload_bytes();
    if text.len() > limit {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("yaml must not have more than {limit} bytes"),
        )
        .with_detail(format!("It has {} bytes.", text.len()))
        .with_hint("automate.max_payload_bytes is the limit."));
    }
    let document = yaml::read(&text).map_err(|problem| {
        let help = "Check the place that the message tells.";
        Error::problems(&format!("workflow \"{name}\""), &[problem], help)
    })?;
    // What aliases have made of it obeys the limits, too.
    let document = parse_json(&document.to_string(), "yaml", limit)
        .map_err(|e| e.or_detail("This is what the document means once aliases are resolved."))?;
    let description = args.opt_text(2);
    workflow::create(&workflow::New {
        owner,
        name: &name,
        document: &document,
        description: description.as_deref(),
        on_trigger: None,
        activate: true,
    })
    .map(Answer::Int)
});

sql_function!(automate_workflow_yaml, pg_finfo_automate_workflow_yaml, |args| {
    let role = access::require_owner()?;
    workflow::script::as_yaml(role, &args.text(0, "name")?, args.opt_int(1)).map(Answer::Text)
});

sql_function!(automate_workflow_sql, pg_finfo_automate_workflow_sql, |args| {
    let role = access::require_owner()?;
    workflow::script::sql(role, &args.text(0, "name")?, args.opt_int(1)).map(Answer::Text)
});
