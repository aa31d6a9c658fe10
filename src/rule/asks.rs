//! What a condition asks of one column, so that rules can be found by a row's values: equality with
//! one of some constants, or a place between two.

use crate::pg;
use pgrx::prelude::*;
use std::ffi::c_int;

/// Bytes that stand for a value of an equality.
pub type Key = Box<[u8]>;

/// What a condition asks of a column; it cannot be true of a row whose value is another.
pub struct Ask {
    pub column: Column,
    pub of: Of,
}

/// A column of the new row or of the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub is_old: bool,
    /// Attribute number, from 1.
    pub number: i16,
}

pub enum Of {
    /// One of these values.
    Values(Kind, Vec<Key>),
    Between(Order, Bounds),
}

/// Constants, which live as long as their expression. The ends belong to it, even where the
/// condition leaves them out: who is found is evaluated anyway.
#[derive(Clone, Copy, Default)]
pub struct Bounds {
    pub low: Option<pg_sys::Datum>,
    pub high: Option<pg_sys::Datum>,
}

/// How values are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The comparison function of the type's default btree operator class.
    pub compare: pg_sys::Oid,
    pub collation: pg_sys::Oid,
}

/// How a value's bytes are found. Only types whose equality is that of their bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In the datum itself; whole numbers of all widths are the same there.
    Word,
    /// Sixteen bytes at the datum.
    Uuid,
    /// A variable-length text.
    Text,
}

impl Kind {
    fn of(oid: pg_sys::Oid) -> Option<Kind> {
        match oid {
            pg_sys::OIDOID | pg_sys::DATEOID => Some(Kind::Word),
            pg_sys::UUIDOID => Some(Kind::Uuid),
            pg_sys::TEXTOID => Some(Kind::Text),
            oid if is_whole(oid) => Some(Kind::Word),
            _ => None,
        }
    }

    /// Hands the bytes of a value that is not NULL to `f`.
    ///
    /// # Safety
    /// The datum is of a type of this kind.
    pub unsafe fn bytes<R>(self, datum: pg_sys::Datum, f: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: as the caller promises.
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

fn is_whole(oid: pg_sys::Oid) -> bool {
    matches!(oid, pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID)
}

/// The most telling thing that must hold for an expression to be true, if there is one: equality,
/// then a range with two ends, then one with one.
///
/// # Safety
/// `node` is an expression that [`super::expression::analyse`] made.
pub unsafe fn of(node: *mut pg_sys::Node) -> Option<Ask> {
    let mut tests = Vec::new();
    // SAFETY: as the caller promises.
    unsafe { conjuncts(node, &mut tests) };
    let mut ranges: Vec<Ask> = Vec::new();
    for ask in tests {
        match ask.of {
            Of::Values(..) => return Some(ask),
            Of::Between(order, bounds) => {
                let same = ranges.iter_mut().find_map(|range| match &mut range.of {
                    Of::Between(other, known) if range.column == ask.column && *other == order => {
                        Some(known)
                    }
                    _ => None,
                });
                match same {
                    Some(known) => {
                        known.low = known.low.or(bounds.low);
                        known.high = known.high.or(bounds.high);
                    }
                    None => ranges.push(ask),
                }
            }
        }
    }
    let ends = |ask: &Ask| match &ask.of {
        Of::Between(_, bounds) => {
            usize::from(bounds.low.is_some()) + usize::from(bounds.high.is_some())
        }
        Of::Values(..) => 0,
    };
    // The first of those with most ends.
    ranges.into_iter().rev().max_by_key(ends)
}

/// What the parts of an AND ask, in their order.
unsafe fn conjuncts(node: *mut pg_sys::Node, found: &mut Vec<Ask>) {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_BoolExpr => {
                let all = &*node.cast::<pg_sys::BoolExpr>();
                if all.boolop == pg_sys::BoolExprType::AND_EXPR {
                    for part in pg::items::<pg_sys::Node>(all.args) {
                        conjuncts(part, found);
                        // Nothing is more telling.
                        if found.last().is_some_and(|ask| matches!(ask.of, Of::Values(..))) {
                            return;
                        }
                    }
                }
            }
            pg_sys::NodeTag::T_OpExpr => {
                found.extend(of_operator(&*node.cast::<pg_sys::OpExpr>()));
            }
            pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                found.extend(of_list(&*node.cast::<pg_sys::ScalarArrayOpExpr>()));
            }
            _ => {}
        }
    }
}

const LESS: c_int = 1;
const AT_MOST: c_int = 2;
const EQUAL: c_int = 3;
const AT_LEAST: c_int = 4;
const GREATER: c_int = 5;

/// What an operator means for the default order of the types that it compares.
struct Comparison {
    strategy: c_int,
    /// The type on both sides; int8 for whole numbers of any widths.
    oid: pg_sys::Oid,
    family: pg_sys::Oid,
}

unsafe fn comparison(operator: pg_sys::Oid) -> Option<Comparison> {
    let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: look-ups in the catalog.
    unsafe {
        pg_sys::op_input_types(operator, &mut left, &mut right);
        let oid = match left == right {
            true => left,
            false if is_whole(left) && is_whole(right) => pg_sys::INT8OID,
            false => return None,
        };
        let family =
            (*pg_sys::lookup_type_cache(left, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32)).btree_opf;
        if family == pg_sys::InvalidOid {
            return None;
        }
        let strategy = pg_sys::get_op_opfamily_strategy(operator, family);
        (strategy != 0).then_some(Comparison { strategy, oid, family })
    }
}

unsafe fn of_operator(test: &pg_sys::OpExpr) -> Option<Ask> {
    // SAFETY: a planned operator with its arguments.
    unsafe {
        let args: Vec<_> = pg::items::<pg_sys::Node>(test.args).collect();
        let [a, b] = args.as_slice() else { return None };
        let (column, constant, is_swapped) = match (column(*a), column(*b)) {
            (Some(column), None) => (column, constant(*b)?, false),
            (None, Some(column)) => (column, constant(*a)?, true),
            _ => return None,
        };
        let found = comparison(test.opno)?;
        let of = match (found.strategy, is_swapped) {
            (EQUAL, _) => match kind_of(found.oid, test.inputcollid) {
                Some(kind) => {
                    Of::Values(kind, vec![kind.bytes(constant, |bytes| Key::from(bytes))])
                }
                None => Of::Between(
                    order_of(&found, test.inputcollid)?,
                    Bounds { low: Some(constant), high: Some(constant) },
                ),
            },
            (LESS | AT_MOST, false) | (AT_LEAST | GREATER, true) => Of::Between(
                order_of(&found, test.inputcollid)?,
                Bounds { high: Some(constant), ..Bounds::default() },
            ),
            _ => Of::Between(
                order_of(&found, test.inputcollid)?,
                Bounds { low: Some(constant), ..Bounds::default() },
            ),
        };
        Some(Ask { column, of })
    }
}

/// `column IN (constants)`.
unsafe fn of_list(test: &pg_sys::ScalarArrayOpExpr) -> Option<Ask> {
    // SAFETY: a planned operator with its arguments; the constant is an array of the type on the
    // operator's right.
    unsafe {
        let args: Vec<_> = pg::items::<pg_sys::Node>(test.args).collect();
        let [a, b] = args.as_slice() else { return None };
        let (column, array) = (column(*a)?, constant(*b)?);
        let found = comparison(test.opno)?;
        if !test.useOr || found.strategy != EQUAL {
            return None;
        }
        let kind = kind_of(found.oid, test.inputcollid)?;
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let member = (*array).elemtype;
        let (mut length, mut by_value, mut align) = (0i16, false, 0);
        pg_sys::get_typlenbyvalalign(member, &mut length, &mut by_value, &mut align);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            member,
            i32::from(length),
            by_value,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        let mut keys: Vec<Key> = (0..count as usize)
            .filter(|i| !*nulls.add(*i))
            .map(|i| kind.bytes(*values.add(i), |bytes| Key::from(bytes)))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        Some(Ask { column, of: Of::Values(kind, keys) })
    }
}

/// How values of the type are found by their bytes, if equal ones have the same.
unsafe fn kind_of(oid: pg_sys::Oid, collation: pg_sys::Oid) -> Option<Kind> {
    let kind = Kind::of(oid)?;
    // SAFETY: a look-up in the catalog.
    let exact = kind != Kind::Text || unsafe { pg_sys::get_collation_isdeterministic(collation) };
    exact.then_some(kind)
}

unsafe fn order_of(found: &Comparison, collation: pg_sys::Oid) -> Option<Order> {
    const COMPARE: i16 = 1;
    // SAFETY: a look-up in the catalog.
    let compare = unsafe { pg_sys::get_opfamily_proc(found.family, found.oid, found.oid, COMPARE) };
    (compare != pg_sys::InvalidOid).then_some(Order { compare, collation })
}

/// The value of a constant that is not NULL.
unsafe fn constant(node: *mut pg_sys::Node) -> Option<pg_sys::Datum> {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return None;
        }
        let constant = &*node.cast::<pg_sys::Const>();
        (!constant.constisnull).then_some(constant.constvalue)
    }
}

/// The column that a node is, also under another name of its type.
unsafe fn column(node: *mut pg_sys::Node) -> Option<Column> {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_RelabelType => {
                column((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            pg_sys::NodeTag::T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                let is_row = var.varno == pg_sys::OUTER_VAR || var.varno == pg_sys::INNER_VAR;
                (is_row && var.varattno > 0).then_some(Column {
                    is_old: var.varno == pg_sys::INNER_VAR,
                    number: var.varattno,
                })
            }
            _ => None,
        }
    }
}
