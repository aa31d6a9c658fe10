//! publish_rule, rollback_rule, export_rules, import_rules, validate_rule.

use super::args::Answer;
use super::rule::definition;
use crate::rule::{publish, transfer, validate};
use crate::{access, pg, sql_function};

sql_function!(automate_publish_rule, pg_finfo_automate_publish_rule, |args| {
    let (name, note) = (args.text(0, "name")?, args.opt_text(1));
    publish::publish(access::require_owner()?, &name, note.as_deref()).map(Answer::Int)
});

sql_function!(automate_rollback_rule, pg_finfo_automate_rollback_rule, |args| {
    let name = args.text(0, "name")?;
    publish::roll_back(access::require_owner()?, &name, args.opt_int(1)).map(Answer::Int)
});

sql_function!(automate_export_rules, pg_finfo_automate_export_rules, |args| {
    let (pattern, ruleset) = (args.opt_text(0), args.opt_text(1));
    let pattern = pattern.as_deref().unwrap_or("%");
    transfer::export(pg::current_user(), pattern, ruleset.as_deref()).map(Answer::Text)
});

sql_function!(automate_import_rules, pg_finfo_automate_import_rules, |args| {
    let (document, text) = args.document(0, "document")?;
    let dry_run = args.bool(1, false);
    transfer::import(access::require_owner()?, &document, &text, dry_run).map(Answer::Json)
});

sql_function!(automate_validate_rule, pg_finfo_automate_validate_rule, |args| {
    let owner = access::require_owner()?;
    let name = args.opt_text(0);
    let named = name.is_some();
    let definition = definition(args, name.unwrap_or_default())?;
    let path = args.opt_text(19).unwrap_or_else(pg::search_path);
    Ok(Answer::Json(pg::under_path(&path, || validate::run(owner, &definition, named))))
});
