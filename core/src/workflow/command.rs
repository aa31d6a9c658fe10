//! What a run wants done outside, and what it says of its steps.

use super::WorkflowError;
use super::state::{State, Why};
use serde_json::Value;

/// What shall happen outside, in this order. At the end of a run (`Complete`, `Fault`, `Cancel`)
/// nothing is wanted any more, and every timer is cleared.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run one statement; answer with its result in the given shape.
    Sql {
        step: String,
        name: String,
        attempt: u32,
        statement: String,
        params: Vec<Value>,
        result: ResultShape,
        expect: Expect,
        timeout_ms: Option<u64>,
    },
    /// Send a notification: `arguments` holds `template`, `recipients` or `to`, and `data`.
    Notify {
        step: String,
        name: String,
        attempt: u32,
        arguments: Value,
        timeout_ms: Option<u64>,
    },
    /// Do an HTTP request; redirects are not followed.
    Http {
        step: String,
        name: String,
        attempt: u32,
        method: String,
        url: String,
        headers: Value,
        /// Headers whose values are secrets.
        secret_headers: Vec<(String, SecretRef)>,
        authentication: Option<Box<Authentication>>,
        query: Value,
        body: Option<Value>,
        timeout_ms: Option<u64>,
        output: HttpOutput,
        redirect: bool,
    },
    /// Render a report: `arguments` holds `name`, and perhaps `format` and `params`.
    Report {
        step: String,
        name: String,
        attempt: u32,
        arguments: Value,
        timeout_ms: Option<u64>,
    },
    /// Ask people: `arguments` holds `role`, `subject`, `data` and `escalate`; the answer is
    /// `{decision, by, comment, at}`.
    Approval {
        step: String,
        name: String,
        attempt: u32,
        arguments: Value,
    },
    /// Start a run of another workflow; answer with its output, if `wait` is set.
    Run {
        step: String,
        name: String,
        attempt: u32,
        namespace: String,
        workflow: String,
        version: String,
        input: Value,
        wait: bool,
    },
    /// Emit an event in the same transaction as the checkpoint; no answer is expected.
    Emit {
        step: String,
        name: String,
        attempt: u32,
        event: Value,
    },
    /// Bring events that may fit, also those that came before, until the step ends.
    Listen {
        step: String,
        name: String,
        attempt: u32,
        wants: Vec<Wanted>,
    },
    /// Send [`super::Event::TimerFired`] after so many milliseconds. There is one timer to a step.
    SetTimer {
        step: String,
        name: String,
        for_ms: u64,
        why: Why,
    },
    ClearTimer {
        step: String,
    },
    /// Keep the items of a loop, numbered from 0, for [`Command::Page`].
    Keep {
        step: String,
        items: Vec<Value>,
    },
    /// Answer with [`super::Event::Page`]: at most so many of the kept items.
    Page {
        step: String,
        from: u64,
        limit: u64,
    },
    /// The kept items are of no use any more, nor is a page that was asked for.
    Forget {
        step: String,
    },
    /// The answer to the command of this step is not wanted any more.
    Withdraw {
        step: String,
    },
    Complete {
        output: Value,
    },
    Fault {
        error: WorkflowError,
    },
    Cancel,
}

impl Command {
    /// The step it is for; none at the end of a run.
    pub fn step(&self) -> Option<&str> {
        match self {
            Command::Sql { step, .. }
            | Command::Notify { step, .. }
            | Command::Http { step, .. }
            | Command::Report { step, .. }
            | Command::Approval { step, .. }
            | Command::Run { step, .. }
            | Command::Emit { step, .. }
            | Command::Listen { step, .. }
            | Command::SetTimer { step, .. }
            | Command::ClearTimer { step }
            | Command::Keep { step, .. }
            | Command::Page { step, .. }
            | Command::Forget { step }
            | Command::Withdraw { step } => Some(step),
            Command::Complete { .. } | Command::Fault { .. } | Command::Cancel => None,
        }
    }

    /// The step whose answer, event or page it asks for.
    pub(super) fn asks(&self) -> Option<&str> {
        match self {
            Command::Sql { step, .. }
            | Command::Notify { step, .. }
            | Command::Http { step, .. }
            | Command::Report { step, .. }
            | Command::Approval { step, .. }
            | Command::Listen { step, .. }
            | Command::Page { step, .. } => Some(step),
            Command::Run { step, wait: true, .. } => Some(step),
            _ => None,
        }
    }
}

/// What events a listening step wants, as far as it is known beforehand; an event that fits may
/// still be ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// None: of any type. It may be a regular expression for the whole of the type.
    pub event_type: Option<String>,
    pub source: Option<String>,
    /// Values that the correlations of an event must have, by name.
    pub correlate: Vec<(String, Value)>,
}

/// A secret by name, and the member of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub name: String,
    pub path: Vec<String>,
}

/// What is text, or a secret that only the sender sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Plain(String),
    Secret(SecretRef),
}

/// How a request proves who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    Basic {
        username: Text,
        password: Text,
    },
    Bearer {
        token: Text,
    },
    /// OAuth2 with the grant `client_credentials`.
    OAuth2 {
        token_url: String,
        client_id: Text,
        client_secret: Text,
        /// Sent in the `Authorization` header rather than in the body.
        basic: bool,
        /// The request for a token is JSON rather than a form.
        json: bool,
        scopes: Vec<String>,
        audiences: Vec<String>,
    },
}

/// What a SQL step's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultShape {
    /// An array of row objects.
    Rows,
    /// The first row, an object, or null.
    One,
    /// The first column of the first row, or null.
    Scalar,
    /// Null.
    None,
}

/// How many rows a SQL step must give, else it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    /// Exactly one.
    One,
    None,
}

/// What an HTTP step's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpOutput {
    /// The body, parsed by its media type.
    Content,
    /// `{request, statusCode, headers, content}`.
    Response,
    /// The body in base64.
    Raw,
}

/// What happened to a step, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    pub step: String,
    pub name: String,
    pub attempt: u32,
    /// `running`, `waiting`, `completed`, `faulted`, `skipped` or `cancelled`.
    pub status: &'static str,
    pub input: Value,
    pub output: Option<Value>,
    pub error: Option<Value>,
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The run has ended.
    Ended,
    /// It has started before.
    Started,
    /// The run does not wait for this of this step: it is late, or comes a second time.
    NotAwaited,
    /// No filter of the listening step wants the event.
    NotWanted,
    /// The run is suspended; bring the event again when it goes on.
    Suspended,
    /// The run is suspended and takes the event when it goes on.
    Parked,
    /// It was not suspended.
    NotSuspended,
}

/// What one event led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Advanced {
    pub state: State,
    pub commands: Vec<Command>,
    pub records: Vec<StepRecord>,
    /// The event changed nothing, and why.
    pub ignored: Option<Ignored>,
}
