//! What jaq asks of a value: its parts, by index, slice and iteration, read and updated.

use super::allowance::allocate;
use super::bounded::{Bounded, CELL, ENTRY, STRING, object, own_size};
use super::operators::{lift, result, unshare_array, unshare_object};
use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValT as _, ValX};
use jaq_json::{Num, Rc, Val};

const ITERABLE: &str = "iterable (array or object)";

impl Bounded {
    /// Index and value, or key and value, of each part. A shared container is not copied.
    fn pairs(self) -> Result<Box<dyn Iterator<Item = (Bounded, Bounded)>>, Bounded> {
        let chain = self.chain;
        let part = move |v: Val| Bounded::part(v, chain);
        match self.val {
            Val::Arr(items) => {
                let parts: Box<dyn Iterator<Item = Val>> = match Rc::try_unwrap(items) {
                    Ok(items) => Box::new(items.into_iter()),
                    Err(items) => {
                        Box::new((0..items.len()).filter_map(move |i| items.get(i).cloned()))
                    }
                };
                Ok(Box::new(parts.enumerate().map(move |(i, v)| (Bounded::from(i), part(v)))))
            }
            Val::Obj(map) => match Rc::try_unwrap(map) {
                Ok(map) => {
                    Ok(Box::new(map.into_iter().map(move |(k, v)| (Bounded::new(k), part(v)))))
                }
                Err(map) => Ok(Box::new((0..map.len()).filter_map(move |i| {
                    let (k, v) = map.get_index(i)?;
                    Some((Bounded::new(k.clone()), part(v.clone())))
                }))),
            },
            other => Err(Bounded::new(other)),
        }
    }

    /// The value `before` with a part replaced by `added`, or taken away.
    fn replaced(val: Val, before: &Bounded, added: Option<&Bounded>) -> Bounded {
        let mut after = Bounded { val, weight: None, chain: before.chain };
        if let Some(added) = added {
            let part = added.weigh();
            after.weight = before.weight.map(|w| super::bounded::Weight {
                size: w.size + part.size + 2 * ENTRY,
                depth: w.depth.max(part.depth + 1),
            });
        } else {
            after.weight = before.weight;
        }
        // The sum counts what was replaced too: measure before judging.
        let heavy = after.weight.is_some_and(|w| {
            w.size > super::allowance::MAX_SIZE || w.depth > super::allowance::MAX_DEPTH
        });
        if heavy {
            after.weight = None;
            after.weight = Some(after.weigh());
        }
        after
    }

    /// The bounds a slice object names.
    fn slice_of(index: &Val) -> Option<(Option<Bounded>, Option<Bounded>)> {
        let Val::Obj(map) = index else { return None };
        let end = |name: &str| map.get(&Val::utf8_str(name.to_owned())).cloned().map(Bounded::new);
        Some((end("start"), end("end")))
    }

    /// The place in an array of `len` elements that `self` means.
    fn place(&self, len: usize) -> Result<usize, Error<Bounded>> {
        let Val::Num(Num::Int(i)) = self.val else {
            return Err(Error::typ(self.clone(), "integer"));
        };
        let back = || len.checked_sub(i.unsigned_abs());
        let place = if i < 0 { back() } else { Some(i.unsigned_abs()) };
        place
            .filter(|i| *i < len)
            .ok_or_else(|| Error::str(format_args!("index {self} out of bounds")))
    }
}

/// An update of jaq's, on one part.
fn one<'a, I: Iterator<Item = ValX<'a, Bounded>>>(
    f: &impl Fn(Bounded) -> I,
    part: Val,
) -> Result<Option<Bounded>, Exn<'a, Bounded>> {
    f(Bounded::new(part)).next().transpose()
}

impl jaq_core::ValT for Bounded {
    fn from_num(n: &str) -> ValR<Self> {
        allocate(STRING + n.len());
        result(Val::from_num(n))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(iter: I) -> ValR<Self> {
        Ok(object(iter))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self.pairs() {
            Ok(pairs) => Box::new(pairs.map(Ok)),
            Err(v) => box_once(Err(Error::typ(v, ITERABLE))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self.pairs() {
            Ok(pairs) => Box::new(pairs.map(|(_, v)| Ok(v))),
            Err(v) => box_once(Err(Error::typ(v, ITERABLE))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        if let (Val::TStr(_) | Val::BStr(_) | Val::Arr(_), Some((start, end))) =
            (&self.val, Self::slice_of(&index.val))
        {
            return self.range(start.as_ref()..end.as_ref());
        }
        if let (Val::Arr(l), Val::Arr(r)) = (&self.val, &index.val) {
            // The places of one array within the other.
            if !r.is_empty() {
                allocate(2 * CELL * l.len());
            }
        }
        let chain = self.chain;
        match self.val.index(&index.val) {
            Ok(found) => Ok(Bounded::part(found, chain)),
            Err(e) => Err(lift(&e)),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        if let Val::Arr(items) = &self.val {
            allocate((CELL + STRING) * items.len());
        }
        let range = range.start.map(|v| &v.val)..range.end.map(|v| &v.val);
        let chain = self.chain;
        let found = self.val.range(range).map_err(|e| lift(&e))?;
        Ok(Bounded::part(found, chain))
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self.val {
            Val::Arr(_) => {
                let parts = self.pairs().into_iter().flatten();
                parts.flat_map(|(_, v)| f(v)).collect()
            }
            Val::Obj(_) => {
                let parts = self.pairs().into_iter().flatten();
                let mapped = parts.filter_map(|(k, v)| f(v).next().map(|v| Ok((k, v?))));
                let mut failed = None;
                let good = mapped.map_while(|pair: Result<_, Exn<'a, Self>>| {
                    pair.map_err(|e| failed = Some(e)).ok()
                });
                let map = object(good);
                failed.map_or(Ok(map), Err)
            }
            _ => opt.fail(self, |v| Exn::from(Error::typ(v, ITERABLE))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if let (Val::TStr(_) | Val::BStr(_) | Val::Arr(_), Some((start, end))) =
            (&self.val, Self::slice_of(&index.val))
        {
            return self.map_range(start.as_ref()..end.as_ref(), opt, f);
        }
        let before = Bounded { val: Val::Null, weight: self.weight, chain: self.chain };
        let new = match &mut self.val {
            Val::Obj(map) => {
                unshare_object(map);
                let map = Rc::make_mut(map);
                let slot = map.get_mut(&index.val);
                let known = slot.is_some();
                let old = slot.map(std::mem::take).unwrap_or_default();
                let new = one(&f, old)?;
                match &new {
                    Some(new) => {
                        if !known {
                            allocate(2 * ENTRY + own_size(&index.val));
                        }
                        map.insert(index.val.clone(), new.val.clone());
                    }
                    None => drop(map.swap_remove(&index.val)),
                }
                new
            }
            Val::Arr(items) => {
                let place = match index.place(items.len()) {
                    Ok(place) => place,
                    Err(e) => return opt.fail(self, |_| Exn::from(e)),
                };
                unshare_array(items);
                let items = Rc::make_mut(items);
                let old = items.get_mut(place).map(std::mem::take).unwrap_or_default();
                let new = one(&f, old)?;
                match (&new, items.get_mut(place)) {
                    (Some(new), Some(slot)) => *slot = new.val.clone(),
                    _ => {
                        items.remove(place);
                    }
                }
                new
            }
            _ => return opt.fail(self, |v| Exn::from(Error::typ(v, ITERABLE))),
        };
        // A key counts as often as it is new; as a part of the sum it is measured with the rest.
        let key = before.weight.map(|mut w| {
            w.size += if matches!(self.val, Val::Obj(_)) { index.weigh().size } else { 0 };
            w
        });
        let before = Bounded { weight: key, ..before };
        Ok(Self::replaced(self.val, &before, new.as_ref()))
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if !matches!(self.val, Val::Arr(_) | Val::TStr(_) | Val::BStr(_)) {
            return opt.fail(self, |v| Exn::from(Error::typ(v, "array")));
        }
        let middle = match self.clone().range(range.clone()) {
            Ok(middle) => middle,
            Err(e) => return opt.fail(self, |_| Exn::from(e)),
        };
        let (head, tail) = self.around(range, &middle);
        let empty = Bounded::new(match &self.val {
            Val::Arr(_) => Val::Arr(Rc::default()),
            Val::BStr(_) => Val::byte_str(Vec::new()),
            _ => Val::utf8_str(String::new()),
        });
        let new = f(middle).next().transpose()?.unwrap_or(empty);
        match (&self.val, &new.val) {
            (Val::Arr(_), Val::Arr(_))
            | (Val::TStr(_), Val::TStr(_))
            | (Val::BStr(_), Val::BStr(_)) => {}
            (Val::Arr(_), _) => return Err(Exn::from(Error::typ(new, "array"))),
            _ => return Err(Exn::from(Error::typ(new, "string"))),
        }
        ((head + new).map_err(Exn::from)? + tail).map_err(Exn::from)
    }

    fn as_bool(&self) -> bool {
        !matches!(self.val, Val::Null | Val::Bool(false))
    }

    fn into_string(self) -> Self {
        match self.val {
            Val::TStr(s) | Val::BStr(s) => Bounded::new(Val::TStr(s)),
            _ => self.to_json(),
        }
    }
}

impl Bounded {
    /// What stands before and behind the slice `middle` of `self`.
    fn around(&self, range: Range<&Self>, middle: &Self) -> (Bounded, Bounded) {
        let start = range.start.filter(|v| !matches!(v.val, Val::Null));
        let from = Val::from(0usize);
        let head = match start {
            // Nothing before the begin.
            None => self.val.clone().range(Some(&from)..Some(&from)),
            Some(start) => self.val.clone().range(None..Some(&start.val)),
        };
        let head = head.unwrap_or_default();
        let tail = match (&self.val, &head, &middle.val) {
            (Val::Arr(all), Val::Arr(h), Val::Arr(m)) => {
                let rest = all.iter().skip(h.len() + m.len());
                Val::Arr(Rc::new(rest.cloned().collect()))
            }
            (Val::TStr(all), Val::TStr(h), Val::TStr(m)) => {
                Val::utf8_str(all.slice((h.len() + m.len()).min(all.len())..))
            }
            (Val::BStr(all), Val::BStr(h), Val::BStr(m)) => {
                Val::byte_str(all.slice((h.len() + m.len()).min(all.len())..))
            }
            _ => Val::Null,
        };
        if let Val::Arr(items) = &self.val {
            allocate((CELL + STRING) * items.len());
        }
        (Bounded::new(head), Bounded::new(tail))
    }
}

impl jaq_std::ValT for Bounded {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match &self.val {
            Val::Arr(items) => {
                allocate(size_of::<Bounded>() * items.len());
                Ok(self.pairs()?.map(|(_, v)| v).collect())
            }
            _ => Err(self),
        }
    }

    fn is_int(&self) -> bool {
        jaq_std::ValT::is_int(&self.val)
    }

    fn as_isize(&self) -> Option<isize> {
        jaq_std::ValT::as_isize(&self.val)
    }

    fn as_f64(&self) -> Option<f64> {
        jaq_std::ValT::as_f64(&self.val)
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self.val, Val::TStr(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match &self.val {
            Val::TStr(s) | Val::BStr(s) => Some(s),
            _ => None,
        }
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        Bounded::new(jaq_std::ValT::as_sub_str(&self.val, sub))
    }

    fn from_utf8_bytes(b: impl AsRef<[u8]> + Send + 'static) -> Self {
        let len = b.as_ref().len();
        super::allowance::check_size(STRING + len);
        allocate(STRING + len);
        Bounded::new(jaq_std::ValT::from_utf8_bytes(b))
    }
}
