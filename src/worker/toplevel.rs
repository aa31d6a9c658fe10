//! Statements that refuse a transaction block (VACUUM, CREATE INDEX CONCURRENTLY, CALL with
//! COMMIT, ALTER SYSTEM, ...): run at top level, as if a client had sent them.

use crate::error::{Error, Result};
use crate::pg;
use crate::queue::Job;
use crate::spi::{as_extension, statement, step};
use pgrx::prelude::*;
use std::ffi::{CStr, CString, c_long};

/// [`is_needed`] with the place of a syntax error told.
pub fn is_needed_checked(what: &str, text: &str) -> Result<bool> {
    if statement::is_known_good(text) {
        return Ok(false);
    }
    let parsed = step::in_subtransaction(|| {
        statement::with_position(|| is_needed(text)).unwrap_or_else(|(failure, position)| {
            statement::refuse_text(what, text, failure, position).raise()
        })
    });
    parsed.unwrap_or_else(|failure| Err(failure.into()))
}

/// True when a parsed statement must run at top level. CALL is among them: its procedure may
/// COMMIT; if it does not, its effects still commit together with the job's end.
pub fn is_needed(text: &str) -> Result<bool> {
    let source =
        CString::new(text).map_err(|_| Error::invalid("the text contains a NUL character"))?;
    // SAFETY: the list and its nodes come from the parser and live in the current context.
    unsafe {
        let parsed = pg_sys::pg_parse_query(source.as_ptr());
        let count = pg::items::<pg_sys::RawStmt>(parsed).count();
        let needed =
            pg::items::<pg_sys::RawStmt>(parsed).any(|raw| node_needs_top_level((*raw).stmt));
        if needed && count > 1 {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
                "a statement that cannot run inside a transaction block must be alone",
            )
            .with_hint("Enqueue it by itself."));
        }
        Ok(needed)
    }
}

unsafe fn node_needs_top_level(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            T_VacuumStmt => (*node.cast::<pg_sys::VacuumStmt>()).is_vacuumcmd,
            T_CallStmt
            | T_AlterSystemStmt
            | T_CreatedbStmt
            | T_DropdbStmt
            | T_CreateTableSpaceStmt
            | T_DropTableSpaceStmt => true,
            T_ClusterStmt => (*node.cast::<pg_sys::ClusterStmt>()).relation.is_null(),
            T_IndexStmt => (*node.cast::<pg_sys::IndexStmt>()).concurrent,
            T_DropStmt => (*node.cast::<pg_sys::DropStmt>()).concurrent,
            T_ReindexStmt => {
                let stmt = &*node.cast::<pg_sys::ReindexStmt>();
                stmt.relation.is_null() || !stmt.params.is_null()
            }
            _ => false,
        }
    }
}

/// Marks the job as running under this worker's lease: a statement that commits in its middle
/// makes the mark durable, so that nobody takes the job for an untouched one.
pub fn mark(job: &Job, lease: i64) -> Result<()> {
    as_extension(|own| {
        own.run(
            "UPDATE automate.job SET status = 'running', lease = $2 WHERE id = $1",
            &[pgrx::Uuid::from_bytes(*job.id.as_bytes()).into(), lease.into()],
        )?;
        Ok(())
    })
}

/// Runs one statement at top level. A transaction is open before and after, but it need not be
/// the same one.
pub fn run(text: &str, timeout_ms: Option<i32>) -> Result<()> {
    let source =
        CString::new(text).map_err(|_| Error::invalid("the text contains a NUL character"))?;
    // SAFETY: a context of our own outlives the commits inside the statement; an ERROR leaves it
    // to be deleted with the next statement's, see `scratch`.
    unsafe {
        let context = scratch();
        pg_sys::MemoryContextSwitchTo(context);
        let limit = timeout_ms.unwrap_or(pg_sys::StatementTimeout);
        if limit > 0 {
            pg::guarded(|| pg::c::enable_timeout_after(pg::STATEMENT_TIMEOUT, limit));
        }
        run_portal(&source);
        pg::c::disable_timeout(pg::STATEMENT_TIMEOUT, false);
        pg_sys::MemoryContextSwitchTo(pg_sys::TopTransactionContext);
    }
    Ok(())
}

/// The context for parse trees and plans of top-level statements, emptied for each.
unsafe fn scratch() -> pg_sys::MemoryContext {
    static mut CONTEXT: pg_sys::MemoryContext = std::ptr::null_mut();
    // SAFETY: one thread; the context is made once and lives as long as the process.
    unsafe {
        if CONTEXT.is_null() {
            CONTEXT = pg_sys::AllocSetContextCreateExtended(
                pg_sys::TopMemoryContext,
                c"pg_automate top level".as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            );
        } else {
            pg_sys::MemoryContextReset(CONTEXT);
        }
        CONTEXT
    }
}

/// What PostgreSQL does with one statement of a simple query message.
unsafe fn run_portal(source: &CStr) {
    // SAFETY: the steps and their order are those of exec_simple_query, in a context that
    // survives commits.
    unsafe {
        let parsed = pg_sys::pg_parse_query(source.as_ptr());
        let raw = (*(*parsed).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let tag = pg_sys::CreateCommandTag((*raw).stmt);
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(
            raw,
            source.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        );
        let plans = pg_sys::pg_plan_queries(queries, source.as_ptr(), 0, std::ptr::null_mut());
        pg_sys::PopActiveSnapshot();
        let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        pg_sys::PortalDefineQuery(
            portal,
            std::ptr::null(),
            source.as_ptr(),
            tag,
            plans,
            std::ptr::null_mut(),
        );
        pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
        let receiver = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        let mut completion = pg_sys::QueryCompletion { commandTag: tag, nprocessed: 0 };
        pg_sys::PortalRun(portal, c_long::MAX, true, true, receiver, receiver, &mut completion);
        if let Some(destroy) = (*receiver).rDestroy {
            destroy(receiver);
        }
        pg_sys::PortalDrop(portal, false);
    }
}
