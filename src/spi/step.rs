//! A step: code in a subtransaction, whose error is a value and whose effects are then undone.

use crate::error::Failure;
use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use std::panic::AssertUnwindSafe;

/// Runs `f` in a subtransaction. On an error its effects are undone and the error is returned.
pub fn in_subtransaction<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    // SAFETY: the pattern of PL/pgSQL's exception blocks: the caller's memory context and
    // resource owner are put back after either end.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catch(f);
        match result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `f` in a subtransaction that is undone in either case: only its answer stays, and no lock.
pub fn tentatively<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    // SAFETY: as in `in_subtransaction`.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catch(f);
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `f`; an ERROR or a panic in it becomes a value. The transaction is then as it was left:
/// the caller aborts it or its subtransaction.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    let mut done = None;
    let failure = {
        let done = AssertUnwindSafe(&mut done);
        let f = AssertUnwindSafe(f);
        PgTryBuilder::new(move || {
            let (AssertUnwindSafe(done), AssertUnwindSafe(f)) = (done, f);
            *done = Some(f());
            None
        })
        .catch_others(|caught| Some(Failure::from(caught)))
        .catch_rust_panic(|caught| Some(Failure::from(caught)))
        .execute()
    };
    match (done, failure) {
        (_, Some(failure)) => Err(failure),
        (Some(value), None) => Ok(value),
        (None, None) => Err(Failure::internal("a step ended without a result")),
    }
}
