//! A validated workflow: all tasks in one table, all expressions compiled.

use super::command::{Expect, HttpOutput, ResultShape, SecretRef};
use super::feature::Feature;
use super::limits::Limits;
use super::schema::Shape;
use super::scope::{Place, Scope};
use super::state::State;
use super::strategy::{Listen, Strategy, Taken};
use super::{Runtime, parse};
use crate::jq::{Filter, Template};
use crate::problem::Problem;
use serde_json::{Value, json};

/// A validated workflow, immutable.
#[derive(Debug)]
pub struct Definition {
    pub(super) limits: Limits,
    pub(super) tasks: Vec<Task>,
    pub(super) lists: Vec<List>,
    /// The list the run starts with.
    pub(super) root: usize,
    pub(super) data: Data,
    pub(super) timeout_ms: Option<u64>,
    pub(super) schedule: Option<Start>,
    pub(super) effects: Vec<EffectRef>,
    pub(super) features: Vec<(Feature, String)>,
    /// The document itself, where an expression asks for it.
    pub(super) document: Option<Value>,
}

/// What a step does to the outside world, so that it can be checked before the first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectRef {
    /// A statement as written, with `params` parameters.
    Sql { pointer: String, statement: String, params: usize },
    /// A notification template by name.
    Template { pointer: String, name: String },
    /// A channel that a recipient names.
    Channel { pointer: String, name: String },
    /// An HTTP endpoint; `None` when an expression gives it at run time.
    Http { pointer: String, endpoint: Option<String> },
    /// The type of an event that is emitted; `None` when an expression gives it.
    Event { pointer: String, event_type: Option<String> },
    /// The type, or the pattern of types, that a step or the schedule listens to; `None` when an
    /// expression gives it, or when it does not matter.
    Listens { pointer: String, event_type: Option<String> },
    /// Another workflow.
    Workflow { pointer: String, namespace: String, name: String, version: String },
    /// A report by name.
    Report { pointer: String, name: String },
    /// A role that decides.
    Role { pointer: String, name: String },
    /// A secret by name.
    Secret { pointer: String, name: String },
}

/// When a workflow starts by itself.
#[derive(Debug, Default)]
pub struct Start {
    /// Five or six fields, in UTC.
    pub cron: Option<String>,
    pub every_ms: Option<u64>,
    /// After the end of the run before.
    pub after_ms: Option<u64>,
    pub(super) on: Option<Strategy>,
    pub(super) read: Read,
}

impl Start {
    /// The input of the run that an event starts, if it starts one: an array with what is read of
    /// the event. The events of `all` are gathered by the shell; each that counts is told here.
    pub fn starts_on(
        &self,
        definition: &Definition,
        runtime: &Runtime,
        event: &Value,
    ) -> Option<Value> {
        let on = self.on.as_ref()?;
        let state = State::new();
        let scope = Scope::new(definition, runtime, &state, None, Place::default());
        let taken = on.take(event, &mut Vec::new(), &mut Default::default(), &scope, &Value::Null);
        match taken {
            Ok(Taken::Not) | Err(_) => None,
            Ok(_) => Some(json!([match self.read {
                Read::Data => event.get("data").cloned().unwrap_or_default(),
                Read::Envelope => event.clone(),
            }])),
        }
    }
}

impl Definition {
    /// Reads and checks `document`; all problems are reported at once.
    pub fn parse(document: &Value, limits: &Limits) -> Result<Definition, Vec<Problem>> {
        parse::definition(document, limits)
    }

    /// Every statement, template, endpoint and event type with its place.
    pub fn effects(&self) -> impl Iterator<Item = &EffectRef> {
        self.effects.iter()
    }

    /// What it needs beyond doing one step after another, each with its place in the document.
    pub fn features(&self) -> impl Iterator<Item = (Feature, &str)> {
        self.features.iter().map(|(feature, pointer)| (*feature, pointer.as_str()))
    }

    /// How long a run may take in all, in milliseconds; the shell keeps that clock.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    /// When it starts by itself; the shell keeps that clock too.
    pub fn schedule(&self) -> Option<&Start> {
        self.schedule.as_ref()
    }

    /// Tasks in the definition.
    pub fn steps(&self) -> usize {
        self.tasks.len()
    }
}

/// Tasks that run one after another.
#[derive(Debug, Default)]
pub(super) struct List {
    pub items: Vec<usize>,
}

/// What becomes of data on the way in and out.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub input_shape: Option<Shape>,
    pub input_from: Option<Template>,
    pub output_as: Option<Template>,
    pub output_shape: Option<Shape>,
    pub export_as: Option<Template>,
    pub export_shape: Option<Shape>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub id: usize,
    pub name: String,
    /// JSON Pointer into the definition.
    pub pointer: String,
    pub condition: Option<Filter>,
    pub data: Data,
    pub then: Then,
    pub timeout_ms: Option<u64>,
    /// The list that undoes the task.
    pub compensate: Option<usize>,
    /// The task as it is written, where an expression asks for it.
    pub document: Option<Value>,
    pub kind: Kind,
}

/// Where a run goes after a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Continue,
    /// Leaves the list the task is in.
    Exit,
    /// Ends the run.
    End,
    /// To the task at this place of the same list.
    Goto(usize),
}

#[derive(Debug)]
pub(super) enum Kind {
    Do(usize),
    /// A function of `use.functions`: its input, and the list with its task.
    Function(Template, usize),
    For(Box<ForLoop>),
    Fork(Fork),
    Try(Box<Try>),
    Set(Template),
    Switch(Vec<Case>),
    Wait(Template),
    Raise(Template),
    Sql(Sql),
    Notify(Template),
    Report(Template),
    Approval(Template),
    Http(Box<Http>),
    Emit(Template),
    Listen(Box<Listen>),
    Run(Box<RunWorkflow>),
}

#[derive(Debug)]
pub(super) struct ForLoop {
    pub items: Template,
    pub keep_going: Option<Filter>,
    pub body: usize,
    pub parallel: Option<Parallel>,
}

/// How the turns of a loop go on side by side.
#[derive(Debug)]
pub(super) struct Parallel {
    pub max: u64,
    /// A turn that fails does not fail the loop.
    pub go_on: bool,
    /// What of each turn's output becomes the loop's; none: only counts.
    pub collect: Option<Filter>,
}

#[derive(Debug)]
pub(super) struct Fork {
    /// A list of one task each.
    pub branches: Vec<usize>,
    /// The first to complete wins.
    pub compete: bool,
}

#[derive(Debug)]
pub(super) struct Case {
    pub when: Option<Filter>,
    pub then: Then,
}

#[derive(Debug)]
pub(super) struct Try {
    pub body: usize,
    /// Fields an error must have, by name.
    pub with: Vec<(String, Value)>,
    pub when: Option<Filter>,
    pub except_when: Option<Filter>,
    pub retry: Option<Retry>,
    pub handler: Option<usize>,
    pub then: Option<Then>,
}

#[derive(Debug)]
pub(super) struct Retry {
    pub when: Option<Filter>,
    pub except_when: Option<Filter>,
    pub delay_ms: u64,
    pub backoff: Backoff,
    pub jitter_ms: Option<(u64, u64)>,
    /// Attempts after the first.
    pub count: Option<u64>,
    pub duration_ms: Option<u64>,
    /// How long one attempt may take.
    pub attempt_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backoff {
    Constant,
    Linear,
    Exponential,
}

#[derive(Debug)]
pub(super) struct Sql {
    pub statement: String,
    /// An array.
    pub params: Template,
    pub result: ResultShape,
    pub expect: Expect,
}

#[derive(Debug)]
pub(super) struct Http {
    pub method: String,
    pub endpoint: Template,
    pub headers: Option<Template>,
    pub secret_headers: Vec<(String, SecretRef)>,
    pub authentication: Option<Auth>,
    pub query: Option<Template>,
    pub body: Option<Template>,
    pub output: HttpOutput,
    pub redirect: bool,
}

/// Text that an expression may give, or a secret.
#[derive(Debug)]
pub(super) enum TextSource {
    Template(Template),
    Secret(SecretRef),
}

#[derive(Debug)]
pub(super) enum Auth {
    Basic { username: TextSource, password: TextSource },
    Bearer(TextSource),
    OAuth2(Box<OAuth2>),
}

#[derive(Debug)]
pub(super) struct OAuth2 {
    /// Authority and path of the token endpoint, with `{name}` for members of the input.
    pub token_url: Template,
    pub client_id: TextSource,
    pub client_secret: TextSource,
    pub basic: bool,
    pub json: bool,
    pub scopes: Template,
    pub audiences: Template,
}

#[derive(Debug)]
pub(super) struct RunWorkflow {
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub input: Option<Template>,
    pub wait: bool,
    /// The output of the other run is the task's.
    pub returns: bool,
}

/// How an event is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Read {
    #[default]
    Data,
    Envelope,
}
