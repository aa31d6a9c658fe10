//! Our own statements: constant text, kept plans, the extension owner's id, a fixed search_path.
//! A user's text never comes here.

use crate::error::{Error, Result};
use crate::pg;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_char};

/// Proof that the extension owner's id is in force and SPI is connected.
pub struct Own(());

thread_local! {
    /// Kept plans by the address of their constant text.
    static PLANS: RefCell<HashMap<usize, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// The id under which our statements run: the owner of the extension's schema.
pub fn extension_owner() -> Result<pg_sys::Oid> {
    // SAFETY: catalog look-ups in a transaction; the tuple is released before we return.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"automate".as_ptr(), true);
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(schema),
        );
        if tuple.is_null() {
            return Err(Error::NotInstalled);
        }
        let form = pg_sys::GETSTRUCT(tuple) as *mut pg_sys::FormData_pg_namespace;
        let owner = (*form).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        Ok(owner)
    }
}

/// Restores the caller's id, also while an error unwinds.
struct Id {
    user: pg_sys::Oid,
    context: i32,
}

impl Id {
    fn switch_to(user: pg_sys::Oid, add: u32) -> Id {
        let mut old = Id { user: pg_sys::InvalidOid, context: 0 };
        // SAFETY: both only read and write process-local variables; SECURITY_LOCAL_USERID_CHANGE
        // keeps SET ROLE out while the id is ours.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut old.user, &mut old.context);
            pg_sys::SetUserIdAndSecContext(user, old.context | add as i32);
        }
        old
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: assigns two process-local variables; cannot raise, so it is safe while unwinding.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) }
    }
}

/// Runs `f` with the rights of a role and nothing that could outlive it: no SET ROLE, no
/// temporary tables, no deferred work.
pub fn as_role<R>(role: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let _id = Id::switch_to(
        role,
        pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION,
    );
    f()
}

/// Runs `f` with the rights of a role, as PostgreSQL does the work of its foreign keys: it may
/// write, deferred constraints included, but not SET ROLE.
pub fn acting_as<R>(role: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let _id = Id::switch_to(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE);
    f()
}

/// Runs our statements as the extension's owner, with SPI connected.
pub fn as_extension<R>(f: impl FnOnce(&Own) -> Result<R>) -> Result<R> {
    let owner = extension_owner()?;
    let _id = Id::switch_to(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE);
    let nest = pg::GucNest::open();
    pg::set_local(c"search_path", c"pg_catalog, pg_temp");
    // SAFETY: connected and finished in pairs; on an ERROR the (sub)transaction's abort cleans up.
    unsafe { pg_sys::SPI_connect() };
    let result = f(&Own(()));
    // SAFETY: as above.
    unsafe { pg_sys::SPI_finish() };
    nest.undo();
    result
}

/// The rows of an answer; gone with the enclosing [`as_extension`].
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    pub processed: u64,
}

impl Rows {
    pub fn len(&self) -> usize {
        if self.table.is_null() { 0 } else { self.processed as usize }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell, by row and by column from 1; None for NULL.
    pub fn get<T: FromDatum>(&self, row: usize, column: usize) -> Option<T> {
        if row >= self.len() {
            return None;
        }
        let mut is_null = false;
        // SAFETY: the table is alive while SPI is connected, the row is in range, and SPI answers
        // a column out of range with an invalid-attribute result and null.
        unsafe {
            let tuple = *(*self.table).vals.add(row);
            let datum =
                pg_sys::SPI_getbinval(tuple, (*self.table).tupdesc, column as i32, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }
}

impl Own {
    /// For statements on tables that grow, such as the workers' on the queue: always by index, also when the plan was made
    /// while the table was empty and is used when it holds a million rows.
    pub fn plan_for_queue(&self) {
        for name in [c"enable_seqscan", c"enable_hashjoin", c"enable_mergejoin", c"jit"] {
            pg::set_local(name, c"off");
        }
        pg::set_local(c"plan_cache_mode", c"force_generic_plan");
    }

    /// The same for statements that find a list of rows by their keys. A plan that was made while the
    /// table was empty would rather go through all of it, and look each row up in the list.
    pub fn plan_by_key(&self) {
        self.plan_for_queue();
        for name in [c"enable_indexscan", c"enable_memoize"] {
            pg::set_local(name, c"off");
        }
    }

    /// Runs a constant statement with a kept plan.
    pub fn run(&self, sql: &'static str, args: &[DatumWithOid]) -> Result<Rows> {
        execute(sql, args, false)
    }

    /// Runs a constant query that sees all that has committed by now, also in a transaction that
    /// keeps to its first snapshot.
    pub fn run_latest(&self, sql: &'static str, args: &[DatumWithOid]) -> Result<Rows> {
        // SAFETY: pushed and popped in pairs; on an ERROR the (sub)transaction's abort cleans up.
        // A query that is read-only takes the active snapshot.
        unsafe {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            let rows = execute(sql, args, true);
            pg_sys::PopActiveSnapshot();
            rows
        }
    }

    /// The first cell of the first row.
    pub fn one<T: FromDatum>(&self, sql: &'static str, args: &[DatumWithOid]) -> Result<Option<T>> {
        Ok(self.run(sql, args)?.get(0, 1))
    }
}

fn execute(sql: &'static str, args: &[DatumWithOid], read_only: bool) -> Result<Rows> {
    let mut types: Vec<pg_sys::Oid> = args.iter().map(|a| a.oid()).collect();
    let plan = plan(sql, &mut types)?;
    let mut values: Vec<pg_sys::Datum> = args
        .iter()
        .map(|a| a.datum().map_or(pg_sys::Datum::from(0), |d| d.sans_lifetime()))
        .collect();
    let nulls: Vec<c_char> =
        args.iter().map(|a| if a.datum().is_none() { b'n' } else { b' ' } as c_char).collect();
    // SAFETY: the plan is kept for the life of the process and takes exactly these arguments.
    let code = unsafe {
        pg_sys::SPI_tuptable = std::ptr::null_mut();
        pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0)
    };
    if code < 0 {
        return Err(Error::Internal(format!("SPI answered {code} for: {sql}")));
    }
    // SAFETY: set by the call above.
    unsafe { Ok(Rows { table: pg_sys::SPI_tuptable, processed: pg_sys::SPI_processed }) }
}

fn plan(sql: &'static str, types: &mut [pg_sys::Oid]) -> Result<pg_sys::SPIPlanPtr> {
    let key = sql.as_ptr() as usize;
    if let Some(plan) = PLANS.with_borrow(|p| p.get(&key).copied()) {
        return Ok(plan);
    }
    let text = CString::new(sql).map_err(|_| Error::Internal("NUL in a constant".into()))?;
    // SAFETY: prepared while SPI is connected, then kept: it survives the transaction.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
        if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
            return Err(Error::Internal(format!("cannot prepare: {sql}")));
        }
        plan
    };
    PLANS.with_borrow_mut(|p| p.insert(key, plan));
    Ok(plan)
}
