//! May a role do what a statement says? PostgreSQL itself asks when a plan is started, which would be
//! too late to tell the author. No plan is made here: that could evaluate parts of the statement.

use crate::pg;
use pgrx::prelude::*;
use std::ffi::c_void;

/// Raises the error that a run would meet at once.
///
/// # Safety
/// `plan` is alive.
pub unsafe fn check(plan: pg_sys::SPIPlanPtr) {
    // SAFETY: the queries belong to the plan, and are only read.
    unsafe {
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        for source in pg::items::<pg_sys::CachedPlanSource>(sources) {
            for query in pg::items::<pg_sys::Node>((*source).query_list) {
                all_queries(query).into_iter().for_each(|query| check_query(query));
            }
        }
    }
}

unsafe fn check_query(query: *mut pg_sys::Query) {
    // SAFETY: a rewritten query, whose range table says what it needs of each table.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        pg_sys::ExecCheckRTPerms((*query).rtable, true);
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        pg_sys::ExecCheckPermissions((*query).rtable, (*query).rteperminfos, true);
    }
}

/// A query and those inside of it: each has a range table of its own.
unsafe fn all_queries(node: *mut pg_sys::Node) -> Vec<*mut pg_sys::Query> {
    let mut found: Vec<*mut pg_sys::Query> = Vec::new();
    // SAFETY: the walker only collects pointers; it neither fails nor keeps the list.
    unsafe { collect(node, (&raw mut found).cast()) };
    found
}

unsafe extern "C-unwind" fn collect(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    // SAFETY: a node of a query tree, and the list of `all_queries`.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ != pg_sys::NodeTag::T_Query {
            return pg::c::expression_tree_walker(node, collect, found);
        }
        let query = node.cast::<pg_sys::Query>();
        (*found.cast::<Vec<*mut pg_sys::Query>>()).push(query);
        pg::c::query_tree_walker(query, collect, found, 0)
    }
}
