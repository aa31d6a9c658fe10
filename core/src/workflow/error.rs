//! The error object of the Open Workflow Specification, and how a catch clause knows it again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a run faults with, a step fails with and a catch clause catches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowError {
    /// A URI; the standard ones come from [`WorkflowError::standard`].
    #[serde(rename = "type")]
    pub kind: String,
    /// An HTTP-like status code.
    pub status: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The step id, a JSON Pointer into the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Steps that were done and whose compensation was given up.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub uncompensated: Box<[String]>,
}

/// Where the standard error types live.
const STANDARD: &str = "https://open-workflow-specification.org/dsl/errors/types/";
/// Both names the specification has had.
const HOSTS: [&str; 2] =
    ["https://open-workflow-specification.org/", "https://serverlessworkflow.io/"];

impl WorkflowError {
    /// One of the standard types: `configuration`, `validation`, `expression`, `authentication`,
    /// `authorization`, `timeout`, `communication` or `runtime`, with its usual status.
    pub fn standard(kind: &str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        let status = match kind {
            "configuration" | "validation" | "expression" => 400,
            "authentication" => 401,
            "authorization" => 403,
            "timeout" => 408,
            _ => 500,
        };
        WorkflowError {
            kind: format!("{STANDARD}{kind}"),
            status,
            title: Some(title.into()),
            detail: Some(detail.into()),
            instance: None,
            uncompensated: Box::default(),
        }
    }

    /// An expression that failed.
    pub(super) fn expression(error: &crate::jq::Error) -> Self {
        Self::standard("expression", "Expression failed", error.to_string())
    }

    /// The same error at this step, unless it already says where it comes from.
    pub(super) fn at(mut self, step: &str) -> Self {
        self.instance.get_or_insert_with(|| step.to_owned());
        self
    }

    /// As the value of the catch clause's variable.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"type": self.kind, "status": self.status});
        for (key, field) in
            [("title", &self.title), ("detail", &self.detail), ("instance", &self.instance)]
        {
            if let Some(text) = field {
                value[key] = Value::from(text.as_str());
            }
        }
        if !self.uncompensated.is_empty() {
            value["uncompensated"] = json!(self.uncompensated);
        }
        value
    }
}

impl std::fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail.as_deref().or(self.title.as_deref()).unwrap_or(&self.kind))?;
        match &self.instance {
            Some(step) => write!(f, " at {step}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WorkflowError {}

/// Whether two error types are the same. The specification writes its standard types in three
/// ways over two hosts, so those are compared by their last path segment.
pub(super) fn same_type(a: &str, b: &str) -> bool {
    a == b || matches!((standard_name(a), standard_name(b)), (Some(x), Some(y)) if x == y)
}

fn standard_name(kind: &str) -> Option<&str> {
    let path = HOSTS.iter().find_map(|host| kind.strip_prefix(host))?;
    let (before, name) = path.rsplit_once('/')?;
    before.split('/').any(|part| part == "errors").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_types_match_over_hosts_and_paths() {
        let ours = WorkflowError::standard("communication", "t", "d").kind;
        for other in [
            "https://open-workflow-specification.org/spec/1.0.0/errors/communication",
            "https://serverlessworkflow.io/spec/1.0.0/errors/communication",
            "https://open-workflow-specification.org/errors/types/communication",
        ] {
            assert!(same_type(&ours, other), "{other}");
        }
        assert!(!same_type(&ours, "https://open-workflow-specification.org/errors/types/timeout"));
        assert!(!same_type(&ours, "https://example.com/errors/communication"));
        assert!(same_type("https://example.com/x", "https://example.com/x"));
    }
}
