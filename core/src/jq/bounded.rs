//! jq values that cannot outgrow their bounds.
//!
//! A [`Bounded`] is jaq's own value with what is known of its weight: bytes counted as a tree
//! (shared parts as often as they appear) and levels. Values are immutable to jq, so the weight
//! of what is built follows from the weights of its parts; that of a part taken out of a
//! container is measured when something is built of it. Each operation pays for its memory
//! before it allocates. `operators` holds the arithmetic, `access` the paths.

use super::allowance::{MAX_CHAIN, allocate, check_depth, check_size, stop, visit};
use jaq_core::val::Range;
use jaq_json::{Map, Num, Val};
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// Bytes of any value in itself.
pub(super) const CELL: usize = 16;
/// Bytes of a string besides its text.
pub(super) const STRING: usize = 64;
/// Bytes of an entry of an object besides its key and value: hash, index and room to grow.
pub(super) const ENTRY: usize = 64;
/// Bits of an integer. JSON holds 64; this leaves room for sums and products in between.
const MAX_BITS: u64 = 8 * 1024;
/// Bytes of a value in the text of an error.
const MAX_SHOWN: usize = 4 * 1024;

/// Bytes and levels of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    pub size: usize,
    pub depth: usize,
}

impl Weight {
    pub const CELL: Weight = Weight { size: CELL, depth: 0 };
    /// An empty array or object.
    pub const EMPTY: Weight = Weight { size: ENTRY, depth: 1 };

    /// The weight with one more part of weight `part`, or leaves.
    pub fn with(self, part: Weight) -> Weight {
        let sum = Weight { size: self.size + part.size, depth: self.depth.max(part.depth + 1) };
        check_size(sum.size);
        check_depth(sum.depth);
        sum
    }
}

/// A jq value within bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounded {
    pub val: Val,
    /// At most this, where it is known.
    pub weight: Option<Weight>,
    /// How many accesses led here from a value that was built.
    pub chain: usize,
}

impl Bounded {
    /// A value whose weight is not known yet.
    pub fn new(val: Val) -> Self {
        Bounded { val, weight: None, chain: 0 }
    }

    /// A value with its weight.
    pub fn weighed(val: Val, weight: Weight) -> Self {
        Bounded { val, weight: Some(weight), chain: 0 }
    }

    /// A part of a value that was itself reached by `chain` accesses.
    pub fn part(val: Val, chain: usize) -> Self {
        if chain >= MAX_CHAIN {
            stop("its paths are too long");
        }
        Bounded { val, weight: None, chain: chain + 1 }
    }

    /// Bytes and levels, measured where they are not known; leaves when they are too much.
    pub fn weigh(&self) -> Weight {
        self.weight.unwrap_or_else(|| weigh(&self.val))
    }

    /// New text; the memory is paid for by the caller.
    pub fn text(text: String) -> Self {
        check_size(STRING + text.len());
        Bounded::new(Val::from(text))
    }

    /// The value as JSON text.
    pub fn to_json(&self) -> Self {
        let mut out = Limited { text: String::new(), paid: 0 };
        if write!(out, "{}", self.val).is_err() {
            stop("a value in it grows too large");
        }
        Bounded::text(out.text)
    }
}

/// Measures `val`. The recursion is as deep as the value, at most `MAX_DEPTH`.
fn weigh(val: &Val) -> Weight {
    fn add(val: &Val, level: usize, size: &mut usize) -> usize {
        check_depth(level);
        visit(1);
        *size += own_size(val);
        check_size(*size);
        match val {
            Val::Arr(items) => {
                let below = items.iter().map(|v| add(v, level + 1, size));
                below.max().map_or(1, |d| d + 1)
            }
            Val::Obj(map) => {
                let below = map.iter().map(|(k, v)| {
                    *size += ENTRY;
                    add(k, level + 1, size).max(add(v, level + 1, size))
                });
                below.max().map_or(1, |d| d + 1)
            }
            _ => 0,
        }
    }
    let mut size = 0;
    let depth = add(val, 0, &mut size);
    Weight { size, depth }
}

/// Bytes of a value without its parts.
pub(super) fn own_size(val: &Val) -> usize {
    match val {
        Val::Null | Val::Bool(_) | Val::Num(Num::Int(_) | Num::Float(_)) => CELL,
        Val::Num(Num::BigInt(i)) => CELL + STRING + i.bits() as usize / 8,
        Val::Num(Num::Dec(digits)) => CELL + STRING + digits.len(),
        Val::TStr(s) | Val::BStr(s) => STRING + s.len(),
        Val::Arr(_) | Val::Obj(_) => ENTRY,
    }
}

/// Leaves when an integer is far beyond anything JSON can hold.
pub(super) fn check_integer(n: &Num) {
    if let Num::BigInt(i) = n
        && i.bits() > MAX_BITS
    {
        stop("an integer in it grows too large");
    }
}

/// Text that pays for its growth and refuses to become too long.
struct Limited {
    text: String,
    paid: usize,
}

impl Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let needed = self.text.len() + part.len();
        if needed > super::allowance::MAX_SIZE {
            return Err(fmt::Error);
        }
        if needed > self.paid {
            let room = needed.max(2 * self.paid).max(64);
            allocate(room - self.paid);
            self.paid = room;
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// The first bytes of a text that may be very long.
struct Shown {
    text: String,
    full: bool,
}

impl Write for Shown {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let left = MAX_SHOWN - self.text.len();
        if part.len() <= left {
            self.text.push_str(part);
            return Ok(());
        }
        let end = (0..=left).rev().find(|i| part.is_char_boundary(*i)).unwrap_or(0);
        self.text.push_str(&part[..end]);
        self.full = true;
        Err(fmt::Error)
    }
}

/// `what` as text, cut where it is too long for an error.
pub(super) fn shown(what: &dyn fmt::Display) -> String {
    let mut out = Shown { text: String::new(), full: false };
    if write!(out, "{what}").is_err() && out.full {
        out.text.push_str("...");
    }
    out.text
}

/// Values are shown in errors only; what is too long is cut.
impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.val))
    }
}

impl From<bool> for Bounded {
    fn from(b: bool) -> Self {
        Bounded::weighed(Val::Bool(b), Weight::CELL)
    }
}

impl From<isize> for Bounded {
    fn from(i: isize) -> Self {
        Bounded::weighed(Val::from(i), Weight::CELL)
    }
}

impl From<usize> for Bounded {
    fn from(i: usize) -> Self {
        Bounded::new(Val::from(i))
    }
}

impl From<f64> for Bounded {
    fn from(f: f64) -> Self {
        Bounded::weighed(Val::from(f), Weight::CELL)
    }
}

impl From<String> for Bounded {
    fn from(text: String) -> Self {
        allocate(STRING + text.len());
        Bounded::text(text)
    }
}

impl From<Range<Bounded>> for Bounded {
    fn from(range: Range<Bounded>) -> Self {
        let ends = [("start", range.start), ("end", range.end)];
        let ends = ends.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?)));
        object(ends.map(|(k, v)| (Bounded::from(k), v)))
    }
}

/// An object of the pairs.
pub(super) fn object(pairs: impl IntoIterator<Item = (Bounded, Bounded)>) -> Bounded {
    let mut weight = Weight::EMPTY;
    allocate(2 * ENTRY);
    let mut map = Map::default();
    for (key, value) in pairs {
        weight = weight.with(key.weigh()).with(value.weigh());
        weight.size += ENTRY;
        allocate(2 * ENTRY);
        map.insert(key.val, value.val);
    }
    check_size(weight.size);
    Bounded::weighed(Val::obj(map), weight)
}

impl FromIterator<Bounded> for Bounded {
    fn from_iter<T: IntoIterator<Item = Bounded>>(iter: T) -> Self {
        let mut weight = Weight::EMPTY;
        allocate(ENTRY);
        let mut items: Vec<Val> = Vec::new();
        for item in iter {
            weight = weight.with(item.weigh());
            allocate(CELL);
            items.push(item.val);
        }
        Bounded::weighed(Val::Arr(items.into()), weight)
    }
}

impl Bounded {
    /// Pays for a comparison, which looks at no more than the lighter of two containers.
    fn pay_comparison(&self, other: &Self) {
        let same = matches!(
            (&self.val, &other.val),
            (Val::Arr(_), Val::Arr(_)) | (Val::Obj(_), Val::Obj(_))
        );
        if same {
            visit(self.weigh().size.min(other.weigh().size) / CELL);
        }
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.pay_comparison(other);
        self.val == other.val
    }
}

impl Eq for Bounded {}

impl PartialOrd for Bounded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bounded {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pay_comparison(other);
        self.val.cmp(&other.val)
    }
}
