//! What of the language runs here: the one place where the rest is refused.

use automate_core::problem::Problem;
use automate_core::workflow::{Definition, Feature, Limits};

/// How large definitions and runs may be.
pub fn limits() -> Limits {
    Limits { max_executed: 10_000_000, ..Limits::default() }
}

/// What a definition uses that is not carried out yet, each place with what to use instead.
pub fn refused(definition: &Definition) -> Vec<Problem> {
    let refuse = |(feature, pointer): (Feature, &str)| {
        let hint = instead(feature)?;
        let message = format!("{} is not supported", feature.name());
        Some(Problem::error(pointer, "unsupported_task", message).with_hint(hint))
    };
    definition.features().filter_map(refuse).collect()
}

/// None: it is carried out.
fn instead(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::Fork
        | Feature::ParallelFor
        | Feature::Listen
        | Feature::Compensation
        | Feature::Report
        | Feature::Approval
        | Feature::RunWorkflow
        | Feature::TaskTimeout => return None,
        Feature::Schedule => "Use schedule_task.",
        Feature::Authentication => "Send an Authorization header.",
        Feature::Secrets => "Send what is secret as a header that a SQL step reads.",
        Feature::Redirect => "Redirects are not followed; call the final address.",
    })
}
