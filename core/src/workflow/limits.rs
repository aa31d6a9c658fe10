//! How large a definition, a state and a run may be.

/// What is beyond them is refused when it is defined, or faults the run with an error that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tasks in a definition.
    pub max_steps: usize,
    /// Task lists within one another.
    pub max_depth: usize,
    /// Branches of a fork, and turns of a loop that go on at the same time.
    pub max_branches: usize,
    /// Bytes of a run's state, about as its jsonb text would be long.
    pub max_state_bytes: usize,
    /// Tasks a run may start, counting each turn of a loop.
    pub max_executed: u64,
    /// Items of one loop.
    pub max_items: usize,
    /// Items of a loop that a state holds; if there are more, the shell keeps them and brings them
    /// in pages.
    pub max_items_in_state: usize,
    /// Items of a page.
    pub page_items: usize,
    /// Steps of a run that are to be compensated.
    pub max_compensations: usize,
    /// Attempts at a compensation after the first.
    pub compensation_retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_steps: 500,
            max_depth: 16,
            max_branches: 1_000,
            max_state_bytes: 1 << 20,
            max_executed: 100_000,
            max_items: 1_000_000,
            max_items_in_state: 1_000,
            page_items: 100,
            max_compensations: 1_000,
            compensation_retries: 5,
        }
    }
}

impl Limits {
    /// The limit that a document can lower, by its name there.
    pub(super) fn lower(&mut self, name: &str, to: u64) -> Result<(), u64> {
        let size = usize::try_from(to).unwrap_or(usize::MAX);
        let slot = match name {
            "maxSteps" => &mut self.max_steps,
            "maxDepth" => &mut self.max_depth,
            "maxBranches" => &mut self.max_branches,
            "maxStateBytes" => &mut self.max_state_bytes,
            "maxItems" => &mut self.max_items,
            "maxCompensations" => &mut self.max_compensations,
            _ if to <= self.max_executed => {
                self.max_executed = to;
                return Ok(());
            }
            _ => return Err(self.max_executed),
        };
        if size > *slot {
            return Err(*slot as u64);
        }
        *slot = size;
        Ok(())
    }

    pub(super) const NAMES: [&str; 7] = [
        "maxSteps",
        "maxDepth",
        "maxBranches",
        "maxStateBytes",
        "maxItems",
        "maxCompensations",
        "maxExecuted",
    ];
}
