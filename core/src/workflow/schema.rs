//! JSON Schemas of inputs, outputs and the context.

use super::WorkflowError;
use crate::event::schema::Schema;
use serde_json::Value;

/// A schema of a task or a workflow.
pub(super) struct Shape(pub Box<Schema>);

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shape")
    }
}

/// Problems named in one error.
const NAMED: usize = 5;

/// An error of validation if the data are not as the schema, if there is one, has them.
pub(super) fn check(shape: Option<&Shape>, what: &str, data: &Value) -> Result<(), WorkflowError> {
    let Some(shape) = shape else { return Ok(()) };
    let problems = shape.0.problems(data);
    if problems.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> =
        problems.iter().take(NAMED).map(std::string::ToString::to_string).collect();
    if problems.len() > NAMED {
        lines.push(format!("and {} more", problems.len() - NAMED));
    }
    let detail = format!("the {what} does not fit its schema: {}", lines.join("; "));
    Err(WorkflowError::standard("validation", "Schema violation", detail))
}
