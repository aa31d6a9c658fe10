//! Rules that no change can match, as far as PostgreSQL's provers can tell.

use super::expression;
use super::look::Looked;
use pgrx::prelude::*;
use std::ffi::CString;

/// Why no change can match a rule; None where that was not proved. `written`: it sees rows that
/// have passed the table's constraints.
pub fn reason(rule: &Looked, written: bool) -> Option<String> {
    let text = CString::new(rule.condition.as_deref()?).ok()?;
    let found = rule.as_owner(|| {
        // SAFETY: within a subtransaction; the text outlives the call, and what is made of it lives
        // in the current context.
        unsafe {
            let clause = expression::read("condition", rule.table, &text, rule.sides()).ok()?;
            let planned: *mut pg_sys::Node = expression::plan(clause).cast();
            if is_never_true(planned) {
                return Some("the condition is never true, whatever the row".to_owned());
            }
            let parts = parts(planned.cast());
            if pg_sys::predicate_refuted_by(parts, parts, true) {
                return Some("the condition contradicts itself".to_owned());
            }
            let check = if written { contradicted(rule.table, parts) } else { None };
            check.map(|name| format!("the table's constraint \"{name}\" contradicts the condition"))
        }
    });
    found.ok().flatten()
}

unsafe fn is_never_true(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag says which struct the node is; a boolean is a datum by value.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return false;
        }
        let constant = &*node.cast::<pg_sys::Const>();
        constant.constisnull || constant.constvalue.value() & 0xFF == 0
    }
}

/// The parts of which all must be true.
unsafe fn parts(planned: *mut pg_sys::Expr) -> *mut pg_sys::List {
    // SAFETY: a planned boolean expression.
    unsafe { pg_sys::make_ands_implicit(pg_sys::canonicalize_qual(planned, false)) }
}

/// The CHECK constraint that a row cannot pass when the parts are true of it as new.
unsafe fn contradicted(table: pg_sys::Oid, clauses: *mut pg_sys::List) -> Option<String> {
    // SAFETY: the relation is open while its descriptor is read; the texts are those of
    // expressions over the relation's columns, and copies are made of them.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let constraints = (*(*relation).rd_att).constr;
        let count = if constraints.is_null() { 0 } else { usize::from((*constraints).num_check) };
        let mut found = None;
        for index in 0..count {
            let check = &*(*constraints).check.add(index);
            let expression: *mut pg_sys::Node = pg_sys::stringToNode(check.ccbin).cast();
            // They name the relation as the first of a query, which is what OLD is here.
            crate::pg::guarded(|| {
                crate::pg::c::ChangeVarNodes(expression, expression::OLD, expression::NEW, 0);
            });
            if pg_sys::contain_mutable_functions(expression) {
                continue;
            }
            let constraint = parts(expression::plan(expression));
            if pg_sys::predicate_refuted_by(constraint, clauses, false) {
                let name = std::ffi::CStr::from_ptr(check.ccname);
                found = Some(name.to_string_lossy().into_owned());
                break;
            }
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        found
    }
}
