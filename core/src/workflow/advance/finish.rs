//! Tasks as they end well.

use super::super::WorkflowError;
use super::super::definition::Then;
use super::super::schema;
use super::super::scope::Place;
use super::{Doing, Run, place};
use serde_json::Value;

impl<'a> Run<'a> {
    /// A task has its raw output: transform, export, and go where it says.
    pub(super) fn finish(
        &mut self,
        doing: &Doing<'a>,
        input: Value,
        raw: Value,
        then: Option<Then>,
    ) -> Result<(), WorkflowError> {
        // What was done is to be undone even if nothing comes of its output.
        let undoable = doing.task.compensate.is_some();
        let saved = undoable.then(|| raw.clone());
        let (output, context) = match self.transform(doing, &input, raw) {
            Ok(made) => made,
            Err(error) => {
                let refused = saved.and_then(|saved| self.remember(doing, saved).err());
                return Err(self.failed(doing, input, refused.unwrap_or(error)));
            }
        };
        if let Some(context) = context {
            self.state.context = context;
        }
        if undoable && let Err(error) = self.remember(doing, output.clone()) {
            return Err(self.failed(doing, input, error));
        }
        self.record(doing, "completed", input, Some(output.clone()), None);
        self.flow(then.unwrap_or(doing.task.then), output);
        Ok(())
    }

    /// The output, and the context if it changes.
    fn transform(
        &self,
        doing: &Doing<'a>,
        input: &Value,
        raw: Value,
    ) -> Result<(Value, Option<Value>), WorkflowError> {
        let data = &doing.task.data;
        let output = match &data.output_as {
            Some(transform) => {
                let place = Place { raw_output: Some(&raw), ..place(doing, input) };
                self.scope(place).render(transform, &raw)?
            }
            None => raw,
        };
        schema::check(data.output_shape.as_ref(), "output", &output)?;
        let context = match &data.export_as {
            Some(export) => {
                let place = Place { output: Some(&output), ..place(doing, input) };
                Some(self.scope(place).render(export, &output)?)
            }
            None => None,
        };
        let exported = context.as_ref().unwrap_or(&self.state.context);
        schema::check(data.export_shape.as_ref(), "context", exported)?;
        Ok((output, context))
    }

    /// On to the next task of the list.
    pub(super) fn flow(&mut self, then: Then, data: Value) {
        if then == Then::End {
            match self.state.undo {
                // The run has ended already; this ends what undoes one step.
                Some(_) => self.skip_to_the_end(data),
                None => self.complete(data),
            }
            return;
        }
        let Some(frame) = self.branch_mut().frames.last_mut() else { return };
        frame.data = data;
        match then {
            Then::Goto(index) => {
                if index <= frame.index {
                    frame.round += 1;
                }
                frame.index = index;
            }
            Then::Exit => frame.index = usize::MAX,
            Then::Continue | Then::End => frame.index = frame.index.saturating_add(1),
        }
    }
}
