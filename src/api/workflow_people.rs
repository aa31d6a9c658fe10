//! The SQL calls of people who decide for runs.

use super::args::Answer;
use crate::{pg, sql_function, workflow};

sql_function!(automate_decide_approval, pg_finfo_automate_decide_approval, |args| {
    let id = args.uuid(0, "approval")?;
    let (decision, comment) = (args.text(1, "decision")?, args.opt_text(2));
    let status = workflow::approval::decide(id, pg::current_user(), &decision, comment.as_deref())?;
    Ok(Answer::Text(status.to_owned()))
});
