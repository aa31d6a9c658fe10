//! The SQL calls of reports.

use super::args::{Answer, Args};
use crate::error::Result;
use crate::queue::limit;
use crate::report::{define, run};
use crate::{pg, sql_function};
use automate_core::report::Format;
use serde_json::json;

sql_function!(automate_create_report, pg_finfo_automate_create_report, |args| {
    let (name, definition) = (args.text(0, "name")?, args.json(1, "definition")?);
    Ok(Answer::Int(define::create(&name, &definition, args.opt_text(2).as_deref())?))
});

sql_function!(automate_drop_report, pg_finfo_automate_drop_report, |args| {
    define::drop(&args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_run_report, pg_finfo_automate_run_report, |args| {
    let params = args.opt_json(1, "params")?.unwrap_or(json!({}));
    limit::admit(pg::current_user(), args.size(1))?;
    let id = run::start(&run::Start {
        owner: pg::current_user(),
        name: &args.text(0, "name")?,
        params: &params,
        formats: args.opt_texts(2, "formats")?.as_deref(),
        deliver: None,
        source: None,
        asker: None,
    })?;
    Ok(Answer::Uuid(id))
});

fn at_once(args: &Args, format: Format) -> Result<Answer> {
    let params = args.opt_json(1, "params")?.unwrap_or(json!({}));
    Ok(Answer::Text(run::at_once(&args.text(0, "name")?, &params, format)?))
}

sql_function!(automate_report_text, pg_finfo_automate_report_text, |args| at_once(
    args,
    Format::Text
));

sql_function!(automate_report_html, pg_finfo_automate_report_html, |args| at_once(
    args,
    Format::Html
));

sql_function!(automate_report_csv, pg_finfo_automate_report_csv, |args| at_once(args, Format::Csv));

sql_function!(automate_report_file, pg_finfo_automate_report_file, |args| {
    Ok(Answer::Bytes(run::file(args.uuid(0, "run")?, &args.text(1, "format")?)?))
});
