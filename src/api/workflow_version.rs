//! The SQL calls about versions of workflows, and about what they use.

use super::args::Answer;
use super::workflow::problem_rows;
use crate::workflow::{self, alter, migrate, uses, versions};
use crate::{access, pg, sql_function};

sql_function!(automate_workflow_problems, pg_finfo_automate_workflow_problems, |args| {
    let (name, version) = (args.text(0, "name")?, args.opt_int(1));
    versions::problems(access::require_owner()?, &name, version).map(problem_rows)
});

sql_function!(automate_workflow_complexity, pg_finfo_automate_workflow_complexity, |args| {
    workflow::complexity(&args.json(0, "definition")?).map(Answer::Json)
});

sql_function!(automate_workflow_complexity_of, pg_finfo_automate_workflow_complexity_of, |args| {
    let document = versions::document(pg::current_user(), &args.text(0, "name")?)?;
    workflow::complexity(&document).map(Answer::Json)
});

sql_function!(automate_workflow_dependencies, pg_finfo_automate_workflow_dependencies, |args| {
    uses::of(access::require_owner()?, args.opt_text(0).as_deref()).map(Answer::Json)
});

sql_function!(automate_workflow_versions, pg_finfo_automate_workflow_versions, |args| {
    versions::list(pg::current_user(), &args.text(0, "name")?).map(Answer::Json)
});

sql_function!(automate_workflow_diff, pg_finfo_automate_workflow_diff, |args| {
    let (from, to) = (args.opt_int(1), args.opt_int(2));
    versions::differences(pg::current_user(), &args.text(0, "name")?, from, to).map(Answer::Json)
});

sql_function!(automate_activate_version, pg_finfo_automate_activate_version, |args| {
    let role = access::require_owner()?;
    let (name, version) = (args.text(0, "name")?, args.need_int(1, "version")?);
    let share = args.opt_number(2).unwrap_or(1.0);
    versions::activate(role, &name, version, share).map(|()| Answer::Void)
});

sql_function!(automate_migrate_run, pg_finfo_automate_migrate_run, |args| {
    let user = access::require_owner()?;
    let (run, version) = (args.uuid(0, "run")?, args.need_int(1, "version")?);
    migrate::migrate(user, run, version, args.bool(2, true)).map(Answer::Json)
});

sql_function!(automate_alter_workflow, pg_finfo_automate_alter_workflow, |args| {
    let role = access::require_owner()?;
    let (name, new) = (args.text(0, "name")?, args.opt_text(1));
    let (description, trigger) = (args.opt_text(2), args.opt_text(3));
    let changes = alter::Changes {
        name: new.as_deref(),
        description: description.as_deref(),
        on_trigger: trigger.as_deref(),
    };
    alter::alter(role, &name, &changes).map(|()| Answer::Void)
});
