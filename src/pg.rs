//! The few PostgreSQL symbols that pgrx does not bind, and the small safe wrappers around what we call often.

use pgrx::pg_sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// C symbols. Call them only through [`guarded`]: an ERROR must not jump over Rust frames.
pub mod c {
    use super::*;

    /// Answers true to end the walk.
    pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

    unsafe extern "C-unwind" {
        /// SIGTERM: end the session at the next safe point, as in a client backend.
        pub fn die(signal: c_int);
        /// SIGHUP: read the configuration again at the next safe point.
        pub fn SignalHandlerForConfigReload(signal: c_int);
        /// SIGINT: cancel the statement at the next safe point, as in a client backend.
        pub fn StatementCancelHandler(signal: c_int);
        /// The system's: sends a signal to a process.
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn enable_timeout_after(id: c_int, delay_ms: c_int);
        pub fn enable_timeout_at(id: c_int, end: pg_sys::TimestampTz);
        pub fn get_timeout_active(id: c_int) -> bool;
        pub fn get_timeout_finish_time(id: c_int) -> pg_sys::TimestampTz;
        pub fn disable_timeout(id: c_int, keep_indicator: bool);
        pub fn disable_all_timeouts(keep_indicators: bool);
        pub fn setup_parse_variable_parameters(
            pstate: *mut pg_sys::ParseState,
            types: *mut *mut pg_sys::Oid,
            count: *mut c_int,
        );
        pub fn ResetSequenceCaches();
        /// The same bytes, apart from how they are stored.
        pub fn datum_image_eq(
            one: pg_sys::Datum,
            other: pg_sys::Datum,
            by_value: bool,
            length: c_int,
        ) -> bool;
        pub fn transformWhereClause(
            pstate: *mut pg_sys::ParseState,
            clause: *mut pg_sys::Node,
            kind: c_int,
            construct: *const c_char,
        ) -> *mut pg_sys::Node;
        pub fn FunctionCall2Coll(
            function: *mut pg_sys::FmgrInfo,
            collation: pg_sys::Oid,
            a: pg_sys::Datum,
            b: pg_sys::Datum,
        ) -> pg_sys::Datum;
        /// Raises an error that was made elsewhere: only where no Rust value has a destructor that
        /// the jump could skip, since it is not guarded.
        pub fn ThrowErrorData(error: *mut pg_sys::ErrorData) -> !;
        /// True when one of the columns is in the partition key.
        pub fn has_partition_attrs(
            relation: pg_sys::Relation,
            columns: *mut pg_sys::Bitmapset,
            in_expression: *mut bool,
        ) -> bool;
        pub fn get_partition_ancestors(relid: pg_sys::Oid) -> *mut pg_sys::List;
        /// Calls a walker, which must not fail, for each part of an expression.
        #[cfg_attr(
            any(feature = "pg16", feature = "pg17", feature = "pg18"),
            link_name = "expression_tree_walker_impl"
        )]
        pub fn expression_tree_walker(
            node: *mut pg_sys::Node,
            walker: Walker,
            context: *mut c_void,
        ) -> bool;
        /// The same for each part of a query.
        #[cfg_attr(
            any(feature = "pg16", feature = "pg17", feature = "pg18"),
            link_name = "query_tree_walker_impl"
        )]
        pub fn query_tree_walker(
            query: *mut pg_sys::Query,
            walker: Walker,
            context: *mut c_void,
            flags: c_int,
        ) -> bool;
        /// The variables of one range table entry become those of another.
        pub fn ChangeVarNodes(node: *mut pg_sys::Node, from: c_int, to: c_int, levels_up: c_int);
    }
}

/// `STATEMENT_TIMEOUT` of PostgreSQL's `TimeoutId`, the same in 15 to 18.
pub const STATEMENT_TIMEOUT: c_int = 3;

/// Runs a call into PostgreSQL so that an ERROR in it becomes a Rust panic, which pgrx turns back.
pub fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: we are on the server's one thread (pgrx checks it), and the closure holds no Rust
    // value with a destructor that a jump could skip: callers pass plain C calls.
    unsafe { pg_sys::submodules::ffi::pg_guard_ffi_boundary(call) }
}

/// The instant now, in PostgreSQL's microseconds since 2000.
pub fn now() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// PostgreSQL's epoch, 2000-01-01, in seconds of Unix.
pub const EPOCH_S: i64 = 946_684_800;

/// An instant as ISO 8601 in UTC, to the microsecond.
pub fn iso(at: pg_sys::TimestampTz) -> String {
    chrono::DateTime::from_timestamp_micros(at.saturating_add(EPOCH_S * 1_000_000))
        .map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        .unwrap_or_default()
}

/// The smallest uuid v7 of the last so many seconds: older ids are smaller.
pub fn oldest_id(seconds: i64) -> pgrx::Uuid {
    let unix_s = now() / 1_000_000 + EPOCH_S - seconds;
    let ms = u128::from(unix_s.unsigned_abs()) * 1000;
    pgrx::Uuid::from_bytes((ms << 80).to_be_bytes())
}

/// The clock in microseconds, for measuring durations.
pub fn micros() -> i64 {
    now()
}

/// The pointers of a PostgreSQL list, cast to the node type that the caller knows them to be.
///
/// # Safety
/// `list` is null or a list of pointers to `T` that outlives the iterator.
pub unsafe fn items<T>(list: *const pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: an empty list is null; otherwise length says how many elements there are.
    let length = if list.is_null() { 0 } else { unsafe { (*list).length as usize } };
    // SAFETY: the index is within the length.
    (0..length).map(move |i| unsafe { (*(*list).elements.add(i)).ptr_value.cast::<T>() })
}

/// OID of this session's database.
pub fn my_database() -> pg_sys::Oid {
    // SAFETY: a process-local variable, set once.
    unsafe { pg_sys::MyDatabaseId }
}

/// OID of the role whose rights are in force now.
pub fn current_user() -> pg_sys::Oid {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::GetUserId() }
}

/// The name of a role, or None when it was dropped.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: with missing_ok the lookup returns null instead of raising; the result is palloc'd text.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// The search_path in force, as its text.
pub fn search_path() -> String {
    // SAFETY: the setting's value is a C string or null, and we copy it at once.
    unsafe {
        let path = pg_sys::namespace_search_path;
        if path.is_null() {
            String::new()
        } else {
            CStr::from_ptr(path).to_string_lossy().into_owned()
        }
    }
}

/// Runs `f` under another search_path.
pub fn under_path<R>(path: &str, f: impl FnOnce() -> R) -> R {
    let nest = GucNest::open();
    set_local(c"search_path", &CString::new(path).unwrap_or_default());
    let result = f();
    nest.undo();
    result
}

/// Sets a setting until the enclosing nest level ends ([`GucNest`]).
pub fn set_local(name: &CStr, value: &CStr) {
    // SAFETY: both are NUL-terminated; ERROR level reports a bad value by an ERROR, which the
    // binding turns into a panic.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// A level of settings: what is set inside ends with it.
pub struct GucNest(c_int);

impl GucNest {
    pub fn open() -> GucNest {
        // SAFETY: counts a process-local level.
        GucNest(unsafe { pg_sys::NewGUCNestLevel() })
    }

    /// Ends the level and undoes everything that was set in it, plain SET included.
    pub fn undo(self) {
        // SAFETY: the level was opened by us and levels above it ended with their transactions.
        unsafe { pg_sys::AtEOXact_GUC(false, self.0) }
    }
}

/// Raises pending interrupts: a request to end, a cancel, a config reload in the server's sense.
pub fn check_interrupts() {
    pgrx::check_for_interrupts!();
}

/// True once the server was told to stop. The postmaster says so in the eighth line of its lock
/// file, in the data directory, before it ends the first of its children.
pub fn server_is_stopping() -> bool {
    let text = std::fs::read_to_string("postmaster.pid").unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| status.trim() == "stopping")
}

/// A context pointer nobody reads.
pub const NO_ARG: *mut c_void = std::ptr::null_mut();
