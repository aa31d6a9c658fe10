//! Functions on values that jaq has for its own value type only, and guards for those of its
//! functions which build much out of little.

use super::allowance::{MAX_SIZE, allocate, check_size, visit};
use super::bounded::{Bounded, CELL, STRING, shown};
use super::meter::Kind;
use super::value;
use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{Error, ValR, ValT as _};
use jaq_json::Val;
use jaq_std::ValT as _;

/// Bytes of a format for times.
const MAX_FORMAT: usize = 4 * 1024;
/// Bytes a match takes at most, and each of its groups, while jaq collects them.
const GROUP: usize = 256;

/// The functions by name.
pub(super) fn all() -> impl Iterator<Item = Fun<Kind>> {
    let funs: [Fun<Kind>; 9] = [
        run(("tojson", v(0), |cv| bome(Ok(cv.1.to_json())))),
        run(("fromjson", v(0), |cv| bome(fromjson(&cv.1)))),
        run(("tobytes", v(0), |cv| bome(tobytes(cv.1)))),
        run(("length", v(0), |cv| bome(length(cv.1)))),
        run(("contains", v(1), |cv| {
            unary(cv, |l, r| {
                l.weigh();
                r.weigh();
                Ok(contains(&l.val, &r.val).into())
            })
        })),
        run(("has", v(1), |cv| unary(cv, has))),
        run(("indices", v(1), |cv| unary(cv, indices))),
        run(("bsearch", v(1), |cv| unary(cv, bsearch))),
        run(("__guard_strftime", v(1), |cv| unary(cv, |_, format| guard_format(&format)))),
    ];
    let guard: Fun<Kind> = run(("__guard_regex", v(2), |mut cv| {
        let flags = cv.0.pop_var();
        let regex = cv.0.pop_var();
        bome(guard_regex(&cv.1, &regex, &flags))
    }));
    funs.into_iter().chain([guard])
}

/// jaq's functions that run behind a guard, each with the name it has there.
pub(super) const GUARDED: [(&str, &str); 4] = [
    ("matches", "__matches"),
    ("split_matches", "__split_matches"),
    ("split_", "__split_"),
    ("strftime", "__strftime"),
];

/// The guarded functions as an expression sees them.
pub(super) const GUARDS: &str = "
def matches($re; $flags): __guard_regex($re; $flags) as $x | __matches($re; $flags);
def split_matches($re; $flags): __guard_regex($re; $flags) as $x | __split_matches($re; $flags);
def split_($re; $flags): __guard_regex($re; $flags) as $x | __split_($re; $flags);
def strftime($format): __guard_strftime($format) as $x | __strftime($format);
";

/// Refuses a search that would find so much that collecting it takes too much memory.
fn guard_regex(text: &Bounded, regex: &Bounded, flags: &Bounded) -> ValR<Bounded> {
    let len = text.as_bytes().map_or(0, <[u8]>::len);
    let regex = regex.as_bytes().unwrap_or_default();
    let all = flags.as_bytes().unwrap_or_default().contains(&b'g');
    let groups = 1 + regex.iter().filter(|b| **b == b'(').count();
    let matches = if all { len + 1 } else { 1 };
    let bytes = matches.saturating_mul(groups).saturating_mul(GROUP);
    if bytes > 2 * MAX_SIZE {
        let most = 2 * MAX_SIZE / GROUP / groups;
        return Err(Error::str(format_args!(
            "a text of {len} bytes is too long to search for all matches, at most {most} here"
        )));
    }
    Ok(Bounded::default())
}

/// Refuses a format that is no format: each directive can be padded to 255 characters.
fn guard_format(format: &Bounded) -> ValR<Bounded> {
    if format.as_bytes().is_some_and(|f| f.len() > MAX_FORMAT) {
        return Err(Error::str("a time format is at most 4096 bytes long"));
    }
    Ok(Bounded::default())
}

/// Parses JSON; unlike jaq's own parser this one limits nesting.
fn fromjson(text: &Bounded) -> ValR<Bounded> {
    let bytes = text.try_as_utf8_bytes()?;
    // A parsed value takes at most this for each byte, as in "[[],[]]".
    check_size(bytes.len());
    allocate(bytes.len());
    let parts = bytes.iter().filter(|b| b",:[{".contains(b)).count();
    allocate(parts.saturating_mul(2 * STRING));
    let parsed = serde_json::from_slice(bytes).map_err(|e| {
        let text = value::clip(&shown(&text.val));
        Error::str(format_args!("cannot parse {text} as JSON: {e}"))
    })?;
    Ok(Bounded::new(value::from_json(&parsed)))
}

fn tobytes(value: Bounded) -> ValR<Bounded> {
    fn add(val: &Val, out: &mut Vec<u8>) -> Option<()> {
        match val {
            Val::Num(n) => out.push(u8::try_from(n.as_isize()?).ok()?),
            Val::TStr(s) | Val::BStr(s) => out.extend_from_slice(s),
            Val::Arr(items) => return items.iter().try_for_each(|v| add(v, out)),
            _ => return None,
        }
        Some(())
    }
    allocate(2 * value.weigh().size);
    let mut out = Vec::new();
    match add(&value.val, &mut out) {
        Some(()) => Ok(Bounded::new(Val::byte_str(out))),
        None => Err(Error::str(format_args!("cannot convert {value} to bytes"))),
    }
}

fn length(value: Bounded) -> ValR<Bounded> {
    Ok(match &value.val {
        Val::Null => Bounded::from(0usize),
        Val::Num(_) if value.val < Val::from(0isize) => return -value,
        Val::Num(_) => value,
        Val::TStr(s) => Bounded::from(String::from_utf8_lossy(s).chars().count()),
        Val::BStr(s) => Bounded::from(s.len()),
        Val::Arr(items) => Bounded::from(items.len()),
        Val::Obj(map) => Bounded::from(map.len()),
        Val::Bool(b) => return Err(Error::str(format_args!("{b} has no length"))),
    })
}

/// Whether `r` is in `l`: text within text, each element in some element, each key with its value.
fn contains(l: &Val, r: &Val) -> bool {
    visit(1);
    match (l, r) {
        (Val::TStr(l), Val::TStr(r)) | (Val::BStr(l), Val::BStr(r)) => {
            match (std::str::from_utf8(l), std::str::from_utf8(r)) {
                (Ok(l), Ok(r)) => l.contains(r),
                _ => r.is_empty() || l.windows(r.len()).any(|w| *w == **r),
            }
        }
        (Val::Arr(l), Val::Arr(r)) => r.iter().all(|r| l.iter().any(|l| contains(l, r))),
        (Val::Obj(l), Val::Obj(r)) => {
            r.iter().all(|(k, r)| l.get(k).is_some_and(|l| contains(l, r)))
        }
        _ => l == r,
    }
}

fn has(value: Bounded, key: Bounded) -> ValR<Bounded> {
    Ok(match (&value.val, &key.val) {
        (Val::Obj(map), key) => map.contains_key(key).into(),
        (Val::Arr(items), Val::Num(n))
            if matches!(n, jaq_json::Num::Int(_) | jaq_json::Num::BigInt(_)) =>
        {
            let place = n.as_isize();
            let inside = place.is_some_and(|i| i.unsigned_abs() < items.len() + usize::from(i < 0));
            inside.into()
        }
        (Val::Null, _) => false.into(),
        _ => value.index(&key).map(|_| true.into())?,
    })
}

/// Where `what` is in `value`, counted from 0 in characters or elements.
fn indices(value: Bounded, what: Bounded) -> ValR<Bounded> {
    fn windows<T: PartialEq>(all: &[T], part: &[T]) -> Vec<usize> {
        if part.is_empty() {
            return Vec::new();
        }
        visit(all.len());
        let found = all.windows(part.len()).enumerate();
        found.filter(|(_, w)| *w == part).map(|(i, _)| i).collect()
    }
    let found: Vec<usize> = match (&value.val, &what.val) {
        (Val::TStr(l), Val::TStr(r)) => {
            check_size(l.len());
            allocate(CELL * l.len());
            let text = String::from_utf8_lossy(l);
            let part = String::from_utf8_lossy(r);
            let starts = text.char_indices().enumerate();
            let starts = starts.filter(|(_, (at, _))| {
                !part.is_empty() && text.get(*at..).is_some_and(|t| t.starts_with(&*part))
            });
            starts.map(|(i, _)| i).collect()
        }
        (Val::BStr(l), Val::BStr(r)) => {
            allocate(CELL * l.len());
            windows(l, r)
        }
        (Val::Arr(l), Val::Arr(r)) => {
            allocate(CELL * l.len());
            visit(value.weigh().size / CELL);
            windows(l, r)
        }
        (Val::Arr(l), r) => {
            allocate(CELL * l.len());
            visit(value.weigh().size / CELL);
            let same = l.iter().enumerate().filter(|(_, v)| *v == r);
            same.map(|(i, _)| i).collect()
        }
        (Val::Null, _) => return Ok(Bounded::default()),
        _ => return Err(Error::index(value, what)),
    };
    Ok(found.into_iter().map(Bounded::from).collect())
}

/// The place of `what` in a sorted array, or where it would be, as a negative number.
fn bsearch(value: Bounded, what: Bounded) -> ValR<Bounded> {
    let Val::Arr(items) = &value.val else { return Err(Error::typ(value, "array")) };
    visit(value.weigh().size / CELL);
    let place = match items.binary_search(&what.val) {
        Ok(found) => isize::try_from(found).unwrap_or(isize::MAX),
        Err(free) => -1 - isize::try_from(free).unwrap_or(isize::MAX - 1),
    };
    Ok(place.into())
}
