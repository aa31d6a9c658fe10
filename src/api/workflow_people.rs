//! The SQL calls of people who decide for runs.

use super::args::Answer;
use crate::{pg, sql_function, workflow};

sql_function!(automate_decide_approval, pg_finfo_automate_decide_approval, |args| {
    let id = args.uuid(0, "approval")?;
    let (decision, comment) = (args.text(1, "decision")?, args.opt_text(2));
    let status = workflow::approval::decide(id, pg::current_user(), &decision, comment.as_deref())?;
    Ok(Answer::Text(status.to_owned()))
});

sql_function!(automate_delegate_approval, pg_finfo_automate_delegate_approval, |args| {
    let (id, to) = (args.uuid(0, "approval")?, args.need_oid(1, "to_role")?);
    let comment = args.opt_text(2);
    workflow::approval::delegate(id, pg::current_user(), to, comment.as_deref())?;
    Ok(Answer::Void)
});
