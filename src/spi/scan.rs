//! Tables that a statement would read from begin to end: its plan, made but never begun.

use super::statement;
use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;
use std::ffi::{CStr, c_int};

/// A table that is read as a whole.
pub struct SeqScan {
    pub table: pg_sys::Oid,
    /// Rows that the planner expects to be left.
    pub left: f64,
    /// Columns that are compared with what is known when the scan begins; true: for equality.
    pub columns: Vec<(i16, bool)>,
}

/// The scans of whole tables that a statement's plan has when its parameters are not known, with
/// the rights that are in force. Call it in a subtransaction.
pub fn whole_tables(text: &str) -> Result<Vec<SeqScan>> {
    let source = statement::c_text("statement", text)?;
    // SAFETY: connect and finish in pairs; an error ends the enclosing subtransaction.
    unsafe { pg_sys::SPI_connect() };
    let mut types = statement::infer_types(&source);
    // SAFETY: the text and the types outlive the call; what is planned is a copy, since planning
    // changes it. All of it goes with the connection.
    let found = unsafe {
        let plan = pg_sys::SPI_prepare(source.as_ptr(), types.len() as c_int, types.as_mut_ptr());
        if plan.is_null() {
            return Err(Error::Internal("cannot prepare a statement".into()));
        }
        let mut found = Vec::new();
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        for known in pg::items::<pg_sys::CachedPlanSource>(sources) {
            for query in pg::items::<pg_sys::Query>((*known).query_list) {
                if (*query).commandType != pg_sys::CmdType::CMD_UTILITY {
                    let copy = pg_sys::copyObjectImpl(query.cast_const().cast());
                    let none = std::ptr::null_mut();
                    let planned = pg_sys::pg_plan_query(copy.cast(), source.as_ptr(), 0, none);
                    look(planned, &mut found);
                }
            }
        }
        found
    };
    // SAFETY: as above.
    unsafe { pg_sys::SPI_finish() };
    Ok(found)
}

/// # Safety
/// The plan is one of the planner's.
unsafe fn look(planned: *mut pg_sys::PlannedStmt, found: &mut Vec<SeqScan>) {
    // SAFETY: the lists hold what their names say.
    unsafe {
        let tables: Vec<*mut pg_sys::RangeTblEntry> = pg::items((*planned).rtable).collect();
        visit((*planned).planTree, &tables, found);
        for plan in pg::items::<pg_sys::Plan>((*planned).subplans) {
            visit(plan, &tables, found);
        }
    }
}

/// # Safety
/// A node of a plan, or null; the tables are those of the plan.
unsafe fn visit(
    plan: *mut pg_sys::Plan,
    tables: &[*mut pg_sys::RangeTblEntry],
    found: &mut Vec<SeqScan>,
) {
    if plan.is_null() {
        return;
    }
    // SAFETY: the tag tells the kind of the node; a deep plan ends in an ERROR.
    unsafe {
        pg_sys::check_stack_depth();
        let inner = match (*plan).type_ {
            pg_sys::NodeTag::T_SeqScan => {
                found.extend(scan(plan, tables));
                std::ptr::null_mut()
            }
            pg_sys::NodeTag::T_Append => (*plan.cast::<pg_sys::Append>()).appendplans,
            pg_sys::NodeTag::T_MergeAppend => (*plan.cast::<pg_sys::MergeAppend>()).mergeplans,
            pg_sys::NodeTag::T_SubqueryScan => {
                visit((*plan.cast::<pg_sys::SubqueryScan>()).subplan, tables, found);
                std::ptr::null_mut()
            }
            _ => std::ptr::null_mut(),
        };
        for plan in pg::items::<pg_sys::Plan>(inner) {
            visit(plan, tables, found);
        }
        visit((*plan).lefttree, tables, found);
        visit((*plan).righttree, tables, found);
    }
}

/// # Safety
/// The plan is a scan of one of the tables.
unsafe fn scan(plan: *mut pg_sys::Plan, tables: &[*mut pg_sys::RangeTblEntry]) -> Option<SeqScan> {
    // SAFETY: a scan begins with the fields of Scan; its place counts from 1.
    unsafe {
        let place = (*plan.cast::<pg_sys::Scan>()).scanrelid;
        let table = (**tables.get((place as usize).checked_sub(1)?)?).relid;
        let conditions = pg::items::<pg_sys::Node>((*plan).qual);
        let columns = conditions.filter_map(|node| condition(node)).collect();
        Some(SeqScan { table, left: (*plan).plan_rows, columns })
    }
}

/// The column of a comparison with what is known beforehand, if an index can answer it.
///
/// # Safety
/// A condition of a scan.
unsafe fn condition(node: *mut pg_sys::Node) -> Option<(i16, bool)> {
    // SAFETY: the tag tells the kind of the node.
    let (operator, args, of_array) = unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_OpExpr => {
                let node = node.cast::<pg_sys::OpExpr>();
                ((*node).opno, (*node).args, false)
            }
            pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                let node = node.cast::<pg_sys::ScalarArrayOpExpr>();
                if !(*node).useOr {
                    return None;
                }
                ((*node).opno, (*node).args, true)
            }
            _ => return None,
        }
    };
    // SAFETY: an operator's look-ups, and its arguments.
    unsafe {
        if pg_sys::get_op_btree_interpretation(operator).is_null() {
            return None;
        }
        let name = pg_sys::get_opname(operator);
        let is_equal = !name.is_null() && CStr::from_ptr(name) == c"=";
        let is_other = !name.is_null() && CStr::from_ptr(name) == c"<>";
        let sides: Vec<*mut pg_sys::Node> = pg::items(args).collect();
        let [left, right] = sides[..] else { return None };
        let is_known = |side: *mut pg_sys::Node| !pg_sys::contain_var_clause(side);
        let column = match (column(left), column(right)) {
            (Some(column), None) if is_known(right) => column,
            (None, Some(column)) if is_known(left) && !of_array => column,
            _ => return None,
        };
        (!is_other && (is_equal || !of_array)).then_some((column, is_equal))
    }
}

/// # Safety
/// An argument of a comparison.
unsafe fn column(mut node: *mut pg_sys::Node) -> Option<i16> {
    // SAFETY: the tag tells the kind of the node.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_RelabelType {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        if (*node).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        let column = (*node.cast::<pg_sys::Var>()).varattno;
        (column > 0).then_some(column)
    }
}
