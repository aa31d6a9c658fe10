//! backtest_rule, explain_rule, rule_conflicts: each answers JSON, which a function in SQL shows as
//! a table.

use super::args::{Answer, Args};
use crate::error::Result;
use crate::rule::trial::Given;
use crate::rule::{backtest, conflict, explain};
use crate::{pg, sql_function};

sql_function!(automate_backtest_rule, pg_finfo_automate_backtest_rule, |args| {
    let (name, where_sql) = (args.text(0, "name")?, args.opt_text(1));
    let found = backtest::run(pg::current_user(), &name, where_sql.as_deref(), args.int(2, 10))?;
    Ok(Answer::Text(found))
});

/// A row that the caller gives as JSON.
pub(super) fn row(args: &Args, index: usize, name: &str) -> Result<Option<Given>> {
    let value = args.opt_json(index, name)?;
    Ok(value.zip(args.json_text(index)).map(|(value, text)| Given { value, text }))
}

sql_function!(automate_explain_rule, pg_finfo_automate_explain_rule, |args| {
    let name = args.text(0, "name")?;
    let (new, old) = (row(args, 1, "new")?, row(args, 2, "old")?);
    Ok(Answer::Text(explain::run(pg::current_user(), &name, new.as_ref(), old.as_ref())?))
});

sql_function!(automate_rule_conflicts, pg_finfo_automate_rule_conflicts, |args| {
    let table = args.need_oid(0, "on_table")?;
    Ok(Answer::Json(conflict::run(pg::current_user(), table)?))
});
