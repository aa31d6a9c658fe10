//! How many rows of its table a rule would match now: one query over the table, as the rule's owner.

use super::look::{self, Looked};
use super::preview;
use super::print::Printer;
use super::{expression, progress};
use crate::error::{Error, Failure, Result};
use crate::noun::RULE;
use crate::{guc, pg};
use automate_core::rule::action::{self, Action, Moment, Rendered};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::ffi::{CStr, CString, c_long};

/// Most rows shown.
const MOST: i32 = 1000;

/// The two statements of a backtest.
struct Statements {
    /// How many rows were looked at, and how many match.
    count: String,
    /// The matching rows as JSON.
    sample: String,
}

/// What a rule would match, as the text of a JSON object.
pub fn run(user: pg_sys::Oid, name: &str, where_sql: Option<&str>, sample: i32) -> Result<String> {
    if !(0..=MOST).contains(&sample) {
        let meaning = "It counts the matching rows to be shown.";
        return Err(Error::out_of_range("sample", sample, 0, MOST, meaning));
    }
    let rule = look::find(user, name, "backtest_rule")?;
    if let Some(text) = where_sql {
        rule.check("where_sql", text)?;
    }
    let tested = rule.as_owner(|| {
        let statements = statements(&rule, where_sql).unwrap_or_else(|e| e.raise());
        let (scanned, matched) = count(&rule, &statements, where_sql.is_none());
        // Never more than there are, so that the search ends with the last of them.
        let wanted = matched.min(u64::try_from(sample).unwrap_or(0));
        let rows = if wanted == 0 { Vec::new() } else { texts(&statements.sample, wanted) };
        (scanned, matched, rows)
    });
    let (scanned, matched, rows) = tested.map_err(|failure| explained(&rule, failure))?;
    check_size(&rows)?;
    let actions = rows.first().map_or(Ok(Value::Null), |row| actions(&rule, row))?;
    // The rows stand as PostgreSQL wrote them: no digit of a number is lost.
    Ok(format!(
        "{{\"scanned\":{scanned},\"matched\":{matched},\"sample\":[{}],\"actions\":{actions}}}",
        rows.join(",")
    ))
}

/// The queries, made of the texts that PostgreSQL prints for the analysed expressions: in those
/// every column's row is named, so that nothing is ambiguous beside the row of NULLs.
fn statements(rule: &Looked, where_sql: Option<&str>) -> Result<Statements> {
    let condition = printed(rule, "condition", rule.condition.as_deref())?;
    let narrowed = printed(rule, "where_sql", where_sql)?;
    let whole_old = condition.whole_old || narrowed.whole_old;
    let (condition, narrowed) = (condition.text, narrowed.text);
    let table = look::quoted_name(rule.table);
    // The trigger sees the changes of partitions, and not those of tables that inherit.
    // SAFETY: a look-up in the catalog.
    let partitioned = unsafe { pg_sys::get_rel_relkind(rule.table) } as u8 == b'p';
    let only = if partitioned { "" } else { "ONLY " };
    let sides = rule.sides();
    let row = if sides.new { "new" } else { "old" };
    let nulls = match sides.new && sides.old {
        false => String::new(),
        // A row of NULLs is not NULL: old <> new is true. Made only where it is asked for, since a
        // column may have a type that has no NULL.
        true if whole_old => {
            format!(" CROSS JOIN pg_catalog.jsonb_populate_record(NULL::{table}, '{{}}') AS old")
        }
        true => format!(" LEFT JOIN ONLY {table} AS old ON false"),
    };
    let from = format!("FROM {only}{table} AS {row}{nulls} WHERE {narrowed}");
    Ok(Statements {
        count: format!(
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {condition}) {from}"
        ),
        // OFFSET keeps the condition from rows that where_sql does not let pass.
        sample: format!(
            "SELECT found.doc FROM (SELECT CASE WHEN {condition} \
             THEN pg_catalog.to_jsonb({row}.*) END AS doc {from} OFFSET 0) AS found \
             WHERE found.doc IS NOT NULL"
        ),
    })
}

/// An expression as PostgreSQL prints it.
struct Printed {
    text: String,
    /// It names old as a whole.
    whole_old: bool,
}

fn printed(rule: &Looked, what: &str, text: Option<&str>) -> Result<Printed> {
    let Some(text) = text else { return Ok(Printed { text: "true".into(), whole_old: false }) };
    let source = CString::new(text).map_err(|e| Error::Internal(e.to_string()))?;
    // SAFETY: within a subtransaction, and the text outlives the call.
    unsafe {
        let clause = expression::read(what, rule.table, &source, rule.sides())?;
        let whole_old = pg::items::<pg_sys::Var>(pg_sys::pull_var_clause(clause, 0))
            .any(|var| (*var).varno == expression::OLD && (*var).varattno == 0);
        let text = format!("({})", Printer::of(rule.table).print(clause));
        Ok(Printed { text, whole_old })
    }
}

/// Counts the rows. A large table is taken by parts of its file, so that others can see how far
/// it is; not if only some rows are asked for, since an index may find those.
fn count(rule: &Looked, statements: &Statements, all: bool) -> (u64, u64) {
    let numbers = |sql: &str| {
        let found = texts(sql, 1);
        let number = |i: usize| found.get(i).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        (number(0), number(1))
    };
    let steps = if all { progress::steps(rule.table) } else { Vec::new() };
    if steps.is_empty() {
        return numbers(&statements.count);
    }
    let row = if rule.sides().new { "new" } else { "old" };
    let (mut scanned, mut matched) = (0, 0);
    for (index, (from, to)) in steps.iter().enumerate() {
        pg::check_interrupts();
        progress::tell(&rule.name, index, steps.len());
        let mut sql = format!(
            "{} AND {row}.ctid OPERATOR(pg_catalog.>=) '({from},0)'::pg_catalog.tid",
            statements.count
        );
        if let Some(to) = to {
            sql.push_str(&format!(
                " AND {row}.ctid OPERATOR(pg_catalog.<) '({to},0)'::pg_catalog.tid"
            ));
        }
        let (some, of_them) = numbers(&sql);
        scanned += some;
        matched += of_them;
    }
    progress::end();
    (scanned, matched)
}

/// Runs a query under the active snapshot; at most `most` of its rows, column after column.
fn texts(sql: &str, most: u64) -> Vec<String> {
    let source = CString::new(sql).unwrap_or_default();
    let mut found = Vec::new();
    // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction. Rows and
    // columns are within their numbers; the texts are copied.
    unsafe {
        pg_sys::SPI_connect();
        let code = pg_sys::SPI_execute(source.as_ptr(), true, most as c_long);
        if code != pg_sys::SPI_OK_SELECT as i32 {
            Error::Internal(format!("SPI answered {code} for: {sql}")).raise();
        }
        let table = pg_sys::SPI_tuptable;
        for row in 0..pg_sys::SPI_processed as usize {
            let tuple = *(*table).vals.add(row);
            for column in 1..=(*(*table).tupdesc).natts {
                let value = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, column);
                if !value.is_null() {
                    found.push(CStr::from_ptr(value).to_string_lossy().into_owned());
                }
            }
        }
        pg_sys::SPI_finish();
    }
    found
}

/// Says which rule failed on the table's rows, and what can be done.
fn explained(rule: &Looked, failure: Failure) -> Error {
    let message = format!("backtest of rule \"{}\": {}", rule.name, failure.message);
    let place = "It happened on a row of the table; a change that fails so does not match.";
    let detail = failure.detail.map_or_else(|| place.into(), |d| format!("{d} {place}"));
    Error::refused(failure.code, message).with_detail(detail).with_hint(
        failure
            .hint
            .unwrap_or("Leave such rows out with where_sql, or write the condition so that it holds for every row.".into()),
    )
}

fn check_size(rows: &[String]) -> Result<()> {
    let (size, limit) = (rows.iter().map(String::len).sum::<usize>(), guc::max_payload_bytes());
    if size <= limit {
        return Ok(());
    }
    Err(Error::refused(
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("the sample is larger than {limit} bytes"),
    )
    .with_detail(format!("Its {} rows have {size} bytes as JSON.", rows.len()))
    .with_hint("Ask for fewer rows with sample, or raise automate.max_payload_bytes."))
}

/// What the rule would do for a row: its actions with their values. Nothing is done.
fn actions(rule: &Looked, row: &str) -> Result<Value> {
    let row: Value = serde_json::from_str(row).map_err(|e| Error::Internal(e.to_string()))?;
    let defined: Value =
        serde_json::from_str(&rule.actions).map_err(|e| Error::Internal(e.to_string()))?;
    let defined = action::parse(&defined).map_err(|p| Error::problems("actions", &p, RULE.help))?;
    let (new, old) = if rule.sides().new { (row, Value::Null) } else { (Value::Null, row) };
    let mut context = json!({"event": event(rule), "new": new, "old": old, "rule": rule.name});
    let mut shown = Vec::with_capacity(defined.len());
    for action in &defined {
        shown.push(match action.render(&context) {
            Ok(Rendered::Set { values }) => preview::set(rule, &mut context["new"], &values),
            Ok(rendered) => as_defined(rendered),
            Err(error) => json!({"error": error.to_string()}),
        });
        // What comes after a rejection is not reached.
        if matches!(action, Action::Reject(_)) {
            break;
        }
    }
    Ok(Value::Array(shown))
}

/// The event as the trigger would tell it, with the caller as the writer.
fn event(rule: &Looked) -> Value {
    let first = |wanted: &str| rule.operations.iter().any(|o| o == wanted);
    let operation = ["insert", "update"].into_iter().find(|o| first(o)).unwrap_or("delete");
    // SAFETY: look-ups in the catalog; null for what is gone, else palloc'd text.
    let (schema, table) = unsafe {
        let text = |name: *mut std::ffi::c_char| {
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(rule.table));
        (text(schema), text(pg_sys::get_rel_name(rule.table)))
    };
    json!({
        "op": operation, "schema": schema, "table": table, "txid": null, "at": pg::iso(pg::now()),
        "user": pg::role_name(pg::current_user()), "depth": 0,
    })
}

/// An action in the shape in which it is defined.
pub(super) fn as_defined(action: Rendered) -> Value {
    match action {
        Rendered::Set { values } => {
            let pairs = values.into_iter().map(|v| (v.column, Value::String(v.sql)));
            json!({"set": pairs.collect::<serde_json::Map<_, _>>()})
        }
        Rendered::Reject(rejected) => rejected.as_defined(),
        Rendered::Sql { statement, params, moment: Moment::Transaction } => {
            json!({"sql": statement, "params": params, "timing": "transaction"})
        }
        Rendered::Sql { statement, params, .. } => json!({"sql": statement, "params": params}),
        Rendered::Http(request) => json!({"http": request}),
        Rendered::Workflow { name, input } => json!({"workflow": name, "input": input}),
        Rendered::Notify { template, recipients, data } => {
            json!({"notify": template, "recipients": recipients, "data": data})
        }
        Rendered::Emit { name, payload } => json!({"emit": name, "payload": payload}),
        Rendered::Report { name, params } => json!({"report": name, "params": params}),
        Rendered::Task { name } => json!({"task": name}),
    }
}
