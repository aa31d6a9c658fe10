//! Every setting of the extension. Names are contracts.

use automate_core::net::Allow;
use automate_core::trace;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString, c_char, c_void};

static AUDIT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(400 * 24 * 3600);
static BATCH_MAX: GucSetting<i32> = GucSetting::<i32>::new(500);
static EVENT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(0);
static EXECUTOR_IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static HISTORY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(7 * 24 * 3600);
static KILL_AFTER: GucSetting<i32> = GucSetting::<i32>::new(30_000);
static MAX_EXECUTORS: GucSetting<i32> = GucSetting::<i32>::new(4);
static MAX_PAYLOAD_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1 << 20);
static NETWORK_ALLOW: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"*"));
static PAUSED: GucSetting<bool> = GucSetting::<bool>::new(false);
static SESSION_VARS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SKIP_RULES: GucSetting<bool> = GucSetting::<bool>::new(false);
static TRACEPARENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// How long the audit is kept, in seconds.
pub fn audit_retention_s() -> i64 {
    i64::from(AUDIT_RETENTION.get())
}

/// Most jobs that share a commit.
pub fn batch_max() -> i64 {
    i64::from(BATCH_MAX.get())
}

/// How long events are kept, in seconds.
pub fn event_retention_s() -> i64 {
    match EVENT_RETENTION.get() {
        0 => history_retention_s(),
        seconds => i64::from(seconds),
    }
}

/// How long an executor waits for work before it leaves, in milliseconds.
pub fn executor_idle_timeout_ms() -> i64 {
    i64::from(EXECUTOR_IDLE_TIMEOUT.get())
}

/// How long history is kept, in seconds.
pub fn history_retention_s() -> i64 {
    i64::from(HISTORY_RETENTION.get())
}

/// How long after its timeout a job that goes on is ended with its session, in milliseconds.
pub fn kill_after_ms() -> i64 {
    i64::from(KILL_AFTER.get())
}

/// Most executors of one database.
pub fn max_executors() -> usize {
    usize::try_from(MAX_EXECUTORS.get()).unwrap_or(1)
}

/// Largest JSON document accepted from outside, in bytes.
pub fn max_payload_bytes() -> usize {
    usize::try_from(MAX_PAYLOAD_BYTES.get()).unwrap_or(0)
}

/// Which hosts may be reached.
pub fn network_allow() -> String {
    NETWORK_ALLOW.get().map(|v| v.to_string_lossy().into_owned()).unwrap_or_default()
}

/// True while the settings say that nothing is to be claimed.
pub fn paused() -> bool {
    PAUSED.get()
}

/// Names of the settings that events show, separated by commas.
pub fn session_vars() -> Option<CString> {
    SESSION_VARS.get()
}

/// True while this session's changes are not shown to rules.
pub fn skip_rules() -> bool {
    SKIP_RULES.get()
}

/// The trace that this session belongs to.
pub fn traceparent() -> Option<CString> {
    TRACEPARENT.get()
}

/// Registers the settings; called once from `_PG_init`.
pub fn define() {
    // All but skip_rules and traceparent are for superusers: each widens what the server may reach, spend or keep.
    GucRegistry::define_int_guc(
        c"automate.batch_max",
        c"Most short jobs that an executor commits together.",
        c"Batches start at 1, grow while jobs are short and shrink to 1 when one takes long.",
        &BATCH_MAX,
        1,
        10_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"automate.executor_idle_timeout",
        c"How long an executor without work stays.",
        c"A resident executor starts work in under a millisecond; a new one takes some 10 ms.",
        &EXECUTOR_IDLE_TIMEOUT,
        100,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"automate.history_retention",
        c"How long finished jobs, runs and deliveries are kept.",
        c"Older days of automate.job_history are dropped whole.",
        &HISTORY_RETENTION,
        60,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"automate.audit_retention",
        c"How long changes of definitions are kept in automate.audit.",
        c"Older entries are removed now and then.",
        &AUDIT_RETENTION,
        60,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"automate.event_retention",
        c"How long events are kept, and can be replayed.",
        c"0: as long as automate.history_retention says.",
        &EVENT_RETENTION,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    define_limits();
    define_network();
    define_origin();
}

/// What events say of the session that causes them.
fn define_origin() {
    GucRegistry::define_string_guc(
        c"automate.session_vars",
        c"Settings that events show under session, as far as they are set: names, separated by commas.",
        c"Such as app.user_id or request.jwt.claims, which an application sets for its user.",
        &SESSION_VARS,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: the check hook keeps to what PostgreSQL allows there; there are no other hooks.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"automate.traceparent",
            c"Trace that what the session causes belongs to, as W3C Trace Context writes it.",
            c"Events, runs and webhooks that follow from it carry the same trace.",
            &TRACEPARENT,
            GucContext::Userset,
            GucFlags::default(),
            Some(check_traceparent),
            None,
            None,
        );
    }
}

fn define_limits() {
    GucRegistry::define_int_guc(
        c"automate.kill_after",
        c"How long after its timeout a job that goes on is ended with its session.",
        c"At the timeout its statement is cancelled; code can catch that and go on.",
        &KILL_AFTER,
        100,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"automate.max_executors",
        c"Most executors of one database.",
        c"Each is a background worker: see max_worker_processes.",
        &MAX_EXECUTORS,
        1,
        64,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"automate.max_payload_bytes",
        c"Largest JSON document accepted from outside, in bytes.",
        c"Definitions, inputs, events and parameters that are larger are refused.",
        &MAX_PAYLOAD_BYTES,
        1024,
        64 << 20,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"automate.skip_rules",
        c"While on, rules do not see what the session changes.",
        c"For bulk loads, with SET LOCAL; only for tables of the user's own.",
        &SKIP_RULES,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"automate.paused",
        c"While on, nothing is claimed and nothing is sent.",
        c"automate.pause() does the same for one database.",
        &PAUSED,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn define_network() {
    // SAFETY: the check hook keeps to what PostgreSQL allows there; there are no other hooks.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"automate.network_allow",
            c"Hosts and networks that may be reached: host patterns and CIDR blocks, separated by commas.",
            c"* is every public address. Private, loopback and link-local ones only if listed.",
            &NETWORK_ALLOW,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_network_allow),
            None,
            None,
        );
    }
}

/// Refuses a list that cannot be read, where it is set: the old one stays in force.
#[pg_guard]
unsafe extern "C-unwind" fn check_network_allow(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value, a C string or null, for the length of the call.
    let text = unsafe { (!(*value).is_null()).then(|| CStr::from_ptr(*value)) };
    let text = text.map(CStr::to_string_lossy).unwrap_or_default();
    let Err(error) = Allow::parse(&text) else { return true };
    refuse(&error.message, error.hint.as_deref())
}

/// Refuses a trace that is none.
#[pg_guard]
unsafe extern "C-unwind" fn check_traceparent(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value, a C string or null, for the length of the call.
    let text = unsafe { (!(*value).is_null()).then(|| CStr::from_ptr(*value)) };
    let text = text.map(CStr::to_string_lossy).unwrap_or_default();
    match trace::check(&text) {
        Err(reason) if !text.is_empty() => refuse(reason, Some(trace::FORM)),
        _ => true,
    }
}

/// Says why a check hook refuses a value.
fn refuse(reason: &str, hint: Option<&str>) -> bool {
    // SAFETY: copies into the current context, which lives until the refusal is reported.
    unsafe {
        pg_sys::GUC_check_errdetail_string = palloc_text(&format!("{reason}."));
        if let Some(hint) = hint {
            pg_sys::GUC_check_errhint_string = palloc_text(hint);
        }
    }
    false
}

/// # Safety
/// There is a current memory context.
unsafe fn palloc_text(text: &str) -> *mut c_char {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the text is copied.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}
