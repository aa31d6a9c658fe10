//! What a table leaves open and where its rows meet: gaps, overlaps, rows that can never be
//! reached. Exact, on whole numbers: every column is cut into slots at the bounds of its cells, and
//! within a slot all values are alike. NULL is looked at for overlaps, and not for gaps.

use super::policy::Policy;
use super::table::{Input, Table};
use super::test::{Cut, Test};
use super::value::{Kind, Val};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Most findings of a kind.
const MOST: usize = 50;
/// Most steps of a search; each is a few nanoseconds.
const MAX_STEPS: u64 = 100_000_000;

/// Something that the author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// gap, overlap, shadowed, or incomplete: a search was ended.
    pub kind: &'static str,
    /// Numbers from 1.
    pub rows: Vec<usize>,
    pub message: String,
    /// An input that shows it, as JSON.
    pub example: Option<String>,
}

/// Looks at a whole table.
pub fn findings(table: &Table) -> Vec<Finding> {
    if !table.policy.is_single() {
        return Vec::new();
    }
    let columns: Vec<Column> =
        (0..table.inputs.len()).map(|index| Column::of(table, index)).collect();
    let mut search = Search { table, columns, steps: 0, found: Vec::new(), seen: HashSet::new() };
    search.meetings();
    if table.outputs.iter().any(|output| output.default.is_none()) {
        search.steps = 0;
        let rows = (0..table.rows.len() as u32).collect();
        search.gaps(0, rows, &mut Vec::new());
        search.say_if_ended("gaps");
    }
    search.found
}

/// A column in slots.
struct Column {
    /// For each slot the next one, from itself on, that has values, and one of them.
    samples: Vec<Option<Val>>,
    next_live: Vec<usize>,
    /// For each row the stretches of slots that it lets pass.
    rows: Vec<Vec<(usize, usize)>>,
    nulls: Vec<bool>,
}

impl Column {
    fn of(table: &Table, index: usize) -> Column {
        let input = &table.inputs[index];
        let tests = || table.rows.iter().map(|row| &row.tests[index]);
        let mut cuts: Vec<Cut> = tests()
            .chain(&input.values)
            .flat_map(|test| &test.ranges)
            .flat_map(|(low, high)| [low.clone(), high.clone()])
            .chain([Cut::Min, Cut::Max])
            .collect();
        if input.kind == Kind::Boolean {
            for value in [Val::Boolean(false), Val::Boolean(true)] {
                cuts.extend([Cut::below(&value), Cut::above(&value)]);
            }
        }
        cuts.sort();
        cuts.dedup();
        let samples: Vec<Option<Val>> =
            cuts.windows(2).map(|pair| sample(input, &pair[0], &pair[1])).collect();
        let mut next_live = vec![samples.len(); samples.len() + 1];
        for slot in (0..samples.len()).rev() {
            next_live[slot] = if samples[slot].is_some() { slot } else { next_live[slot + 1] };
        }
        let place = |cut: &Cut| cuts.partition_point(|known| known < cut);
        let stretches =
            |test: &Test| test.ranges.iter().map(|(low, high)| (place(low), place(high))).collect();
        let rows = tests().map(stretches).collect();
        let nulls = tests().map(|test| test.null).collect();
        Column { samples, next_live, rows, nulls }
    }

    /// A slot with values that both rows let pass.
    fn meet(&self, one: usize, other: usize) -> Option<usize> {
        let (a, b) = (&self.rows[one], &self.rows[other]);
        let (mut i, mut j) = (0, 0);
        while i < a.len() && j < b.len() {
            let (low, high) = (a[i].0.max(b[j].0), a[i].1.min(b[j].1));
            if low < high && self.next_live[low] < high {
                return Some(self.next_live[low]);
            }
            if a[i].1 < b[j].1 { i += 1 } else { j += 1 }
        }
        None
    }

    /// True when a row lets everything pass that another does.
    fn covers(&self, one: usize, other: usize) -> bool {
        let within = |(low, high): &(usize, usize)| {
            let stretch = self.rows[one].iter().find(|(_, end)| end > low);
            stretch.is_some_and(|(from, to)| from <= low && high <= to)
        };
        (self.nulls[one] || !self.nulls[other]) && self.rows[other].iter().all(within)
    }
}

/// A value between two cuts that the input may have.
fn sample(input: &Input, low: &Cut, high: &Cut) -> Option<Val> {
    let mut candidates: Vec<Option<Val>> = Vec::new();
    if let Cut::At(value, _) = low {
        candidates.extend([Some(value.clone()), value.after()]);
    }
    if let Cut::At(value, _) = high {
        candidates.extend([value.before(), Some(value.clone())]);
    }
    if let (Cut::At(low, _), Cut::At(high, _)) = (low, high) {
        candidates.push(low.between(high));
    }
    candidates.extend(match input.kind {
        Kind::Text => ["other", ""].map(|text| Some(Val::Text(text.into()))).to_vec(),
        Kind::Boolean => [false, true].map(|known| Some(Val::Boolean(known))).to_vec(),
        Kind::Json => Vec::new(),
        Kind::Timestamp => vec![Val::from_text(input.kind, "2000-01-01T00:00:00Z")],
        Kind::Date => vec![Val::from_text(input.kind, "2000-01-01")],
        Kind::Number | Kind::Integer => vec![Val::from_text(input.kind, "0")],
    });
    if let (Kind::Text, Cut::At(Val::Text(text), _)) = (input.kind, low) {
        candidates.push(Some(Val::Text(format!("{text}\u{1}"))));
    }
    let end = |value: &Val| match value.next().filter(|_| input.kind.is_discrete()) {
        Some(next) => Cut::below(&next),
        None => Cut::above(value),
    };
    candidates.into_iter().flatten().find(|value| {
        *low <= Cut::below(value)
            && end(value) <= *high
            && input.values.as_ref().is_none_or(|values| values.contains(Some(value)))
    })
}

struct Search<'t> {
    table: &'t Table,
    columns: Vec<Column>,
    steps: u64,
    found: Vec<Finding>,
    /// What was found to be covered from a column on.
    seen: HashSet<(usize, Vec<u32>)>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.steps > MAX_STEPS
    }

    fn count(&self, kind: &str) -> usize {
        self.found.iter().filter(|finding| finding.kind == kind).count()
    }

    fn say_if_ended(&mut self, what: &str) {
        if self.is_over() {
            self.found.push(Finding {
                kind: "incomplete",
                rows: Vec::new(),
                message: format!("the search for {what} was ended after {MAX_STEPS} steps"),
                example: None,
            });
        }
    }

    fn example(&self, values: impl Iterator<Item = Option<Val>>) -> String {
        let mut example = Value::Object(serde_json::Map::new());
        for (input, value) in self.table.inputs.iter().zip(values) {
            let json = value.map_or_else(|| "null".into(), |value| value.json());
            let mut place = &mut example;
            for key in &input.path {
                if !place.is_object() {
                    *place = Value::Object(serde_json::Map::new());
                }
                place = &mut place[key.as_str()];
            }
            *place = serde_json::from_str(&json).unwrap_or_default();
        }
        example.to_string()
    }

    /// Pairs of rows that can match together and do not agree, and rows behind one that takes all
    /// that they would.
    fn meetings(&mut self) {
        let policy = self.table.policy;
        let mut shadowed = BTreeSet::new();
        for other in 1..self.table.rows.len() {
            for one in 0..other {
                self.steps += 1;
                let apart =
                    |c: &Column| c.meet(one, other).is_none() && !(c.nulls[one] && c.nulls[other]);
                if self.columns.iter().any(apart) {
                    continue;
                }
                self.steps += self.columns.len() as u64;
                let covers = policy == Policy::First
                    && !shadowed.contains(&other)
                    && self.columns.iter().all(|c| c.covers(one, other));
                if covers && shadowed.insert(other) && shadowed.len() <= MOST {
                    self.found.push(Finding {
                        kind: "shadowed",
                        rows: vec![one + 1, other + 1],
                        message: format!(
                            "row {} is never reached: row {} matches whatever it would",
                            other + 1,
                            one + 1
                        ),
                        example: None,
                    });
                }
                let counts =
                    policy == Policy::Unique || !self.table.agree(one as u32, other as u32);
                if counts && !covers && self.count("overlap") < MOST {
                    self.overlap(one, other);
                }
            }
            if self.is_over() {
                return self.say_if_ended("overlaps");
            }
        }
    }

    fn overlap(&mut self, one: usize, other: usize) {
        let mut values = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            match column.meet(one, other) {
                Some(slot) => values.push(column.samples[slot].clone()),
                None if column.nulls[one] && column.nulls[other] => values.push(None),
                None => return,
            }
        }
        let agree = self.table.agree(one as u32, other as u32);
        let difference = if agree { "" } else { " and do not agree" };
        let example = self.example(values.into_iter());
        self.found.push(Finding {
            kind: "overlap",
            rows: vec![one + 1, other + 1],
            message: format!("rows {} and {} can match together{difference}", one + 1, other + 1),
            example: Some(example),
        });
    }

    /// Inputs that none of the rows matches, which let pass what was chosen for the columns before.
    fn gaps(&mut self, column: usize, rows: Vec<u32>, chosen: &mut Vec<Option<Val>>) {
        self.steps += 1 + rows.len() as u64;
        if self.is_over() || self.count("gap") >= MOST {
            return;
        }
        if rows.is_empty() {
            let first = |c: &Column| c.samples.get(c.next_live[0]).cloned().flatten();
            let rest: Vec<Option<Val>> = self.columns[column..].iter().map(first).collect();
            let example = self.example(chosen.iter().cloned().chain(rest));
            let message = format!("no row matches {example}");
            self.found.push(Finding { kind: "gap", rows: vec![], message, example: Some(example) });
            return;
        }
        let takes_all =
            |row: &u32| self.table.rows[*row as usize].tests[column..].iter().all(Test::is_any);
        if rows.iter().any(takes_all) || !self.seen.insert((column, rows.clone())) {
            return;
        }
        for (value, passing) in self.stretches(column, &rows) {
            chosen.push(Some(value));
            self.gaps(column + 1, passing, chosen);
            chosen.pop();
        }
    }

    /// The stretches of a column in which the same rows pass: a value of each, and the rows.
    fn stretches(&mut self, column: usize, rows: &[u32]) -> Vec<(Val, Vec<u32>)> {
        let slots = &self.columns[column];
        let mut bounds: Vec<(usize, bool, u32)> = vec![(0, false, u32::MAX)];
        for row in rows {
            for (from, to) in &slots.rows[*row as usize] {
                bounds.extend([(*from, true, *row), (*to, false, *row)]);
            }
        }
        bounds.sort_unstable();
        let mut found: Vec<(Val, Vec<u32>)> = Vec::new();
        let mut active: BTreeSet<u32> = BTreeSet::new();
        for (index, (at, opens, row)) in bounds.iter().enumerate() {
            match opens {
                true => active.insert(*row),
                false => active.remove(row),
            };
            let end = bounds.get(index + 1).map_or(slots.samples.len(), |next| next.0);
            let live = slots.next_live[*at];
            if *at < end
                && live < end
                && let Some(value) = &slots.samples[live]
            {
                self.steps += active.len() as u64;
                if self.steps > MAX_STEPS {
                    break;
                }
                found.push((value.clone(), active.iter().copied().collect()));
            }
        }
        found
    }
}
