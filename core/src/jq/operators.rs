//! Arithmetic on bounded values: the memory of a result is paid for before jaq builds it.

use super::allowance::{allocate, check_size};
use super::bounded::{Bounded, CELL, ENTRY, STRING, Weight, check_integer, shown};
use jaq_core::ops::Math;
use jaq_core::{Error, ValR};
use jaq_json::{Map, Num, Rc, Val};
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

/// Bytes of an element of a copied array: itself and the handle of a string.
const ELEMENT: usize = CELL + STRING;
/// Bytes of an entry of a copied object.
const COPY: usize = ENTRY + 2 * ELEMENT;

/// An error of jaq's about one of its values, its text cut where that is long.
pub(super) fn lift(error: &jaq_json::Error) -> Error<Bounded> {
    Error::str(shown(error))
}

/// A result of jaq's whose weight is not known yet.
pub(super) fn result(found: Result<Val, jaq_json::Error>) -> ValR<Bounded> {
    found.map(Bounded::new).map_err(|e| lift(&e))
}

/// Pays for the copy that writing to a shared array makes.
pub(super) fn unshare_array(items: &Rc<Vec<Val>>) {
    if Rc::strong_count(items) > 1 {
        allocate(ELEMENT * items.len());
    }
}

/// Pays for the copy that writing to a shared object makes.
pub(super) fn unshare_object(map: &Rc<Map>) {
    if Rc::strong_count(map) > 1 {
        allocate(COPY * map.len());
    }
}

/// A number as the result; integers stay within reason.
fn number(n: Num) -> ValR<Bounded> {
    check_integer(&n);
    Ok(Bounded::new(Val::Num(n)))
}

/// The weight of two containers in one.
fn together(l: &Bounded, r: &Bounded) -> Weight {
    let (l, r) = (l.weigh(), r.weigh());
    let size = l.size + r.size;
    check_size(size);
    Weight { size, depth: l.depth.max(r.depth) }
}

/// Pays for text of `added` bytes behind the text `l`.
fn pay_append(len: usize, unique: bool, added: usize) {
    check_size(STRING + len + added);
    allocate(STRING + 2 * added + if unique { 0 } else { len });
}

impl Add for Bounded {
    type Output = ValR<Self>;
    fn add(self, rhs: Self) -> ValR<Self> {
        match (&self.val, &rhs.val) {
            (Val::Null, _) => return Ok(rhs),
            (_, Val::Null) => return Ok(self),
            (Val::Num(_), Val::Num(_)) => {}
            (Val::TStr(l), Val::TStr(r)) | (Val::BStr(l), Val::BStr(r)) => {
                pay_append(l.len(), l.is_unique(), r.len());
            }
            (Val::Arr(l), Val::Arr(r)) => {
                let weight = together(&self, &rhs);
                unshare_array(l);
                allocate((2 * CELL + STRING) * r.len());
                return (self.val + rhs.val)
                    .map(|v| Bounded::weighed(v, weight))
                    .map_err(|e| lift(&e));
            }
            (Val::Obj(l), Val::Obj(r)) => {
                let weight = together(&self, &rhs);
                unshare_object(l);
                allocate((ENTRY + COPY) * r.len());
                return (self.val + rhs.val)
                    .map(|v| Bounded::weighed(v, weight))
                    .map_err(|e| lift(&e));
            }
            _ => return Err(Error::math(self, Math::Add, rhs)),
        }
        let sum = result(self.val + rhs.val)?;
        if let Val::Num(n) = &sum.val {
            check_integer(n);
        }
        Ok(sum)
    }
}

impl Sub for Bounded {
    type Output = ValR<Self>;
    fn sub(self, rhs: Self) -> ValR<Self> {
        match (self.val, rhs.val) {
            (Val::Num(l), Val::Num(r)) => number(l - r),
            (Val::Arr(l), Val::Arr(r)) => {
                let (l, r) = (Bounded::new(Val::Arr(l)), Bounded::new(Val::Arr(r)));
                let weight = l.weigh();
                r.weigh();
                if let (Val::Arr(l), Val::Arr(r)) = (&l.val, &r.val) {
                    unshare_array(l);
                    allocate(2 * CELL * r.len());
                }
                let less = (l.val - r.val).map_err(|e| lift(&e))?;
                Ok(Bounded::weighed(less, weight))
            }
            (l, r) => Err(Error::math(Bounded::new(l), Math::Sub, Bounded::new(r))),
        }
    }
}

/// Times a string is repeated, if `n` can say so.
fn times(n: &Num) -> Option<usize> {
    match n {
        Num::Int(i) => Some(usize::try_from(*i).unwrap_or(0)),
        Num::BigInt(i) => Some(if i.bits() > 0 && n < &Num::Int(0) { 0 } else { usize::MAX }),
        _ => None,
    }
}

impl Mul for Bounded {
    type Output = ValR<Self>;
    fn mul(self, rhs: Self) -> ValR<Self> {
        match (&self.val, &rhs.val) {
            (Val::Num(_), Val::Num(_)) => {}
            (Val::TStr(s) | Val::BStr(s), Val::Num(n))
            | (Val::Num(n), Val::TStr(s) | Val::BStr(s)) => {
                // An empty string repeated is empty however often; jaq finds that at once.
                let bytes = STRING.saturating_add(s.len().saturating_mul(times(n).unwrap_or(0)));
                check_size(bytes);
                allocate(bytes);
            }
            (Val::Obj(l), Val::Obj(r)) => {
                let weight = together(&self, &rhs);
                let nested = r.iter().any(|(k, v)| {
                    matches!(v, Val::Obj(_)) && matches!(l.get(k), Some(Val::Obj(_)))
                });
                // Merging within copies the inner objects too.
                if nested {
                    allocate(3 * weight.size);
                } else {
                    unshare_object(l);
                    allocate((ENTRY + COPY) * r.len());
                }
                let merged = (self.val * rhs.val).map_err(|e| lift(&e))?;
                return Ok(Bounded::weighed(merged, weight));
            }
            _ => return Err(Error::math(self, Math::Mul, rhs)),
        }
        let product = result(self.val * rhs.val)?;
        if let Val::Num(n) = &product.val {
            check_integer(n);
        }
        Ok(product)
    }
}

/// At most this many parts are between the separators `sep` of `text`.
fn count_parts(text: &[u8], sep: &[u8]) -> usize {
    let Some(first) = sep.first() else { return text.len() };
    let mut count = 1;
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| b == first) {
        rest = &rest[at..];
        let found = rest.starts_with(sep);
        count += usize::from(found);
        rest = &rest[if found { sep.len() } else { 1 }..];
    }
    count
}

impl Div for Bounded {
    type Output = ValR<Self>;
    fn div(self, rhs: Self) -> ValR<Self> {
        match (&self.val, &rhs.val) {
            (Val::Num(_), Val::Num(_)) => {}
            (Val::TStr(l), Val::TStr(r)) | (Val::BStr(l), Val::BStr(r)) => {
                let parts = count_parts(l, r).saturating_mul(STRING + 2 * CELL);
                check_size(parts + l.len());
                allocate(parts);
            }
            _ => return Err(Error::math(self, Math::Div, rhs)),
        }
        result(self.val / rhs.val)
    }
}

impl Rem for Bounded {
    type Output = ValR<Self>;
    fn rem(self, rhs: Self) -> ValR<Self> {
        match (&self.val, &rhs.val) {
            (Val::Num(_), Val::Num(_)) => result(self.val % rhs.val),
            _ => Err(Error::math(self, Math::Rem, rhs)),
        }
    }
}

impl Neg for Bounded {
    type Output = ValR<Self>;
    fn neg(self) -> ValR<Self> {
        result(-self.val)
    }
}
