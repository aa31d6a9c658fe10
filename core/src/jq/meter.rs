//! The bound on an evaluation, and the functions an expression may call.
//!
//! jaq asks the context for its table of terms each time it evaluates one; that is where fuel is
//! spent and the stack is measured. There is no result to return there, so an evaluation that ran
//! out leaves by unwinding, quietly (no panic hook runs), and `Filter::run` catches it.

use super::bounded::Bounded;
use super::natives::{self, GUARDED, GUARDS};
use jaq_core::native::Fun;
use jaq_core::{DataT, Exn, Lut, ValX, data::HasLut, load, load::parse::Def, native};
use std::cell::Cell;
use std::panic::resume_unwind;

/// Terms one evaluation may evaluate: some tenths of a second.
const FUEL: u64 = 500_000;
/// The same for expressions that loop by their own means. Those can nest values, and jaq frees
/// nested values recursively, which must fit the stack.
const LOOP_FUEL: u64 = 5_000;
/// Bytes of machine stack one evaluation may use: PostgreSQL promises 2 MB in all by default.
const STACK: usize = 384 * 1024;

/// Definitions that end the process, write to its log, or lean on what is left out below.
const NO_DEFS: [&str; 5] = ["halt", "halt_error", "stderr", "debug", "input_line_number"];
/// Functions that see the clock, the environment or the time zone of the machine.
const NO_NATIVES: [&str; 8] =
    ["env", "now", "halt", "localtime", "strflocaltime", "debug_empty", "stderr_empty", "range"];

/// Thrown through jaq when an evaluation must stop.
pub(super) struct Stop(pub &'static str);

/// What is left of one evaluation's allowance.
pub(super) struct Meter {
    fuel: Cell<u64>,
    base: usize,
}

impl Meter {
    /// A full tank; the stack is measured from here.
    pub fn new(loops: bool) -> Self {
        Meter { fuel: Cell::new(if loops { LOOP_FUEL } else { FUEL }), base: stack_address() }
    }

    /// Pays for `cost` units of work or leaves.
    pub fn spend(&self, cost: u64) {
        match self.fuel.get().checked_sub(cost) {
            Some(left) => self.fuel.set(left),
            None => resume_unwind(Box::new(Stop("it took too many steps"))),
        }
        if self.base.abs_diff(stack_address()) > STACK {
            resume_unwind(Box::new(Stop("it calls itself too deeply")));
        }
    }
}

/// Where the stack is now, near enough.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The data types of our filters.
pub(super) struct Kind;

/// What every context carries.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    lut: &'a Lut<Kind>,
    meter: &'a Meter,
}

impl<'a> Data<'a> {
    /// For one evaluation of the program in `lut`.
    pub fn new(lut: &'a Lut<Kind>, meter: &'a Meter) -> Self {
        Data { lut, meter }
    }
}

impl DataT for Kind {
    type V<'a> = Bounded;
    type Data<'a> = Data<'a>;
}

impl<'a> HasLut<'a, Kind> for Data<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.meter.spend(1);
        self.lut
    }
}

/// jq's definitions without the impure ones.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let guards = load::parse(GUARDS, |p| p.defs()).unwrap_or_default();
    guards.into_iter().chain(all.filter(|d| !NO_DEFS.contains(&d.name)))
}

/// jq's native functions without the impure ones, and with a `range` that pays its way.
pub(super) fn natives() -> impl Iterator<Item = Fun<Kind>> {
    let all = jaq_core::funs().chain(jaq_std::funs());
    let range: Fun<Kind> = native::run(("range", native::v(3), |mut cv| {
        let meter = cv.0.data().meter;
        let by = cv.0.pop_var();
        let to = cv.0.pop_var();
        let from = cv.0.pop_var();
        Box::new(range(meter, from, to, by))
    }));
    let guarded = |mut fun: Fun<Kind>| {
        if let Some((_, behind)) = GUARDED.iter().find(|(name, _)| *name == fun.0) {
            fun.0 = behind;
        }
        fun
    };
    let all = all.filter(|f| !NO_NATIVES.contains(&f.0)).map(guarded);
    all.chain(natives::all()).chain([range])
}

/// Counts from `from` to before `to`; with `by` zero for ever, as jq does, until the fuel is gone.
fn range<'a>(
    meter: &'a Meter,
    from: Bounded,
    to: Bounded,
    by: Bounded,
) -> impl Iterator<Item = ValX<'a, Bounded>> + 'a {
    let zero = Bounded::from(0isize);
    let mut next = Some(from);
    std::iter::from_fn(move || {
        meter.spend(1);
        let at = next.take()?;
        let inside = if by > zero {
            at < to
        } else if by < zero {
            at > to
        } else {
            at != to
        };
        if !inside {
            return None;
        }
        match at.clone() + by.clone() {
            Ok(following) => next = Some(following),
            Err(e) => return Some(Err(Exn::from(e))),
        }
        Some(Ok(at))
    })
}
