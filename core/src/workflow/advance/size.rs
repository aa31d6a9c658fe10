//! How large a state is.

use super::super::WorkflowError;
use super::super::state::{Branch, Pending, State};
use super::Run;
use serde_json::Value;

impl Run<'_> {
    /// A run whose state would no longer fit faults instead of growing on.
    pub(super) fn check_size(&mut self) -> Result<(), WorkflowError> {
        let limit = self.definition.limits.max_state_bytes;
        if self.state.is_terminal() || size(&self.state) <= limit {
            return Ok(());
        }
        let error = || {
            let detail = format!("the state of the run would exceed {limit} bytes");
            WorkflowError::standard("runtime", "State too large", detail)
        };
        // Nothing of this round is carried out but its end.
        self.commands.clear();
        self.state.suspended = false;
        self.fault(error());
        self.go_on()?;
        if !self.state.is_terminal() && size(&self.state) > limit {
            self.fault(error());
        }
        Ok(())
    }
}

/// About the length of the state as JSON text.
fn size(state: &State) -> usize {
    let mut bytes = weight(&state.input) + weight(&state.context);
    bytes += state.branches.iter().map(of_branch).sum::<usize>();
    for done in &state.saga {
        let vars: usize = done.vars.iter().map(weight).sum();
        bytes += 40 + done.suffix.len() + weight(&done.output) + vars;
    }
    for event in &state.parked {
        bytes += 100
            + match event {
                super::Event::Done { output, .. } => weight(output),
                super::Event::Page { items, .. } => items.iter().map(weight).sum(),
                _ => 0,
            };
    }
    bytes
}

fn of_branch(branch: &Branch) -> usize {
    let mut bytes = 100 + branch.suffix.len();
    bytes += branch.vars.iter().map(weight).sum::<usize>();
    bytes += branch.timer.as_ref().map_or(0, |t| 60 + t.step.len());
    bytes += branch.pending.as_ref().map_or(0, of_pending);
    for frame in &branch.frames {
        bytes += 100 + weight(&frame.data) + weight(&frame.input);
        bytes += frame.caught.as_ref().map_or(0, weight);
        bytes += frame.turn.iter().flat_map(|t| &t.items).map(weight).sum::<usize>();
    }
    bytes
}

fn of_pending(pending: &Pending) -> usize {
    let mut bytes = 100 + weight(&pending.input) + pending.step.len();
    if let Some(join) = &pending.join {
        bytes += join.items.iter().map(weight).sum::<usize>();
        bytes += join.outputs.values().map(|v| 10 + weight(v)).sum::<usize>();
    }
    if let Some(listening) = &pending.listening {
        bytes += listening.heard.iter().chain(&listening.queue).map(weight).sum::<usize>();
        let shared = listening.correlated.iter();
        bytes += shared.map(|(k, v)| k.len() + 4 + weight(v)).sum::<usize>();
    }
    bytes
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(s) => s.len() + 3,
        Value::Array(items) => 2 + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + weight(v)).sum::<usize>(),
    }
}
