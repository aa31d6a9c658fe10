//! A user's statement: checked when it is defined, run with a cached plan in its owner's session.

use crate::error::{Error, Failure, Result, shown};
use crate::pg;
use crate::spi::head::{self, Head};
use crate::spi::{rights, step};
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::rc::Rc;

/// Most plans kept by a session, and most bytes of their texts, which bound what the plans take.
const CACHE: usize = 256;
const CACHE_BYTES: usize = 2 << 20;
/// Most rows and bytes that a statement's result may have when somebody wants it.
const MAX_ROWS: usize = 10_000;

/// A statement that PostgreSQL has analysed.
pub struct Prepared {
    plan: pg_sys::SPIPlanPtr,
    types: Vec<pg_sys::Oid>,
    /// Changes more than rows: settings, the catalog, the session.
    utility: bool,
    /// Mean duration in microseconds; None until it ran.
    mean_us: Cell<Option<f64>>,
    /// The role whose rights on what it names were looked at.
    allowed: Cell<pg_sys::Oid>,
}

impl Prepared {
    /// Known to be short: it may share a commit with others.
    pub fn is_short(&self) -> bool {
        self.mean_us.get().is_some_and(|us| us < 2_000.0)
    }

    fn learn(&self, us: i64) {
        let us = us as f64;
        self.mean_us.set(Some(self.mean_us.get().map_or(us, |mean| mean * 0.8 + us * 0.2)));
    }
}

/// What a statement answered.
#[derive(Debug)]
pub struct Answer {
    pub processed: u64,
    /// The rows as JSON objects, if they were asked for.
    pub rows: Vec<Value>,
}

thread_local! {
    static PLANS: RefCell<HashMap<(String, String), Rc<Prepared>>> = RefCell::new(HashMap::new());
    static RAN_UTILITY: Cell<bool> = const { Cell::new(false) };
    /// Where in the text PostgreSQL's parser stopped, counted in characters from 1.
    static POSITION: Cell<c_int> = const { Cell::new(0) };
    /// The place that the last refusal of a text told.
    static REFUSED_AT: Cell<Option<c_int>> = const { Cell::new(None) };
}

/// What the parser hook fills with the types that it infers for $1, $2, ...
struct Parameters {
    types: *mut pg_sys::Oid,
    count: c_int,
}

unsafe extern "C-unwind" fn infer_parameters(pstate: *mut pg_sys::ParseState, arg: *mut c_void) {
    // SAFETY: the argument is the Parameters that `prepare` passes along and outlives the parse.
    unsafe {
        let parameters = arg.cast::<Parameters>();
        pg::c::setup_parse_variable_parameters(
            pstate,
            &raw mut (*parameters).types,
            &raw mut (*parameters).count,
        );
    }
}

unsafe extern "C-unwind" fn note_position(_arg: *mut c_void) {
    // SAFETY: called by ereport while an error is being built; both only read it.
    unsafe {
        let inner = pg_sys::getinternalerrposition();
        POSITION.set(if inner > 0 { inner } else { pg_sys::geterrposition() });
    }
}

/// Runs a parse and says where in the text it stopped, if it did: a value, so that the place can
/// be told. Needs an enclosing subtransaction or an error that ends the transaction.
pub fn with_position<R>(f: impl FnOnce() -> R) -> std::result::Result<R, (Failure, Option<i32>)> {
    POSITION.set(0);
    let mut callback = pg_sys::ErrorContextCallback {
        // SAFETY: reads a process-local variable.
        previous: unsafe { pg_sys::error_context_stack },
        callback: Some(note_position),
        arg: std::ptr::null_mut(),
    };
    // SAFETY: the frame lives until the stack is put back below; errors are caught before that.
    unsafe { pg_sys::error_context_stack = &raw mut callback };
    let result = step::catch(f);
    // SAFETY: puts back what was there.
    unsafe { pg_sys::error_context_stack = callback.previous };
    result.map_err(|failure| (failure, Some(POSITION.get()).filter(|p| *p > 0)))
}

/// Where in its text the last refusal by [`refuse_text`] is, counted in characters from 1; asked
/// once.
pub fn take_position() -> Option<i32> {
    REFUSED_AT.take()
}

/// Says where a text is wrong: the line, a caret below it, and the position.
pub fn refuse_text(what: &str, text: &str, failure: Failure, position: Option<i32>) -> Error {
    REFUSED_AT.set(position);
    let place = position.and_then(|p| usize::try_from(p).ok()).map(|position| {
        let before: String = text.chars().take(position.saturating_sub(1)).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let found: String = text.lines().nth(line - 1).unwrap_or("").chars().take(200).collect();
        format!("At character {position} (line {line}, column {column}), in \"{found}\".")
    });
    let place = place.unwrap_or_else(|| beginning(what, text));
    let detail = failure.detail.map_or_else(|| place.clone(), |detail| format!("{detail} {place}"));
    Error::refused(failure.code, format!("{what}: {}", failure.message))
        .with_detail(detail)
        .with_hint(
            failure.hint.unwrap_or_else(|| {
                "The statement is checked as its owner, when it is defined.".into()
            }),
        )
}

/// A text, cut, for a DETAIL where no place in it is known. `what` names it.
pub fn beginning(what: &str, text: &str) -> String {
    let start: Vec<&str> = text.split_whitespace().take(100).collect();
    format!("The text of the {what} is {}.", shown(&start.join(" ")))
}

/// Refuses parameters where there is nothing that they could fill.
pub fn no_parameters(what: &str, text: &str, count: usize) -> Error {
    Error::invalid("a statement that runs at top level takes no parameters")
        .with_detail(format!("Parameters given: {count}. {}", beginning(what, text)))
        .with_hint("Write the values into the statement, with format() and %L.")
}

/// The types that the parser infers for $1, $2, ... SPI must be connected.
pub(super) fn infer_types(text: &CStr) -> Vec<pg_sys::Oid> {
    // SAFETY: the parameter list is only used during the call, since the plan is freed before we
    // return; `types` is palloc'd by the parser in the current context and copied before it goes.
    unsafe {
        let mut parameters = Parameters { types: std::ptr::null_mut(), count: 0 };
        let plan = pg_sys::SPI_prepare_params(
            text.as_ptr(),
            Some(infer_parameters),
            (&raw mut parameters).cast(),
            0,
        );
        pg_sys::SPI_freeplan(plan);
        (0..parameters.count as usize)
            .map(|i| *parameters.types.add(i))
            // A gap ($1, $3) or a bare SELECT $1 stays unknown: text is what it will be given.
            .map(|oid| match oid {
                pg_sys::InvalidOid | pg_sys::UNKNOWNOID => pg_sys::TEXTOID,
                known => known,
            })
            .collect()
    }
}

/// True when the statement was found good for this role in this session, and nothing it names has
/// changed.
pub fn is_known_good(text: &str) -> bool {
    let path = pg::search_path();
    PLANS.with_borrow(|p| {
        // SAFETY: looks at a kept plan.
        p.get(&(path, text.to_string())).is_some_and(|s| unsafe {
            s.allowed.get() == pg::current_user() && pg_sys::SPI_plan_is_valid(s.plan)
        })
    })
}

/// Checks a statement with the rights of the role in force: it parses, everything it names exists,
/// and the role may do it. A statement that changes more than rows is only parsed.
pub fn check(what: &str, text: &str) -> Result<()> {
    if is_known_good(text) {
        return Ok(());
    }
    check_and_count(what, text).map(|_| ())
}

/// [`check`], and how many parameters it takes; None when it is only parsed.
pub fn check_and_count(what: &str, text: &str) -> Result<Option<usize>> {
    check_part(what, text, text, 0)
}

/// The same for a statement of which the author wrote a part only, after `skipped` characters:
/// an error tells its place in that part.
pub fn check_part(what: &str, text: &str, part: &str, skipped: i32) -> Result<Option<usize>> {
    let source = c_text(what, text)?;
    let checked = step::in_subtransaction(|| {
        with_position(|| {
            // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
            unsafe {
                let parsed = pg_sys::pg_parse_query(source.as_ptr());
                if parsed.is_null() {
                    return None;
                }
                if is_utility(parsed) {
                    return Some(None);
                }
                pg_sys::SPI_connect();
                // Kept, so that the next check of the same text is free.
                let statement = prepared(text).unwrap_or_else(|e| e.raise());
                rights::check(statement.plan);
                statement.allowed.set(pg::current_user());
                pg_sys::SPI_finish();
                Some(Some(statement.types.len()))
            }
        })
        // The subtransaction must end as a failure too: raise again, keeping the place.
        .unwrap_or_else(|(failure, position)| {
            let position = position.map(|p| p - skipped).filter(|p| *p > 0);
            refuse_text(what, part, failure, position).raise()
        })
    });
    match checked {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(Error::refused(
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            format!("{what}: there is no statement"),
        )
        .with_detail(beginning(what, text))
        .with_hint("The text is empty or holds comments only: give one SQL statement.")),
        Err(failure) => Err(failure.into()),
    }
}

/// How many parameters a statement that [`check`] has passed wants; none if it changes the catalog.
pub fn parameter_count(text: &str) -> Result<usize> {
    let source = c_text("statement", text)?;
    let counted = step::in_subtransaction(|| {
        // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
        unsafe {
            if is_utility(pg_sys::pg_parse_query(source.as_ptr())) {
                return 0;
            }
            pg_sys::SPI_connect();
            let count = infer_types(&source).len();
            pg_sys::SPI_finish();
            count
        }
    });
    counted.map_err(Error::from)
}

/// A NUL-terminated copy of a text.
pub fn c_text(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::invalid(format!("{what}: the text contains a NUL character"))
            .with_detail(beginning(what, text))
            .with_hint("PostgreSQL cannot hold that character in a text: leave it out.")
    })
}

unsafe fn is_utility(parsed: *mut pg_sys::List) -> bool {
    // SAFETY: the caller passes a list of RawStmt from the parser.
    unsafe { pg::items::<pg_sys::RawStmt>(parsed).any(|raw| !changes_rows_only((*raw).stmt)) }
}

/// # Safety
/// A statement of the parser.
pub(super) unsafe fn changes_rows_only(node: *const pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: every node has a tag.
    let tag = unsafe { (*node).type_ };
    matches!(tag, T_SelectStmt | T_InsertStmt | T_UpdateStmt | T_DeleteStmt | T_MergeStmt)
}

/// The plan of a statement, from the cache or made now. SPI must be connected.
pub fn prepared(text: &str) -> Result<Rc<Prepared>> {
    let key = (pg::search_path(), text.to_string());
    if let Some(found) = PLANS.with_borrow(|p| p.get(&key).cloned()) {
        return Ok(found);
    }
    let source = c_text("statement", text)?;
    let mut types = infer_types(&source);
    // Prepared once more with fixed types: the plan must not depend on the parser hook's argument.
    // SAFETY: the text and the types outlive the call, which copies them.
    let plan =
        unsafe { pg_sys::SPI_prepare(source.as_ptr(), types.len() as c_int, types.as_mut_ptr()) };
    // SAFETY: a fresh plan; keeping it moves it out of the transaction.
    if plan.is_null() || unsafe { pg_sys::SPI_keepplan(plan) } != 0 {
        return Err(Error::Internal("cannot keep a plan".into()));
    }
    // SAFETY: the list comes from the parser and lives in the current context.
    let utility = unsafe { is_utility(pg_sys::pg_parse_query(source.as_ptr())) };
    let made = Rc::new(Prepared {
        plan,
        types,
        utility,
        mean_us: Cell::new(None),
        allowed: Cell::new(pg_sys::InvalidOid),
    });
    let bytes: usize = PLANS.with_borrow(|p| p.keys().map(|(_, text)| text.len()).sum());
    if PLANS.with_borrow(HashMap::len) >= CACHE || bytes + text.len() > CACHE_BYTES {
        forget_plans();
    }
    PLANS.with_borrow_mut(|p| p.insert(key, made.clone()));
    Ok(made)
}

/// True when the statement has been prepared here, and nothing it names has changed since.
pub fn is_valid(text: &str) -> bool {
    // SAFETY: looks at a kept plan.
    lookup(text).is_some_and(|s| unsafe { pg_sys::SPI_plan_is_valid(s.plan) })
}

/// True when the statement has been prepared here.
pub(super) fn is_known(text: &str) -> bool {
    lookup(text).is_some()
}

/// True when the statement is known and short here.
pub fn is_known_short(text: &str) -> bool {
    is_known_short_under(&pg::search_path(), text)
}

/// The same for a statement that will run under another search_path.
pub fn is_known_short_under(path: &str, text: &str) -> bool {
    let key = (path.to_string(), text.to_string());
    PLANS.with_borrow(|p| p.get(&key).is_some_and(|s| s.is_short()))
}

/// True when a statement since the last call may have changed more than rows.
pub fn ran_utility() -> bool {
    RAN_UTILITY.replace(false)
}

/// Forgets all plans that are not running now. Plans are freed here and not by a destructor:
/// destructors also run while an error unwinds and while the process exits.
pub fn forget_plans() {
    PLANS.with_borrow_mut(|plans| {
        plans.retain(|_, statement| {
            let in_use = Rc::strong_count(statement) > 1;
            if !in_use {
                // SAFETY: kept by us, and this is the last holder.
                unsafe { pg_sys::SPI_freeplan(statement.plan) };
            }
            in_use
        });
    });
}

/// Runs a user's statement with the rights of the session's role.
pub fn execute(text: &str, params: &[Value], want_rows: bool) -> Result<Answer> {
    // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
    unsafe { pg_sys::SPI_connect() };
    let answer = execute_connected(text, params, want_rows);
    // SAFETY: as above.
    unsafe { pg_sys::SPI_finish() };
    answer
}

/// The same for one statement whose first rows shall be seen, however many there are; answers how
/// many rows it answered or changed.
pub fn execute_into(text: &str, params: &[Value], head: &mut Head) -> Result<u64> {
    // SAFETY: as in `execute`.
    unsafe { pg_sys::SPI_connect() };
    let answer =
        prepared(text).and_then(|statement| execute_prepared(&statement, text, params, Some(head)));
    // SAFETY: as above.
    unsafe { pg_sys::SPI_finish() };
    answer.map(|(processed, _)| processed)
}

fn execute_connected(text: &str, params: &[Value], want_rows: bool) -> Result<Answer> {
    let known = lookup(text);
    if known.is_none() && params.is_empty() && is_script(text)? {
        return run_script(text, want_rows);
    }
    let statement = known.map_or_else(|| prepared(text), Ok)?;
    let (processed, table) = execute_prepared(&statement, text, params, None)?;
    let rows =
        if want_rows && !table.is_null() { read_rows(table, processed)? } else { Vec::new() };
    Ok(Answer { processed, rows })
}

/// How many rows were answered or changed, and those answered unless they go into `head`.
fn execute_prepared(
    statement: &Prepared,
    text: &str,
    params: &[Value],
    head: Option<&mut Head>,
) -> Result<(u64, *mut pg_sys::SPITupleTable)> {
    if params.len() < statement.types.len() {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_PARAMETER,
            format!(
                "the statement has ${} but only {} parameters were given",
                statement.types.len(),
                params.len()
            ),
        )
        .with_detail(beginning("statement", text))
        .with_hint("Give one value in params for each of $1, $2, ..."));
    }
    let (mut values, nulls) = bind(&statement.types, params)?;
    RAN_UTILITY.set(RAN_UTILITY.get() || statement.utility);
    let begun = pg::micros();
    // SAFETY: the plan takes exactly these arguments, made by the types' own input functions.
    let (code, processed, table) = unsafe {
        pg_sys::SPI_tuptable = std::ptr::null_mut();
        let plan = statement.plan;
        let code = match head {
            Some(head) => head::run_plan(plan, &statement.types, &values, &nulls, head),
            None => pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), false, 0),
        };
        (code, pg_sys::SPI_processed, pg_sys::SPI_tuptable)
    };
    statement.learn(pg::micros() - begun);
    if code < 0 {
        return Err(refuse_spi(code, text));
    }
    Ok((processed, table))
}

fn lookup(text: &str) -> Option<Rc<Prepared>> {
    let key = (pg::search_path(), text.to_string());
    PLANS.with_borrow(|p| p.get(&key).cloned())
}

/// Several statements of which one changes more than rows: a later one may need what an earlier
/// one makes, so that they cannot be analysed together.
fn is_script(text: &str) -> Result<bool> {
    let source = c_text("statement", text)?;
    // SAFETY: the list comes from the parser and lives in the current context.
    unsafe {
        let parsed = pg_sys::pg_parse_query(source.as_ptr());
        Ok(pg::items::<pg_sys::RawStmt>(parsed).nth(1).is_some() && is_utility(parsed))
    }
}

/// Analyses and runs the statements one after the other. SPI must be connected.
fn run_script(text: &str, want_rows: bool) -> Result<Answer> {
    let source = c_text("statement", text)?;
    RAN_UTILITY.set(true);
    // SAFETY: SPI is connected, and the text outlives the call.
    let (code, processed, table) = unsafe {
        pg_sys::SPI_tuptable = std::ptr::null_mut();
        let code = pg_sys::SPI_execute(source.as_ptr(), false, 0);
        (code, pg_sys::SPI_processed, pg_sys::SPI_tuptable)
    };
    if code < 0 {
        return Err(refuse_spi(code, text));
    }
    let rows =
        if want_rows && !table.is_null() { read_rows(table, processed)? } else { Vec::new() };
    Ok(Answer { processed, rows })
}

fn refuse_spi(code: c_int, text: &str) -> Error {
    let error = match code {
        pg_sys::SPI_ERROR_TRANSACTION => Error::refused(
            PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
            "a transaction command cannot run here",
        )
        .with_hint("Each statement already has its own transaction; put COMMIT into a procedure and CALL it."),
        pg_sys::SPI_ERROR_COPY => Error::refused(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "COPY to or from the client cannot run in the background",
        )
        .with_hint("There is no client: COPY a file or a program instead."),
        other => Error::Internal(format!("SPI answered {other}")),
    };
    error.or_detail(beginning("statement", text))
}

/// JSON values through the input functions of the types that the statement wants.
pub(super) fn bind(
    types: &[pg_sys::Oid],
    params: &[Value],
) -> Result<(Vec<pg_sys::Datum>, Vec<c_char>)> {
    let mut values = Vec::with_capacity(types.len());
    let mut nulls = Vec::with_capacity(types.len());
    for (value, oid) in params.iter().zip(types) {
        let text = parameter_text(value, *oid);
        nulls.push(if text.is_none() { b'n' } else { b' ' } as c_char);
        values.push(match text {
            None => pg_sys::Datum::from(0),
            Some(text) => {
                let text = c_text("parameter", &text)?;
                let (mut function, mut param) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
                // SAFETY: the type exists, since the parser chose it; its input function raises
                // a normal ERROR for a bad text.
                unsafe {
                    pg_sys::getTypeInputInfo(*oid, &mut function, &mut param);
                    pg_sys::OidInputFunctionCall(function, text.as_ptr().cast_mut(), param, -1)
                }
            }
        });
    }
    Ok((values, nulls))
}

/// A JSON value as the text that its SQL type reads; None for NULL.
pub fn parameter_text(value: &Value, oid: pg_sys::Oid) -> Option<String> {
    if oid == pg_sys::JSONBOID || oid == pg_sys::JSONOID {
        return Some(value.to_string());
    }
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // SAFETY: a catalog look-up of the type.
        Value::Array(items) if unsafe { pg_sys::get_element_type(oid) } != pg_sys::InvalidOid => {
            Some(array_text(items))
        }
        other => Some(other.to_string()),
    }
}

/// A JSON array as PostgreSQL's array text.
fn array_text(items: &[Value]) -> String {
    let quoted: Vec<String> = items
        .iter()
        .map(|item| match item {
            Value::Null => "NULL".to_string(),
            Value::Array(inner) => array_text(inner),
            Value::String(text) => quote_element(text),
            other => quote_element(&other.to_string()),
        })
        .collect();
    format!("{{{}}}", quoted.join(","))
}

fn quote_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Rows as JSON objects, through PostgreSQL's own row_to_json.
fn read_rows(table: *mut pg_sys::SPITupleTable, processed: u64) -> Result<Vec<Value>> {
    let count = processed as usize;
    if count > MAX_ROWS {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!(
                "the statement answered {count} rows, more than the {MAX_ROWS} that fit a result"
            ),
        )
        .with_detail("A result that is kept is held in memory whole.")
        .with_hint("Add a LIMIT, aggregate, or write the rows to a table of yours."));
    }
    let mut bytes = 0;
    let limit = crate::guc::max_payload_bytes();
    let mut rows = Vec::with_capacity(count);
    for i in 0..count {
        // SAFETY: the row is in range; SPI_copytuple-like datum building blesses the descriptor.
        let text = unsafe {
            let descriptor = pg_sys::BlessTupleDesc((*table).tupdesc);
            let tuple = *(*table).vals.add(i);
            let row = pg_sys::heap_copy_tuple_as_datum(tuple, descriptor);
            pgrx::direct_function_call::<String>(pg_sys::row_to_json, &[Some(row)])
        }
        .unwrap_or_default();
        bytes += text.len();
        if bytes > limit {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("the statement's result is larger than {limit} bytes"),
            )
            .with_detail(format!("The limit is passed at row {} of {count}.", i + 1))
            .with_hint("Select less, or raise automate.max_payload_bytes."));
        }
        rows.push(serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))?);
    }
    Ok(rows)
}
