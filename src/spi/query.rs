//! A user's query, read only: described when it is defined, fetched as text for a report.

use crate::error::{Error, Failure, Result, shown_json};
use crate::pg;
use crate::spi::{statement, step};
use automate_core::report::{Column, Table};
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::{CStr, CString, c_char, c_int, c_long};

/// Rows fetched at a time, so that a large result is never in memory twice.
const CHUNK: u64 = 1000;

/// What a query may take.
pub struct Limits {
    pub max_rows: u64,
    pub max_bytes: usize,
    pub timeout_ms: u64,
}

/// Keeps the transaction from writing until it is dropped.
pub struct ReadOnly(bool);

impl ReadOnly {
    pub fn start() -> ReadOnly {
        // SAFETY: a process-local variable that PostgreSQL itself saves and restores the same way
        // around subtransactions.
        unsafe {
            let before = pg_sys::XactReadOnly;
            pg_sys::XactReadOnly = true;
            ReadOnly(before)
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: as above; cannot raise.
        unsafe { pg_sys::XactReadOnly = self.0 }
    }
}

/// A time limit within the one in force, which is put back when this is dropped.
pub struct TimeLimit {
    before: Option<pg_sys::TimestampTz>,
}

impl TimeLimit {
    pub fn start(ms: u64) -> TimeLimit {
        let end = pg::now().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX / 1000) * 1000);
        // SAFETY: the timeout is registered in every session; these read and set process-local state.
        unsafe {
            let active = pg::c::get_timeout_active(pg::STATEMENT_TIMEOUT);
            let before = active.then(|| pg::c::get_timeout_finish_time(pg::STATEMENT_TIMEOUT));
            let end = before.map_or(end, |before| before.min(end));
            pg::guarded(|| pg::c::enable_timeout_at(pg::STATEMENT_TIMEOUT, end));
            TimeLimit { before }
        }
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        // SAFETY: as above; with a registered timeout neither call raises.
        unsafe {
            match self.before {
                Some(before) => pg::c::enable_timeout_at(pg::STATEMENT_TIMEOUT, before),
                None => pg::c::disable_timeout(pg::STATEMENT_TIMEOUT, false),
            }
        }
    }
}

/// Checks a query with the rights in force, and tells its columns. `what` begins the error, which
/// says where in the text it is.
pub fn describe(what: &str, text: &str, types: &[pg_sys::Oid]) -> Result<Vec<Column>> {
    let source = statement::c_text(what, text)?;
    let described = step::in_subtransaction(|| {
        statement::with_position(|| {
            // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
            unsafe {
                pg_sys::SPI_connect();
                let plan = prepare(&source, types, true).unwrap_or_else(|e| e.raise());
                let found = result_of(plan).unwrap_or_else(|e| e.raise());
                let columns = columns(found);
                check_rights(plan, types.len());
                pg_sys::SPI_finish();
                columns
            }
        })
        .unwrap_or_else(|(failure, position)| {
            statement::refuse_text(what, text, failure, position).raise()
        })
    });
    described.map_err(Error::from)
}

/// Runs a query under the active snapshot, as the rights in force allow. Its error begins with `what`.
pub fn fetch(
    what: &str,
    text: &str,
    types: &[pg_sys::Oid],
    params: &[Value],
    limits: &Limits,
) -> Result<Table> {
    let source = statement::c_text(what, text)?;
    let fetched = step::in_subtransaction(|| {
        let _limit = TimeLimit::start(limits.timeout_ms);
        // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
        unsafe { pg_sys::SPI_connect() };
        let table = fetch_connected(&source, types, params, limits).unwrap_or_else(|e| e.raise());
        // SAFETY: as above.
        unsafe { pg_sys::SPI_finish() };
        // A limit that was reached at the very end is this query's affair.
        pg::check_interrupts();
        table
    });
    fetched.map_err(|mut failure| {
        failure.hint.get_or_insert_with(|| {
            "The query reads only, with the rights of the report's owner and within its timeout."
                .into()
        });
        statement::refuse_text(what, text, failure, None)
    })
}

/// Checks that a value is of a type, given by name and OID; the error begins with `what`.
pub fn check_value(what: &str, value: &Value, (name, oid): (&str, pg_sys::Oid)) -> Result<()> {
    let checked = step::in_subtransaction(|| {
        statement::bind(&[oid], std::slice::from_ref(value)).unwrap_or_else(|e| e.raise());
    });
    checked.map_err(|failure| {
        let message = format!("{what}: {}", failure.message);
        Error::from(Failure { message, ..failure })
            .or_detail(format!("The value given is {}.", shown_json(value)))
            .or_hint(format!(
                "Give a value that PostgreSQL reads as {}.",
                name.trim_start_matches("pg_catalog.")
            ))
    })
}

/// SPI must be connected; the plan is gone with the connection. A generic plan is made without
/// looking at the parameters' values.
fn prepare(source: &CStr, types: &[pg_sys::Oid], generic: bool) -> Result<pg_sys::SPIPlanPtr> {
    let options = if generic { pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int } else { 0 };
    let mut types = types.to_vec();
    // SAFETY: the text and the types outlive the call, which copies them.
    let plan = unsafe {
        pg_sys::SPI_prepare_cursor(
            source.as_ptr(),
            types.len() as c_int,
            types.as_mut_ptr(),
            options,
        )
    };
    if plan.is_null() {
        return Err(Error::Internal("cannot prepare a query".into()));
    }
    Ok(plan)
}

/// The shape of the rows of a plan that is a single query and writes nothing itself.
fn result_of(plan: pg_sys::SPIPlanPtr) -> Result<pg_sys::TupleDesc> {
    let refuse = || {
        Error::refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, "this is not a query that only reads")
            .with_hint("Write a SELECT, VALUES or TABLE without FOR UPDATE and without INSERT, UPDATE or DELETE inside; what is to be changed belongs in a task.")
    };
    // SAFETY: the plan is alive, and the lists hold what their names say.
    unsafe {
        let sources: Vec<_> =
            pg::items::<pg_sys::CachedPlanSource>(pg_sys::SPI_plan_get_plan_sources(plan))
                .collect();
        let [source] = sources[..] else { return Err(refuse()) };
        let queries: Vec<_> = pg::items::<pg_sys::Query>((*source).query_list).collect();
        let [query] = queries[..] else { return Err(refuse()) };
        let reads = (*query).commandType == pg_sys::CmdType::CMD_SELECT
            && !(*query).hasModifyingCTE
            && (*query).rowMarks.is_null();
        if !reads || (*source).resultDesc.is_null() {
            return Err(refuse());
        }
        Ok((*source).resultDesc)
    }
}

/// Raises the error that a run would meet at once: PostgreSQL looks at rights when a plan is
/// started, which is done here without a row being asked for.
unsafe fn check_rights(plan: pg_sys::SPIPlanPtr, params: usize) {
    let mut values = vec![pg_sys::Datum::from(0); params];
    let nulls = vec![b'n' as c_char; params];
    // SAFETY: the plan takes that many arguments, all NULL; the portal is closed unused.
    unsafe {
        let portal = pg_sys::SPI_cursor_open(
            std::ptr::null(),
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            true,
        );
        pg_sys::SPI_cursor_close(portal);
    }
}

fn columns(descriptor: pg_sys::TupleDesc) -> Vec<Column> {
    // SAFETY: a valid descriptor; column numbers run from 1 to natts.
    unsafe {
        (1..=(*descriptor).natts)
            .map(|number| {
                let name = pg_sys::SPI_fname(descriptor, number);
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                let (mut category, mut preferred) = (0, false);
                let oid = pg_sys::SPI_gettypeid(descriptor, number);
                pg_sys::get_type_category_preferred(oid, &mut category, &mut preferred);
                Column { name, numeric: category as u8 == pg_sys::TYPCATEGORY_NUMERIC }
            })
            .collect()
    }
}

fn fetch_connected(
    source: &CString,
    types: &[pg_sys::Oid],
    params: &[Value],
    limits: &Limits,
) -> Result<Table> {
    let plan = prepare(source, types, false)?;
    let columns = columns(result_of(plan)?);
    let (mut values, nulls) = statement::bind(types, params)?;
    // SAFETY: the plan takes exactly these arguments. Read only: the active snapshot is used.
    let portal = unsafe {
        pg_sys::SPI_cursor_open(std::ptr::null(), plan, values.as_mut_ptr(), nulls.as_ptr(), true)
    };
    let mut table = Table { columns, rows: Vec::new(), truncated_of: None };
    let mut bytes = 0;
    loop {
        let fetched = table.rows.len() as u64;
        let wanted = CHUNK.min(limits.max_rows - fetched);
        if wanted == 0 {
            // SAFETY: the portal is open; the rest is counted, not kept.
            let more = unsafe {
                pg_sys::SPI_cursor_move(portal, true, c_long::MAX);
                pg_sys::SPI_processed
            };
            table.truncated_of = (more > 0).then_some(fetched + more);
            break;
        }
        // SAFETY: the portal is open; sets the two variables read below.
        let (chunk, count) = unsafe {
            pg_sys::SPI_cursor_fetch(portal, true, wanted as c_long);
            (pg_sys::SPI_tuptable, pg_sys::SPI_processed)
        };
        for row in 0..count as usize {
            // SAFETY: the row is within the count.
            let cells = unsafe { cells(chunk, row, table.columns.len()) };
            bytes += cells.iter().flatten().map(String::len).sum::<usize>() + 24 * cells.len();
            table.rows.push(cells);
        }
        // SAFETY: the rows were copied.
        unsafe { pg_sys::SPI_freetuptable(chunk) };
        if bytes > limits.max_bytes {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("the rows of the report are larger than {} bytes", limits.max_bytes),
            )
            .with_detail(format!("The limit is passed after {} rows.", table.rows.len()))
            .with_hint("Lower \"max_rows\", or select fewer columns."));
        }
        if count < wanted {
            break;
        }
    }
    // SAFETY: opened above.
    unsafe { pg_sys::SPI_cursor_close(portal) };
    Ok(table)
}

/// The values of a row by their types' output functions; None for NULL.
unsafe fn cells(
    table: *mut pg_sys::SPITupleTable,
    row: usize,
    columns: usize,
) -> Vec<Option<String>> {
    // SAFETY: the caller's row is in range, and columns count from 1.
    unsafe {
        let tuple = *(*table).vals.add(row);
        (1..=columns)
            .map(|number| {
                let value = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, number as c_int);
                if value.is_null() {
                    return None;
                }
                let text = CStr::from_ptr(value).to_string_lossy().into_owned();
                pg_sys::pfree(value.cast());
                Some(text)
            })
            .collect()
    }
}
