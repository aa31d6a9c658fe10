//! What a definition needs from whoever runs it.

/// A part of the language that needs something from the shell beyond doing one step after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    Fork,
    ParallelFor,
    Listen,
    RunWorkflow,
    Report,
    Approval,
    Compensation,
    /// A timeout on a task that the shell does not do as one step.
    TaskTimeout,
    Schedule,
    Authentication,
    Secrets,
    /// `redirect: true` of a request.
    Redirect,
}

impl Feature {
    /// As it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Fork => "the task \"fork\"",
            Feature::ParallelFor => "\"metadata.maxParallel\"",
            Feature::Listen => "the task \"listen\"",
            Feature::RunWorkflow => "\"run: workflow\"",
            Feature::Report => "\"call: report\"",
            Feature::Approval => "\"call: approval\"",
            Feature::Compensation => "\"metadata.compensate\"",
            Feature::TaskTimeout => "a timeout on this kind of task",
            Feature::Schedule => "\"schedule\"",
            Feature::Authentication => "\"endpoint.authentication\"",
            Feature::Secrets => "\"use.secrets\"",
            Feature::Redirect => "\"redirect\"",
        }
    }
}
