//! add_rule_test, drop_rule_test, test_rule.

use super::args::Answer;
use super::insight::row;
use crate::rule::case::{self, Case};
use crate::{pg, sql_function};

sql_function!(automate_add_rule_test, pg_finfo_automate_add_rule_test, |args| {
    let rule = args.text(0, "rule")?;
    let case = Case {
        name: args.text(1, "name")?,
        new: row(args, 2, "new")?,
        old: row(args, 3, "old")?,
        matches: args.bool(4, true),
    };
    case::add(pg::current_user(), &rule, &case).map(|()| Answer::Void)
});

sql_function!(automate_drop_rule_test, pg_finfo_automate_drop_rule_test, |args| {
    let (rule, name) = (args.text(0, "rule")?, args.text(1, "name")?);
    case::remove(pg::current_user(), &rule, &name).map(|()| Answer::Void)
});

sql_function!(automate_test_rule, pg_finfo_automate_test_rule, |args| {
    case::run(pg::current_user(), &args.text(0, "rule")?, args.opt_int(1)).map(Answer::Json)
});
