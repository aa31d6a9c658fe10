//! Many rules on one table: those that ask for `new.column = constant` are found by the row's
//! value, so that a thousand of them cost no more than a few.

use super::cache::Test;
use crate::pg;
use pgrx::prelude::*;
use std::collections::HashMap;

/// From so many conditions on, looking up is cheaper than evaluating all.
pub const WORTH_IT: usize = 16;

/// What a condition asks of one column of the new row.
pub struct Equality {
    /// The column's number, from 1.
    column: i16,
    key: Box<[u8]>,
    kind: Kind,
}

/// How a value's bytes are found. Only types whose equality is that of their bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In the datum itself.
    Word,
    /// Sixteen bytes at the datum.
    Uuid,
    /// A variable-length text.
    Text,
}

impl Kind {
    fn of(oid: pg_sys::Oid) -> Option<Kind> {
        match oid {
            pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::INT8OID
            | pg_sys::OIDOID
            | pg_sys::DATEOID => Some(Kind::Word),
            pg_sys::UUIDOID => Some(Kind::Uuid),
            pg_sys::TEXTOID => Some(Kind::Text),
            _ => None,
        }
    }

    /// Hands the bytes of a value that is not NULL to `f`.
    unsafe fn bytes<R>(self, datum: pg_sys::Datum, f: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the caller passes a datum of a type of this kind.
        unsafe {
            match self {
                Kind::Word => f(&(datum.value() as u64).to_ne_bytes()),
                Kind::Uuid => {
                    f(std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>().cast_const(), 16))
                }
                Kind::Text => {
                    let text = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
                    let length = pgrx::varlena::varsize_any_exhdr(text);
                    f(std::slice::from_raw_parts(pgrx::varlena::vardata_any(text).cast(), length))
                }
            }
        }
    }
}

/// A test `new.column = constant` that must hold for the expression to be true, if it has one.
///
/// # Safety
/// `node` is an expression that [`super::expression::analyse`] made.
pub unsafe fn equality(node: *mut pg_sys::Node) -> Option<Equality> {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_BoolExpr => {
                let all = &*node.cast::<pg_sys::BoolExpr>();
                if all.boolop != pg_sys::BoolExprType::AND_EXPR {
                    return None;
                }
                pg::items::<pg_sys::Node>(all.args).find_map(|part| equality(part))
            }
            pg_sys::NodeTag::T_OpExpr => of_operator(&*node.cast::<pg_sys::OpExpr>()),
            _ => None,
        }
    }
}

unsafe fn of_operator(test: &pg_sys::OpExpr) -> Option<Equality> {
    let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: a planned operator with its arguments; look-ups in the catalog.
    unsafe {
        pg_sys::op_input_types(test.opno, &mut left, &mut right);
        let kind = Kind::of(left).filter(|_| left == right)?;
        let is_equal = pg_sys::get_op_opfamily_strategy(test.opno, btree_family(left)?) == 3;
        let exact = kind != Kind::Text || pg_sys::get_collation_isdeterministic(test.inputcollid);
        if !is_equal || !exact {
            return None;
        }
        let args: Vec<_> = pg::items::<pg_sys::Node>(test.args).collect();
        let [a, b] = args.as_slice() else { return None };
        let (column, constant) = match (column(*a), column(*b)) {
            (Some(column), None) => (column, *b),
            (None, Some(column)) => (column, *a),
            _ => return None,
        };
        if (*constant).type_ != pg_sys::NodeTag::T_Const {
            return None;
        }
        let constant = &*constant.cast::<pg_sys::Const>();
        if constant.constisnull {
            return None;
        }
        let key = kind.bytes(constant.constvalue, |bytes| Box::<[u8]>::from(bytes));
        Some(Equality { column, key, kind })
    }
}

/// The default btree family of a type that [`Kind`] knows.
unsafe fn btree_family(oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in the catalog.
    unsafe {
        let class = pg_sys::GetDefaultOpClass(oid, pg_sys::BTREE_AM_OID);
        (class != pg_sys::InvalidOid).then(|| pg_sys::get_opclass_family(class))
    }
}

/// The column of the new row that a node is, also under another name of its type.
unsafe fn column(node: *mut pg_sys::Node) -> Option<i16> {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_RelabelType => {
                column((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                let is_new = var.varno == pg_sys::OUTER_VAR && var.varattno > 0;
                is_new.then_some(var.varattno)
            }
            _ => None,
        }
    }
}

/// The conditions of a table by the values they ask for.
pub struct Index {
    columns: Vec<ByValue>,
    /// Conditions that ask for no single value.
    rest: Vec<Test>,
}

struct ByValue {
    column: i16,
    kind: Kind,
    tests: HashMap<Box<[u8]>, Vec<Test>>,
}

impl Index {
    /// Builds it from the tests and what each asks for.
    pub fn of(tests: Vec<(Test, Option<Equality>)>) -> Index {
        let mut index = Index { columns: Vec::new(), rest: Vec::new() };
        for (test, equality) in tests {
            let Some(equality) = equality else {
                index.rest.push(test);
                continue;
            };
            let same = |c: &&mut ByValue| c.column == equality.column && c.kind == equality.kind;
            if index.columns.iter_mut().find(same).is_none() {
                let (column, kind) = (equality.column, equality.kind);
                index.columns.push(ByValue { column, kind, tests: HashMap::new() });
            }
            if let Some(by_value) = index.columns.iter_mut().find(same) {
                by_value.tests.entry(equality.key).or_default().push(test);
            }
        }
        index
    }

    /// The tests that a new row may pass.
    ///
    /// # Safety
    /// The slot holds a row of the table for which the index was made.
    pub unsafe fn candidates(&self, slot: *mut pg_sys::TupleTableSlot) -> Vec<Test> {
        let mut found = self.rest.clone();
        for by_value in &self.columns {
            // SAFETY: after deforming, the arrays have entries up to the column.
            unsafe {
                if (*slot).tts_nvalid < by_value.column {
                    pg_sys::slot_getsomeattrs_int(slot, i32::from(by_value.column));
                }
                let at = by_value.column as usize - 1;
                if *(*slot).tts_isnull.add(at) {
                    continue;
                }
                let datum = *(*slot).tts_values.add(at);
                let tests = by_value.kind.bytes(datum, |key| by_value.tests.get(key));
                found.extend_from_slice(tests.map_or(&[], Vec::as_slice));
            }
        }
        found
    }
}
