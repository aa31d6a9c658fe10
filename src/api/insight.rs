//! backtest_rule, explain_rule, rule_conflicts: each answers JSON, which a function in SQL shows as
//! a table.

use super::args::Answer;
use crate::rule::backtest;
use crate::{pg, sql_function};

sql_function!(automate_backtest_rule, pg_finfo_automate_backtest_rule, |args| {
    let (name, where_sql) = (args.text(0, "name")?, args.opt_text(1));
    let found = backtest::run(pg::current_user(), &name, where_sql.as_deref(), args.int(2, 10))?;
    Ok(Answer::Text(found))
});
