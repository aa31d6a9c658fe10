//! The test in one cell: a set of values, as ranges that do not touch each other.

use super::value::{Kind, Val};

/// A place between values: before all, just below or above one, behind all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    Min,
    At(Val, bool),
    Max,
}

impl Cut {
    pub fn below(value: &Val) -> Cut {
        Cut::At(value.clone(), false)
    }

    pub fn above(value: &Val) -> Cut {
        Cut::At(value.clone(), true)
    }
}

/// What a cell lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// NULL passes.
    pub null: bool,
    /// In order, none empty, none touching the next.
    pub ranges: Vec<(Cut, Cut)>,
}

impl Test {
    /// Everything, NULL too.
    pub fn any() -> Test {
        Test { null: true, ranges: vec![(Cut::Min, Cut::Max)] }
    }

    pub fn null() -> Test {
        Test { null: true, ranges: Vec::new() }
    }

    /// A set made of ranges in any order; of types whose values have a next one, `above` a value
    /// is `below` that.
    pub fn of(kind: Kind, ranges: Vec<(Cut, Cut)>, null: bool) -> Test {
        let settle = |cut: Cut| match cut {
            Cut::At(value, true) if kind.is_discrete() => {
                value.next().map_or(Cut::Max, |next| Cut::At(next, false))
            }
            other => other,
        };
        let mut sorted: Vec<(Cut, Cut)> = ranges
            .into_iter()
            .map(|(low, high)| (settle(low), settle(high)))
            .filter(|(low, high)| low < high)
            .collect();
        sorted.sort();
        let mut joined: Vec<(Cut, Cut)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match joined.last_mut() {
                Some(last) if low <= last.1 => last.1 = last.1.clone().max(high),
                _ => joined.push((low, high)),
            }
        }
        Test { null, ranges: joined }
    }

    /// Every value that is not in it. NULL is in neither: only `null` and the wildcard say it.
    pub fn negated(&self) -> Test {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut from = Cut::Min;
        for (low, high) in &self.ranges {
            if from < *low {
                ranges.push((from, low.clone()));
            }
            from = high.clone();
        }
        if from < Cut::Max {
            ranges.push((from, Cut::Max));
        }
        Test { null: false, ranges }
    }

    pub fn is_any(&self) -> bool {
        self.null && matches!(self.ranges.as_slice(), [(Cut::Min, Cut::Max)])
    }

    /// True when a value passes; `None` is NULL.
    pub fn contains(&self, value: Option<&Val>) -> bool {
        let Some(value) = value else { return self.null };
        // The last range that begins at or below the value.
        let after = self.ranges.partition_point(|(low, _)| match low {
            Cut::Min => true,
            Cut::At(edge, false) => edge <= value,
            Cut::At(edge, true) => edge < value,
            Cut::Max => false,
        });
        after > 0
            && match &self.ranges[after - 1].1 {
                Cut::Max => true,
                Cut::At(edge, true) => value <= edge,
                Cut::At(edge, false) => value < edge,
                Cut::Min => false,
            }
    }
}
