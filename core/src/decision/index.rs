//! Which rows may match a value of one column: a segment tree over the bounds of its ranges.

use super::test::{Cut, Test};
use super::value::Val;

/// The rows of one column by the values that they let pass.
pub struct Index {
    /// All bounds, in order; between two of them lies a slot.
    cuts: Vec<Cut>,
    /// Rows by the stretches of slots that they let pass: node 1 stands for all slots, nodes 2n
    /// and 2n + 1 for the halves of node n.
    nodes: Vec<Vec<u32>>,
    leaves: usize,
    nulls: Vec<u32>,
}

impl Index {
    pub fn of<'a>(tests: impl Iterator<Item = &'a Test> + Clone) -> Index {
        let mut cuts: Vec<Cut> = tests
            .clone()
            .flat_map(|test| &test.ranges)
            .flat_map(|(low, high)| [low, high])
            .filter(|cut| matches!(cut, Cut::At(..)))
            .cloned()
            .collect();
        cuts.sort();
        cuts.dedup();
        let leaves = (cuts.len() + 1).next_power_of_two();
        let mut index =
            Index { cuts, nodes: vec![Vec::new(); 2 * leaves], leaves, nulls: Vec::new() };
        for (row, test) in tests.enumerate() {
            if test.null {
                index.nulls.push(row as u32);
            }
            for (low, high) in &test.ranges {
                let (from, to) = (index.slot(low), index.slot(high));
                index.insert(from, to, row as u32);
            }
        }
        index
    }

    /// The number of the slot that begins at a bound.
    fn slot(&self, cut: &Cut) -> usize {
        match cut {
            Cut::Min => 0,
            Cut::Max => self.cuts.len() + 1,
            at => self.cuts.partition_point(|known| known <= at),
        }
    }

    fn insert(&mut self, from: usize, to: usize, row: u32) {
        let (mut low, mut high) = (from + self.leaves, to + self.leaves);
        while low < high {
            if low % 2 == 1 {
                self.nodes[low].push(row);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.nodes[high].push(row);
            }
            low /= 2;
            high /= 2;
        }
    }

    /// The lists whose rows let a value pass; a row is in one of them at most once.
    pub fn lists(&self, value: Option<&Val>) -> impl Iterator<Item = &[u32]> {
        let (mut node, nulls) = match value {
            None => (0, self.nulls.as_slice()),
            Some(value) => {
                let slot = self.cuts.partition_point(|cut| match cut {
                    Cut::At(edge, above) => edge < value || (edge == value && !above),
                    _ => false,
                });
                (slot + self.leaves, [].as_slice())
            }
        };
        let up = std::iter::from_fn(move || {
            let found = self.nodes.get(node).filter(|_| node > 0)?;
            node /= 2;
            Some(found.as_slice())
        });
        std::iter::once(nulls).chain(up)
    }
}
