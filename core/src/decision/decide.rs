//! Deciding: the rows that match an input, and what they mean together.

use super::policy::Policy;
use super::table::{Row, Table};
use super::value::{Kind, Val};
use serde_json::Value;

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The rows do not agree with the hit policy; otherwise the input is at fault.
    pub by_rows: bool,
    pub message: String,
    pub hint: Option<String>,
}

impl Failed {
    pub fn input(message: String) -> Failed {
        Failed { by_rows: false, message, hint: None }
    }

    fn rows(message: String, hint: &str) -> Failed {
        Failed { by_rows: true, message, hint: Some(hint.into()) }
    }

    pub fn with_hint(self, hint: String) -> Failed {
        Failed { hint: Some(hint), ..self }
    }
}

impl Table {
    /// The decision on an input as JSON; `None` when no row matches and there is no default.
    pub fn decide(&self, input: &str) -> Result<Option<String>, Failed> {
        let values = self.values(input)?;
        let rows = self.matching(&values);
        match self.policy {
            policy if policy.is_list() => Ok(Some(self.list(&rows))),
            Policy::Sum | Policy::Min | Policy::Max => Ok(Some(self.aggregate(&rows))),
            Policy::Count => Ok(Some(format!("{{\"count\": {}}}", rows.len()))),
            _ => self.single(&rows),
        }
    }

    /// The numbers from 0 of the rows that match, in order; of the first only if that is enough.
    pub fn matching(&self, values: &[Option<Val>]) -> Vec<u32> {
        let cost = |column: &usize| -> usize {
            self.indexes[*column].lists(values[*column].as_ref()).map(<[u32]>::len).sum()
        };
        let mut rows: Vec<u32> = match (0..self.inputs.len()).min_by_key(cost) {
            Some(column) => {
                self.indexes[column].lists(values[column].as_ref()).flatten().copied().collect()
            }
            None => (0..self.rows.len() as u32).collect(),
        };
        rows.sort_unstable();
        let passes = |row: &u32| self.failing(&self.rows[*row as usize], values).is_none();
        match self.policy {
            Policy::First => rows.into_iter().find(passes).into_iter().collect(),
            _ => rows.into_iter().filter(passes).collect(),
        }
    }

    /// The first column that a row does not let pass.
    fn failing(&self, row: &Row, values: &[Option<Val>]) -> Option<usize> {
        row.tests.iter().zip(values).position(|(test, value)| !test.contains(value.as_ref()))
    }

    /// For each row: the name of the input that it does not let pass, if there is one.
    pub fn explain(&self, values: &[Option<Val>]) -> Vec<Option<&str>> {
        let name = |column: usize| self.inputs[column].name.as_str();
        self.rows.iter().map(|row| self.failing(row, values).map(name)).collect()
    }

    /// A row's outputs as a JSON object.
    pub fn outputs(&self, row: u32) -> String {
        object(self.outputs.iter().zip(&self.rows[row as usize].outputs).map(|(o, v)| (&o.name, v)))
    }

    fn single(&self, rows: &[u32]) -> Result<Option<String>, Failed> {
        let Some(first) = rows.first() else {
            if self.outputs.iter().all(|output| output.default.is_none()) {
                return Ok(None);
            }
            let null = "null".to_owned();
            let default = |o: &super::table::Output| o.default.clone().unwrap_or(null.clone());
            let values: Vec<String> = self.outputs.iter().map(default).collect();
            return Ok(Some(object(self.outputs.iter().map(|o| &o.name).zip(&values))));
        };
        match self.policy {
            Policy::Unique if rows.len() > 1 => Err(Failed::rows(
                format!("rows {} match, of which at most one may", numbers(rows)),
                "Make them exclude each other, or give the table another hit policy; automate.decision_table_problems finds such rows.",
            )),
            Policy::Any => match rows.iter().find(|row| !self.agree(*first, **row)) {
                None => Ok(Some(self.outputs(*first))),
                Some(other) => Err(Failed::rows(
                    format!("rows {} match and do not agree", numbers(&[*first, *other])),
                    "Give them the same outputs, or give the table another hit policy.",
                )),
            },
            Policy::Priority => {
                let best = rows.iter().min_by_key(|row| self.ranks(**row)).unwrap_or(first);
                Ok(Some(self.outputs(*best)))
            }
            _ => Ok(Some(self.outputs(*first))),
        }
    }

    /// The same outputs.
    pub(super) fn agree(&self, one: u32, other: u32) -> bool {
        let (one, other) = (&self.rows[one as usize], &self.rows[other as usize]);
        let pairs = one.outputs.iter().zip(&other.outputs);
        self.outputs.iter().zip(pairs).all(|(output, (a, b))| output.same(a, b))
    }

    /// How important a row's outputs are, the first output first; the least is the best.
    fn ranks(&self, row: u32) -> Vec<usize> {
        let pairs = self.outputs.iter().zip(&self.rows[row as usize].outputs);
        pairs
            .filter(|(output, _)| !output.values.is_empty())
            .map(|(output, value)| output.rank(value).unwrap_or(usize::MAX))
            .collect()
    }

    fn list(&self, rows: &[u32]) -> String {
        let mut rows = rows.to_vec();
        if self.policy == Policy::OutputOrder {
            rows.sort_by_key(|row| self.ranks(*row));
        }
        let items: Vec<String> = rows.iter().map(|row| self.outputs(*row)).collect();
        format!("[{}]", items.join(", "))
    }

    /// Each output over the rows that match; NULLs do not count, and of none the answer is NULL.
    fn aggregate(&self, rows: &[u32]) -> String {
        let column = |index: usize, kind: Kind| -> String {
            let values = rows
                .iter()
                .filter_map(|row| Val::from_json(kind, &self.rows[*row as usize].outputs[index]));
            let found = match self.policy {
                Policy::Min => values.min(),
                Policy::Max => values.max(),
                _ => values.fold(None, |sum, value| match (sum, value) {
                    (Some(Val::Number(sum)), Val::Number(more)) => {
                        Some(Val::Number(sum.add(&more)))
                    }
                    (_, value) => Some(value),
                }),
            };
            found.map_or_else(|| "null".into(), |value| value.json())
        };
        let values: Vec<String> =
            self.outputs.iter().enumerate().map(|(index, o)| column(index, o.kind)).collect();
        object(self.outputs.iter().map(|o| &o.name).zip(&values))
    }
}

fn object<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let parts: Vec<String> =
        entries.map(|(name, json)| format!("{}: {json}", Value::String(name.clone()))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// Rows as people count them.
fn numbers(rows: &[u32]) -> String {
    let shown: Vec<String> = rows.iter().take(5).map(|row| (row + 1).to_string()).collect();
    let more = if rows.len() > 5 { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
