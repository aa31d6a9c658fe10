//! The tables and functions that a statement uses, as PostgreSQL reads it.

use super::{statement, step};
use crate::error::{Failure, Result};
use crate::pg;
use pgrx::prelude::*;
use std::ffi::c_void;

/// What a statement uses. Operators, types and what belongs to PostgreSQL itself are not told apart
/// here: the caller looks at the OIDs.
#[derive(Default)]
pub struct Objects {
    pub tables: Vec<pg_sys::Oid>,
    pub functions: Vec<pg_sys::Oid>,
}

/// Reads a statement with the rights and the search_path in force; nothing stays of that, no lock
/// either. A statement that changes more than rows uses nothing that could be told.
///
/// The inner error is PostgreSQL's, with the place in the text, counted in characters from 1.
pub fn of(what: &str, text: &str) -> Result<std::result::Result<Objects, (Failure, Option<i32>)>> {
    let source = statement::c_text(what, text)?;
    let mut found = Objects::default();
    let objects = &mut found;
    let read = step::tentatively(|| {
        statement::with_position(|| {
            // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
            unsafe {
                pg_sys::SPI_connect();
                statement::analysed(&source, |plan| add_plan(plan, objects));
                pg_sys::SPI_finish();
            }
        })
    });
    if let Err(refused) = read.map_err(|failure| (failure, None)).flatten() {
        return Ok(Err(refused));
    }
    for list in [&mut found.tables, &mut found.functions] {
        list.sort_by_key(|oid| oid.to_u32());
        list.dedup();
    }
    Ok(Ok(found))
}

/// # Safety
/// `plan` is alive.
unsafe fn add_plan(plan: pg_sys::SPIPlanPtr, found: &mut Objects) {
    // SAFETY: the queries belong to the plan, and are only read.
    unsafe {
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        for source in pg::items::<pg_sys::CachedPlanSource>(sources) {
            for query in pg::items::<pg_sys::Node>((*source).query_list) {
                add(query, (&raw mut *found).cast());
            }
        }
    }
}

unsafe extern "C-unwind" fn add(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: a node of a query tree, and the objects of `of`; the walkers only read.
    unsafe {
        if node.is_null() {
            return false;
        }
        let objects = &mut *found.cast::<Objects>();
        match (*node).type_ {
            T_Query => {
                let query = node.cast::<pg_sys::Query>();
                for entry in pg::items::<pg_sys::RangeTblEntry>((*query).rtable) {
                    if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                        objects.tables.push((*entry).relid);
                    }
                }
                return pg::c::query_tree_walker(query, add, found, 0);
            }
            T_FuncExpr => objects.functions.push((*node.cast::<pg_sys::FuncExpr>()).funcid),
            T_Aggref => objects.functions.push((*node.cast::<pg_sys::Aggref>()).aggfnoid),
            T_WindowFunc => objects.functions.push((*node.cast::<pg_sys::WindowFunc>()).winfnoid),
            _ => {}
        }
        pg::c::expression_tree_walker(node, add, found)
    }
}
