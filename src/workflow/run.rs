//! A run in memory, and its turn: at most one step, and all that needs nothing from outside.

use super::effect::{self, Trouble};
use super::known::{Known, unreadable};
use super::steps::{self, Row};
use super::{answer, failure};
use crate::error::Failure;
use crate::pg;
use crate::rule::cause;
use automate_core::workflow::{
    Command, Event, Runtime, State, StepRecord, WorkflowError, advance, pending_commands,
};
use pgrx::prelude::*;
use serde_json::Value;
use std::rc::Rc;
use uuid::Uuid;

/// Lost races after which the next one fails the step.
const MAX_LOST_RACES: i32 = 4;

/// Which steps a turn may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those known to be short.
    Shared,
    /// Any.
    Alone,
    /// None: the run is only taken to its next step or its end.
    Still,
}

/// What has happened to a run since its last turn.
pub enum Happened {
    Nothing,
    Timer(String),
    /// The courier's answer to a step's request.
    Answer(String, Value),
    /// The transaction of its last turn failed as a whole.
    Broke(Failure),
}

/// Where a run stands after a turn.
pub enum Stand {
    /// Before a step that an executor does.
    Ready,
    /// Before a step that wants a transaction of its own.
    Alone,
    /// Until a timer: the step, and milliseconds.
    Waiting(String, u64),
    /// Until the courier brings the answer to this request.
    Away(Box<Command>),
    Completed(Value),
    Faulted(WorkflowError),
    Cancelled,
    /// Its step is to be tried again soon.
    LostRace(Failure),
}

impl Stand {
    pub fn is_end(&self) -> bool {
        matches!(self, Stand::Completed(_) | Stand::Faulted(_) | Stand::Cancelled)
    }
}

/// What a turn led to.
pub struct Turn {
    pub stand: Stand,
    pub rows: Vec<Row>,
    /// Whether the run's row must be written.
    pub moved: bool,
}

/// A run as an executor holds it.
pub struct Run {
    pub id: Uuid,
    pub revision: i64,
    pub cancelling: bool,
    pub deadline_us: Option<i64>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    pub(super) owner: pg_sys::Oid,
    pub(super) workflow: Uuid,
    /// Rules and triggers that led to it.
    pub(super) depth: i32,
    pub(super) known: Rc<Known>,
    pub(super) runtime: Runtime,
    /// Until it starts.
    pub(super) input: Option<Value>,
    pub(super) state: Option<State>,
    /// The step it stands before, if it is known in this session.
    pub(super) next: Option<Command>,
}

/// What the parts of a turn share.
struct Play<'a> {
    run: &'a mut Run,
    now: &'a str,
    rows: Vec<Row>,
    moved: bool,
    /// When the step being done began.
    began_us: i64,
}

impl Run {
    /// Does something for the run, which counts in the chain of causes that led to it.
    fn caused<R>(&self, work: impl FnOnce() -> R) -> R {
        if self.depth == 0 { work() } else { cause::within(self.workflow, self.depth, work) }
    }

    /// Lets the run take what has happened and goes on as far as `mode` says; `lost` counts the
    /// races that its step has lost. `now` is RFC 3339.
    pub fn turn(&mut self, happened: Happened, mode: Mode, lost: i32, now: &str) -> Turn {
        let began_us = pg::now();
        let mut play = Play { run: self, now, rows: Vec::new(), moved: false, began_us };
        let stand = play.play(happened, mode, lost).unwrap_or_else(Stand::Faulted);
        let (rows, moved) = (play.rows, play.moved || stand.is_end());
        Turn { stand, rows, moved }
    }

    /// What wakes and events of this run say about their cause.
    pub fn source(&self) -> String {
        format!("workflow:{}", self.runtime.workflow)
    }

    /// The state as JSON text; the inner error is what the run faults with instead.
    pub fn state_text(&self) -> Result<Option<String>, WorkflowError> {
        let Some(state) = &self.state else { return Ok(None) };
        let text = serde_json::to_string(state).map_err(|e| unreadable(&e.to_string()))?;
        if steps::has_nul(&text) { Err(nul()) } else { Ok(Some(text)) }
    }

    pub fn pending_step(&self) -> Option<&str> {
        self.state.as_ref().and_then(State::pending_step)
    }
}

/// PostgreSQL cannot store it.
pub fn nul() -> WorkflowError {
    let detail = "the character \\u0000 cannot be stored; remove it with jq, such as \
                  gsub(\"\\u0000\"; \"\")";
    WorkflowError::standard("validation", "NUL in the data", detail)
}

impl Play<'_> {
    fn play(&mut self, happened: Happened, mode: Mode, lost: i32) -> Result<Stand, WorkflowError> {
        if let Some(stand) = self.stopped()? {
            return Ok(stand);
        }
        let mut commands = self.begin(happened)?;
        let mut allowed = 1;
        loop {
            let Some(command) = self.carry_on(commands)? else {
                return Err(unreadable("it has no next step"));
            };
            let command = match command {
                command if effect::is_effect(&command) => command,
                Command::SetTimer { step, for_ms, .. } => return Ok(Stand::Waiting(step, for_ms)),
                command @ Command::Http { .. } => return Ok(Stand::Away(Box::new(command))),
                Command::Complete { output } => return Ok(Stand::Completed(output)),
                Command::Fault { error } => return Ok(Stand::Faulted(error)),
                _ => return Ok(Stand::Cancelled),
            };
            let short = effect::is_short(&command, &self.run.known);
            if allowed == 0 || mode == Mode::Still || (mode == Mode::Shared && !short) {
                self.run.next = Some(command);
                return Ok(if short { self.forget_running() } else { Stand::Alone });
            }
            allowed -= 1;
            self.began_us = pg::now();
            let source = self.run.source();
            let done =
                self.run.caused(|| effect::carry_out(&command, self.run.owner, &source, self.run));
            let step = self.run.pending_step().unwrap_or_default().to_string();
            let event = match done {
                Ok(output) => Event::Done { step, output },
                Err(Trouble::LostRace(failure)) if lost < MAX_LOST_RACES => {
                    self.run.next = Some(command);
                    return Ok(Stand::LostRace(failure));
                }
                Err(Trouble::LostRace(failure)) => {
                    Event::Failed { step, error: failure::of_sql(&failure, false) }
                }
                Err(Trouble::Failed(error)) => Event::Failed { step, error },
            };
            commands = self.advance(event)?;
        }
    }

    /// Where a run stands that is to be cancelled or has taken too long.
    fn stopped(&mut self) -> Result<Option<Stand>, WorkflowError> {
        let late = self.run.deadline_us.is_some_and(|deadline| pg::now() >= deadline);
        if !self.run.cancelling && !late {
            return Ok(None);
        }
        if self.run.state.is_some() {
            self.advance(Event::Cancelled { compensate: false })?;
        }
        if self.run.cancelling {
            return Ok(Some(Stand::Cancelled));
        }
        let detail = "the run took longer than the timeout of its workflow";
        Err(WorkflowError::standard("timeout", "Timeout", detail))
    }

    /// The commands that follow from what has happened.
    fn begin(&mut self, happened: Happened) -> Result<Vec<Command>, WorkflowError> {
        if self.run.state.is_none() {
            if let Happened::Broke(failure) = happened {
                return Err(failure::of_sql(&failure, false));
            }
            let timeout = self.run.known.definition.timeout_ms();
            self.run.deadline_us = timeout.map(|ms| {
                let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
                self.began_us.saturating_add(us)
            });
            let input = self.run.input.take().unwrap_or_default();
            return self.advance(Event::Start { input });
        }
        let next = self.run.next.take();
        let commands = match happened {
            Happened::Nothing => next.into_iter().collect(),
            Happened::Timer(step) => self.advance(Event::TimerFired { step })?,
            Happened::Answer(step, answer) => {
                let waits = self.run.pending_step() == Some(&step);
                let commands = if waits { self.again()? } else { Vec::new() };
                self.advance(answer::event(&step, &answer, commands.first()))?
            }
            Happened::Broke(failure) => {
                let error = failure::of_sql(&failure, false);
                let Some(step) = self.run.pending_step().map(str::to_owned) else {
                    return Err(error);
                };
                self.advance(Event::Failed { step, error })?
            }
        };
        if !commands.is_empty() {
            return Ok(commands);
        }
        // Nothing is known in this session, or what happened was not for this step.
        self.again()
    }

    /// The command of the step that the run waits for.
    fn again(&self) -> Result<Vec<Command>, WorkflowError> {
        let Some(state) = &self.run.state else { return Ok(Vec::new()) };
        pending_commands(&self.run.known.definition, &self.run.runtime, state, self.now)
    }

    /// Emits the events among the commands; returns the one that is left, if any.
    fn carry_on(&self, commands: Vec<Command>) -> Result<Option<Command>, WorkflowError> {
        let mut last = None;
        for command in commands {
            match command {
                Command::Emit { event, .. } => {
                    self.run.caused(|| effect::emit(&event, self.run))?;
                }
                // The job of a run is its only timer, and knows what it is for.
                Command::ClearTimer { .. } => {}
                command => last = Some(command),
            }
        }
        Ok(last)
    }

    fn advance(&mut self, event: Event) -> Result<Vec<Command>, WorkflowError> {
        let run = &mut *self.run;
        let state = run.state.take();
        let advanced = advance(&run.known.definition, &run.runtime, state, event, self.now)?;
        run.state = Some(advanced.state);
        self.moved = true;
        self.note(advanced.records);
        Ok(advanced.commands)
    }

    fn note(&mut self, records: Vec<StepRecord>) {
        let now_us = pg::now();
        for record in records {
            steps::add(&mut self.rows, self.run.id, record, self.began_us, now_us);
            // What comes after the step began when the step ended.
            self.began_us = now_us;
        }
    }

    /// A short step that comes next gets its row when it is done: half the writing.
    fn forget_running(&mut self) -> Stand {
        if let Some(step) = self.run.pending_step() {
            self.rows.retain(|row| row.status != "running" || row.step != step);
        }
        Stand::Ready
    }
}
