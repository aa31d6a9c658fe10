//! The items of loops that the shell keeps, page by page.

use super::super::WorkflowError;
use super::super::state::WaitsFor;
use super::Run;
use serde_json::Value;

impl Run<'_> {
    /// More items of a loop; false if the loop does not wait for these.
    pub(super) fn page_came(
        &mut self,
        step: &str,
        from: u64,
        items: Vec<Value>,
    ) -> Result<bool, WorkflowError> {
        if self.waiting(step, &[WaitsFor::Page]) {
            return self.next_window(from, items);
        }
        if !self.waiting(step, &[WaitsFor::Branches]) {
            return Ok(false);
        }
        let Some(join) = self.join_mut() else { return Ok(false) };
        if !join.asked || from != join.next + join.items.len() as u64 {
            return Ok(false);
        }
        let left = usize::try_from(join.total.saturating_sub(from)).unwrap_or(0);
        let missing = items.is_empty() && left > 0;
        join.asked = missing;
        join.items.extend(items.into_iter().take(left));
        if missing {
            return self.page_failed(lost());
        }
        let task = self.current()?;
        self.go_on_joining(task);
        Ok(true)
    }

    /// The items of the current branch's loop cannot be had; false if it has asked for none.
    pub(super) fn page_failed(&mut self, error: WorkflowError) -> Result<bool, WorkflowError> {
        let Some(join) = self.join_mut() else {
            self.branch_mut().pending = None;
            if let Some((frame, Some(doing))) = self.pop_frame() {
                let error = self.failed(&doing, frame.input, error);
                self.raise(error);
            }
            return Ok(true);
        };
        if !join.asked {
            return Ok(false);
        }
        let task = self.current()?;
        if let Some((doing, input)) = self.stop_joining(task) {
            let error = self.failed(&doing, input, error);
            self.raise(error);
        }
        Ok(true)
    }

    /// The window of a loop moves on; its next turn is begun with the list that is through.
    fn next_window(&mut self, from: u64, items: Vec<Value>) -> Result<bool, WorkflowError> {
        let Some(turn) = self.branch_mut().frames.last_mut().and_then(|f| f.turn.as_mut()) else {
            return Ok(false);
        };
        let next = turn.at + 1;
        if usize::try_from(from) != Ok(next) {
            return Ok(false);
        }
        let left = turn.total().saturating_sub(next);
        let missing = items.is_empty();
        turn.from = next;
        turn.items = items.into_iter().take(left).collect();
        if missing {
            return self.page_failed(lost());
        }
        self.branch_mut().pending = None;
        Ok(true)
    }
}

fn lost() -> WorkflowError {
    WorkflowError::standard("runtime", "Items are missing", "the items of the loop are gone")
}
