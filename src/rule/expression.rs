//! A rule's condition as PostgreSQL sees it: one boolean expression over the rows new and old,
//! analysed as the WHEN clause of a trigger is.

use super::columns::TableColumns;
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::spi::{statement, step};
use automate_core::rule::Columns;
use automate_core::suggest;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use std::ffi::{CStr, c_int};

/// Range table numbers of the two rows while an expression is analysed, as in CREATE TRIGGER.
pub const OLD: c_int = 1;
pub const NEW: c_int = 2;

/// The first OID that is not PostgreSQL's own.
const FIRST_NORMAL_OID: u32 = 16_384;

/// Which rows a rule can have. Bare column names mean new, or old where there is no new.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    pub new: bool,
    pub old: bool,
}

/// Settings under which every condition is read, in every session.
pub fn fix_settings(search_path: &CStr) {
    pg::set_local(c"standard_conforming_strings", c"on");
    pg::set_local(c"transform_null_equals", c"off");
    pg::set_local(c"search_path", search_path);
}

/// Checks a condition with the rights of the role in force.
pub fn check(relid: pg_sys::Oid, text: &str, sides: Sides, search_path: &CStr) -> Result<()> {
    check_named("condition", relid, text, sides, search_path)
}

/// The same for a text that its author knows by another name.
pub fn check_named(
    what: &str,
    relid: pg_sys::Oid,
    text: &str,
    sides: Sides,
    search_path: &CStr,
) -> Result<()> {
    // SAFETY: the text outlives the call, and an error ends the subtransaction in which it runs.
    check_with(what, relid, text, sides, search_path, |source| unsafe {
        read(what, relid, source, sides)
    })
}

/// The same for a text that is read in another way.
pub fn check_with(
    what: &str,
    relid: pg_sys::Oid,
    text: &str,
    sides: Sides,
    search_path: &CStr,
    read: impl FnOnce(&CStr) -> Result<*mut pg_sys::Node>,
) -> Result<()> {
    let source = statement::c_text(what, text)?;
    let checked = step::in_subtransaction(|| {
        let nest = pg::GucNest::open();
        fix_settings(search_path);
        let result = statement::with_position(|| {
            // SAFETY: what was read is planned; an error ends the subtransaction.
            read(&source)
                .map(|clause| unsafe { plan(clause) })
                .map(|_| ())
                .map_err(|e| e.or_detail(statement::beginning(what, text)))
        });
        nest.undo();
        result.unwrap_or_else(|(failure, position)| {
            let failure = with_hint(failure, relid, sides);
            statement::refuse_text(what, text, failure, position).raise()
        })
    });
    checked.unwrap_or_else(|failure| Err(failure.into()))
}

/// Checks that a text is one expression, so that it can stand in a statement of ours.
pub fn check_shape(text: &str) -> Result<()> {
    let source = statement::c_text("condition", text)?;
    let checked = step::in_subtransaction(|| {
        // SAFETY: as in `check`.
        statement::with_position(|| unsafe { single_expression("condition", &source) }.map(|_| ()))
            .map(|one| one.map_err(|e| e.or_detail(statement::beginning("condition", text))))
            .unwrap_or_else(|(failure, position)| {
                statement::refuse_text("condition", text, failure, position).raise()
            })
    });
    checked.unwrap_or_else(|failure| Err(failure.into()))
}

/// Says the way out where PostgreSQL does not.
fn with_hint(mut failure: Failure, relid: pg_sys::Oid, sides: Sides) -> Failure {
    // PostgreSQL's own hint for a row that is not there speaks of queries.
    if failure.hint.is_none() || failure.code == ERRCODE_UNDEFINED_TABLE {
        failure.hint = match failure.code {
            ERRCODE_UNDEFINED_COLUMN => Some(column_hint(&failure.message, relid, sides)),
            ERRCODE_UNDEFINED_TABLE => Some(match sides {
                Sides { old: false, .. } => "Only new can be named: a rule on insert has no old row.".into(),
                Sides { new: false, .. } => "Only old can be named: a rule on delete has no new row.".into(),
                _ => "Only the rows new and old can be named.".into(),
            }),
            ERRCODE_DATATYPE_MISMATCH => {
                Some("A condition is true or false, such as new.amount > 100.".into())
            }
            ERRCODE_FEATURE_NOT_SUPPORTED | ERRCODE_GROUPING_ERROR => Some(
                "A condition sees one change: compare columns of new and old, or look further in an action.".into(),
            ),
            _ => None,
        };
    }
    failure
}

/// "Did you mean" for `column "x" does not exist` and `column new.x does not exist`.
fn column_hint(message: &str, relid: pg_sys::Oid, sides: Sides) -> String {
    let word = message.strip_prefix("column ").unwrap_or(message);
    let word = word.strip_suffix(" does not exist").unwrap_or(word).trim_matches('"');
    let word = word.strip_prefix("new.").or_else(|| word.strip_prefix("old.")).unwrap_or(word);
    let names = TableColumns::of(relid, sides).names();
    suggest::hint(word, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The one expression that a text is.
unsafe fn single_expression(what: &str, text: &CStr) -> Result<*mut pg_sys::Node> {
    let refuse = || {
        let message = format!("{what}: it is more than one expression");
        Error::refused(ERRCODE_SYNTAX_ERROR, message)
            .with_hint("Write one expression that is true or false, such as new.amount > 100.")
    };
    // SAFETY: the parser makes a list of RawStmt with a SelectStmt for this mode; the fields
    // are those of the struct that the tag names.
    unsafe {
        let list = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let raw: Vec<_> = pg::items::<pg_sys::RawStmt>(list).collect();
        let [raw] = raw.as_slice() else { return Err(refuse()) };
        let node = (**raw).stmt;
        if (*node).type_ != pg_sys::NodeTag::T_SelectStmt {
            return Err(refuse());
        }
        let select = &*node.cast::<pg_sys::SelectStmt>();
        let bare = select.distinctClause.is_null()
            && select.intoClause.is_null()
            && select.fromClause.is_null()
            && select.whereClause.is_null()
            && select.groupClause.is_null()
            && select.havingClause.is_null()
            && select.windowClause.is_null()
            && select.valuesLists.is_null()
            && select.sortClause.is_null()
            && select.limitOffset.is_null()
            && select.limitCount.is_null()
            && select.lockingClause.is_null()
            && select.withClause.is_null()
            && select.op == pg_sys::SetOperation::SETOP_NONE;
        let targets: Vec<_> = pg::items::<pg_sys::ResTarget>(select.targetList).collect();
        match targets.as_slice() {
            [one] if bare && (**one).name.is_null() && (**one).indirection.is_null() => {
                Ok((**one).val)
            }
            _ => Err(refuse()),
        }
    }
}

/// Parses, analyses and plans a condition with the rights of the role in force, in the current
/// memory context. PostgreSQL's own refusals are raised.
///
/// # Safety
/// The text outlives the call. Call it where an error ends a subtransaction or the transaction.
pub unsafe fn analyse(relid: pg_sys::Oid, text: &CStr, sides: Sides) -> Result<*mut pg_sys::Expr> {
    // SAFETY: as the caller promises.
    unsafe {
        let planned = plan(read("condition", relid, text, sides)?);
        pg_sys::convert_saop_to_hashed_saop(planned.cast());
        Ok(planned)
    }
}

/// Parses and analyses a condition, as [`analyse`] does; its variables are of [`OLD`] and [`NEW`].
///
/// # Safety
/// As for [`analyse`].
pub unsafe fn read(
    what: &str,
    relid: pg_sys::Oid,
    text: &CStr,
    sides: Sides,
) -> Result<*mut pg_sys::Node> {
    // SAFETY: as the caller promises; the state is that of the parse.
    unsafe {
        read_as(what, relid, text, sides, |state, node| {
            let kind = pg_sys::ParseExprKind::EXPR_KIND_TRIGGER_WHEN as c_int;
            pg::guarded(|| {
                pg::c::transformWhereClause(state, node, kind, c"the condition".as_ptr())
            })
        })
    }
}

/// The same for an expression that need not be a condition: `transform` analyses it.
///
/// # Safety
/// As for [`analyse`].
pub unsafe fn read_as(
    what: &str,
    relid: pg_sys::Oid,
    text: &CStr,
    sides: Sides,
    transform: impl FnOnce(*mut pg_sys::ParseState, *mut pg_sys::Node) -> *mut pg_sys::Node,
) -> Result<*mut pg_sys::Node> {
    // SAFETY: the calls of CREATE TRIGGER for its WHEN clause, in their order.
    unsafe {
        let node = single_expression(what, text)?;
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = text.as_ptr();
        for (name, there, bare) in [(c"old", sides.old, !sides.new), (c"new", sides.new, sides.new)]
        {
            let item = pg_sys::addRangeTableEntryForRelation(
                state,
                relation,
                pg_sys::AccessShareLock as i32,
                pg_sys::makeAlias(name.as_ptr(), std::ptr::null_mut()),
                false,
                false,
            );
            pg_sys::addNSItemToQuery(state, item, false, there, there && bare);
        }
        let clause = transform(state, node);
        pg_sys::assign_expr_collations(state, clause);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        match refusal(what, clause) {
            Some(error) => Err(error),
            None => Ok(clause),
        }
    }
}

/// Gets an analysed expression ready to be evaluated on two rows. It is changed in place.
///
/// # Safety
/// `clause` comes from [`read`], or is a copy of a part of that. Errors are raised.
pub unsafe fn plan(clause: *mut pg_sys::Node) -> *mut pg_sys::Expr {
    // SAFETY: as the caller promises.
    unsafe {
        pg::guarded(|| pg::c::ChangeVarNodes(clause, OLD, pg_sys::INNER_VAR as c_int, 0));
        pg::guarded(|| pg::c::ChangeVarNodes(clause, NEW, pg_sys::OUTER_VAR as c_int, 0));
        pg_sys::expression_planner(clause.cast())
    }
}

/// What PostgreSQL lets pass in a WHEN clause and we do not.
unsafe fn refusal(what: &str, clause: *mut pg_sys::Node) -> Option<Error> {
    // SAFETY: an analysed expression.
    unsafe {
        if pg_sys::contain_volatile_functions(clause) {
            return Some(
                Error::refused(
                    ERRCODE_INVALID_OBJECT_DEFINITION,
                    format!("{what}: it must not call volatile functions"),
                )
                .with_hint("Use functions that are marked STABLE or IMMUTABLE, and do the rest in an action."),
            );
        }
        let system = pg::items::<pg_sys::Var>(pg_sys::pull_var_clause(clause, 0))
            .any(|var| (*var).varattno < 0);
        system.then(|| {
            Error::refused(
                ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("{what}: it must not use system columns"),
            )
            .with_hint("Name columns of the table; the table itself is in event.table.")
        })
    }
}

/// True when evaluating can neither raise an error nor run anybody's code: comparisons of
/// PostgreSQL's own types and what joins them. It then needs no subtransaction and no role.
///
/// # Safety
/// `node` is null or an expression that [`analyse`] made.
pub unsafe fn is_plain(node: *mut pg_sys::Node, depth: u32) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() || depth > 200 {
        return false;
    }
    // SAFETY: the tag says which struct the node is.
    unsafe {
        let all = |list: *mut pg_sys::List| {
            pg::items::<pg_sys::Node>(list).all(|item| is_plain(item, depth + 1))
        };
        match (*node).type_ {
            T_Const => true,
            T_Var => (*node.cast::<pg_sys::Var>()).varattno > 0,
            T_RelabelType => is_plain((*node.cast::<pg_sys::RelabelType>()).arg.cast(), depth + 1),
            T_BoolExpr => all((*node.cast::<pg_sys::BoolExpr>()).args),
            T_BooleanTest => is_plain((*node.cast::<pg_sys::BooleanTest>()).arg.cast(), depth + 1),
            T_NullTest => {
                let test = &*node.cast::<pg_sys::NullTest>();
                !test.argisrow && is_plain(test.arg.cast(), depth + 1)
            }
            T_OpExpr | T_DistinctExpr => {
                let test = &*node.cast::<pg_sys::OpExpr>();
                is_comparison(test.opno) && all(test.args)
            }
            T_ScalarArrayOpExpr => {
                let test = &*node.cast::<pg_sys::ScalarArrayOpExpr>();
                is_comparison(test.opno) && all(test.args)
            }
            _ => false,
        }
    }
}

/// A built-in =, <>, <, <=, > or >= of types that are neither rows nor families of types.
unsafe fn is_comparison(operator: pg_sys::Oid) -> bool {
    if operator.to_u32() >= FIRST_NORMAL_OID {
        return false;
    }
    let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: catalog look-ups of an operator that exists.
    unsafe {
        pg_sys::op_input_types(operator, &mut left, &mut right);
        let own = |oid| !pg_sys::type_is_rowtype(oid) && pg_sys::get_typtype(oid) != b'p' as i8;
        own(left) && own(right) && !pg_sys::get_op_btree_interpretation(operator).is_null()
    }
}
