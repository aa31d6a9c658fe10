//! A turn of a run: it takes what has happened, does what it does itself, and hands out the rest.

use super::news::{News, Signal};
use super::run::{Happened, Mode, Run, Stand, now_ms};
use super::steps::{self, Row};
use super::{answer, effect, failure, items, news, outside, step_job};
use crate::pg;
use crate::spi::{as_extension, step};
use automate_core::workflow::{
    Command, Event, Ignored, State, Status, StepRecord, WorkflowError, advance, pending_command,
    pending_commands,
};
use std::collections::VecDeque;
use uuid::Uuid;

/// Lost races after which the next one fails the step.
const MAX_LOST_RACES: i32 = 4;
/// Side by side, short steps go on in one turn as long as it has not taken longer, in microseconds.
const TURN_US: i64 = 3_000;

/// What the parts of a turn share.
pub(super) struct Play<'a> {
    run: &'a mut Run,
    now: &'a str,
    pub rows: Vec<Row>,
    pub moved: bool,
    /// When the step being done began.
    began_us: i64,
    /// What the interpreter has not been told yet.
    events: VecDeque<Event>,
    signals: Vec<Signal>,
    /// Rows of automate.run_news that have been taken.
    taken: Vec<Uuid>,
    /// The stored signals are among those above.
    looked: bool,
    /// A step has begun to listen.
    listens: bool,
    /// It has done a step.
    did: bool,
    /// When the turn began.
    turn_us: i64,
    /// What the run waited for before the last event, with the attempts.
    before: Vec<(String, u32)>,
}

impl<'a> Play<'a> {
    pub fn new(run: &'a mut Run, now: &'a str) -> Play<'a> {
        Play {
            run,
            now,
            rows: Vec::new(),
            moved: false,
            began_us: pg::now(),
            events: VecDeque::new(),
            signals: Vec::new(),
            taken: Vec::new(),
            looked: false,
            listens: false,
            did: false,
            turn_us: pg::now(),
            before: Vec::new(),
        }
    }

    /// The signals that are to be kept: those that no step wants so far, and of those that may
    /// come again that they were taken; and the rows of others that were.
    pub fn signals(self) -> (Vec<Signal>, Vec<Uuid>) {
        let mut taken = self.taken;
        let suspended = self.run.state.as_ref().is_some_and(|s| s.status == Status::Suspended);
        // Of what may come again it is kept that it was taken, and of the rest what is not taken.
        // A suspended run takes nothing, and is told nothing twice.
        let (kept, gone): (Vec<Signal>, Vec<Signal>) =
            self.signals.into_iter().partition(|s| s.used == s.once || suspended && !s.used);
        taken.extend(gone.into_iter().filter(|s| s.stored).map(|s| s.id));
        (kept.into_iter().filter(|s| s.used || !s.stored).collect(), taken)
    }

    /// A run that cannot go on faults, and what it waits for is not wanted any more.
    pub fn play(&mut self, happened: Happened, mode: Mode, lost: i32) -> Stand {
        self.take_turn(happened, mode, lost).unwrap_or_else(|error| {
            let pending =
                if self.run.state.is_some() { self.pending() } else { self.before.clone() };
            self.withdraw_all(&pending, None);
            Stand::Faulted(error)
        })
    }

    fn take_turn(
        &mut self,
        happened: Happened,
        mode: Mode,
        lost: i32,
    ) -> Result<Stand, WorkflowError> {
        if let Some(end) = self.begin(happened)? {
            return Ok(end);
        }
        loop {
            if let Some(end) = self.drain()? {
                return Ok(end);
            }
            if !self.may_go_on(mode) {
                return Ok(self.rest());
            }
            let Some(command) = self.run.todo.as_mut().and_then(VecDeque::pop_front) else {
                return Ok(self.rest());
            };
            if let Some(stand) = self.do_step(command, lost) {
                return Ok(stand);
            }
        }
    }

    /// Takes in what has happened: first what the run was told, then the timers that are due.
    fn begin(&mut self, happened: Happened) -> Result<Option<Stand>, WorkflowError> {
        let news = match happened {
            Happened::News(news) => news,
            Happened::Broke(failure) => {
                self.know_todo()?;
                let error = failure::of_sql(&failure, false);
                let first = self.run.todo.as_mut().and_then(VecDeque::pop_front);
                let Some(step) = first.as_ref().and_then(Command::step) else { return Err(error) };
                self.events.push_back(Event::Failed { step: step.to_owned(), error });
                return Ok(None);
            }
        };
        if self.run.state.is_none() {
            if news.iter().any(|n| matches!(n, News::Event(Event::Cancelled { .. }, _))) {
                return Ok(Some(Stand::Cancelled));
            }
            self.start()?;
        } else {
            self.know_todo()?;
        }
        for one in news {
            if let Some(end) = self.hear(one)? {
                return Ok(Some(end));
            }
        }
        let end = self.drain()?;
        self.look_at_clock();
        Ok(end)
    }

    fn start(&mut self) -> Result<(), WorkflowError> {
        let timeout = self.run.known.definition.timeout_ms();
        self.run.deadline_us = timeout.map(|ms| {
            let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
            self.began_us.saturating_add(us)
        });
        let input = self.run.input.take().unwrap_or_default();
        self.run.todo = Some(VecDeque::new());
        self.events.push_back(Event::Start { input });
        Ok(())
    }

    /// The steps that the run does itself, if a session before this one knew them.
    fn know_todo(&mut self) -> Result<(), WorkflowError> {
        if self.run.todo.is_some() {
            return Ok(());
        }
        let Some(state) = &self.run.state else { return Ok(()) };
        let (definition, runtime) = (&self.run.known.definition, &self.run.runtime);
        let commands = match &self.run.named {
            None => pending_commands(definition, runtime, state, self.now)?,
            Some(names) => {
                let mut found = Vec::new();
                for step in names {
                    found.extend(pending_command(definition, runtime, state, step, self.now)?);
                }
                found
            }
        };
        self.run.todo = Some(commands.into_iter().filter(effect::is_effect).collect());
        Ok(())
    }

    /// Takes one piece of news, after all that follows from the one before.
    fn hear(&mut self, news: News) -> Result<Option<Stand>, WorkflowError> {
        if let Some(end) = self.drain()? {
            return Ok(Some(end));
        }
        match news {
            News::Event(event, stored) => {
                self.taken.extend(stored);
                self.run.cancelling |= matches!(event, Event::Cancelled { .. });
                // What came while it was suspended is offered when it goes on.
                self.listens |= matches!(event, Event::Resumed);
                self.events.push_back(event);
            }
            News::Answer { step, attempt, answer, stored } => {
                self.taken.extend(stored);
                let mut pending = self.pending().into_iter();
                let waits = pending.any(|(s, n)| s == step && attempt.is_none_or(|a| a == n));
                if waits && let Some(command) = self.command(&step)? {
                    self.events.push_back(answer::event(&step, &answer, Some(&command)));
                }
            }
            News::Signal(signal) => {
                if self.signals.iter().all(|s| s.id != signal.id) {
                    self.signals.push(signal);
                    return self.offer(self.signals.len() - 1);
                }
            }
        }
        Ok(None)
    }

    /// Tells the interpreter all that there is to tell.
    fn drain(&mut self) -> Result<Option<Stand>, WorkflowError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let (Some(end), _) = self.advance(event)? {
                    return Ok(Some(end));
                }
            }
            if !std::mem::take(&mut self.listens) {
                return Ok(None);
            }
            if let Some(end) = self.offer_earlier()? {
                return Ok(Some(end));
            }
        }
    }

    /// Offers a signal to the steps that listen.
    fn offer(&mut self, index: usize) -> Result<Option<Stand>, WorkflowError> {
        let Some(state) = &self.run.state else { return Ok(None) };
        let steps: Vec<String> = state.listening_steps().map(str::to_owned).collect();
        for step in steps {
            let Some(signal) = self.signals.get_mut(index) else { break };
            let event = Event::Heard { step, event: signal.event.clone() };
            let (end, heard) = self.advance(event)?;
            if let Some(signal) = self.signals.get_mut(index) {
                signal.used |= heard;
            }
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }

    /// A step has begun to listen: it may want what came before.
    fn offer_earlier(&mut self) -> Result<Option<Stand>, WorkflowError> {
        if !self.looked && self.run.told > 0 {
            self.looked = true;
            let stored = as_extension(|own| news::signals(own, self.run.id));
            let stored = stored.unwrap_or_else(|e| e.raise());
            for signal in stored {
                if self.signals.iter().all(|s| s.id != signal.id) {
                    self.signals.push(signal);
                }
            }
            self.signals.sort_by_key(|s| s.id);
        }
        for index in 0..self.signals.len() {
            if self.signals.get(index).is_none_or(|s| s.used) {
                continue;
            }
            if let Some(end) = self.offer(index)? {
                return Ok(Some(end));
            }
            if self.listens {
                // The next step has begun to listen: it, too, takes the earliest first.
                break;
            }
        }
        Ok(None)
    }

    /// Timers that are due, and the end of the run's own time.
    fn look_at_clock(&mut self) {
        if self.run.deadline_us.is_some_and(|deadline| pg::now() >= deadline) {
            self.run.deadline_us = None;
            self.events.push_back(Event::TimedOut);
        }
        if let Some(state) = self.run.state.as_ref().filter(|s| s.status != Status::Suspended) {
            let due = state.due_timers(now_ms()).into_iter();
            self.events.extend(due.map(|step| Event::TimerFired { step }));
        }
    }

    /// Whether the run does its next step now.
    fn may_go_on(&mut self, mode: Mode) -> bool {
        let suspended = self.run.state.as_ref().is_some_and(|s| s.status == Status::Suspended);
        if suspended || mode == Mode::Still {
            return false;
        }
        if !self.is_sole() {
            self.hand_out();
            return self.first_is_short().is_some()
                && (!self.did || pg::now() - self.turn_us < TURN_US);
        }
        // One step to a commit.
        !self.did && self.first_is_short().is_some_and(|short| short || mode == Mode::Alone)
    }

    fn first_is_short(&self) -> Option<bool> {
        let first = self.run.todo.as_ref()?.front()?;
        Some(effect::is_short(first, &self.run.known))
    }

    /// Nothing goes on beside the step that it stands before.
    fn is_sole(&self) -> bool {
        self.run.state.as_ref().is_none_or(|state| state.leaves() <= 1)
    }

    /// What goes on side by side and may take long becomes a job of its own.
    fn hand_out(&mut self) {
        let Some(todo) = self.run.todo.take() else { return };
        let (short, long): (VecDeque<Command>, VecDeque<Command>) =
            todo.into_iter().partition(|command| effect::is_short(command, &self.run.known));
        self.run.todo = Some(short);
        for command in &long {
            let put = as_extension(|own| step_job::put(own, self.run, command));
            put.unwrap_or_else(|e| e.raise());
            self.moved = true;
        }
    }

    /// Does a step; an answer ends the turn.
    fn do_step(&mut self, command: Command, lost: i32) -> Option<Stand> {
        self.did = true;
        self.began_us = pg::now();
        let step = command.step().unwrap_or_default().to_owned();
        let run = &*self.run;
        let event = match run.caused(|| effect::carry_out(&command, run)) {
            Ok(output) => Event::Done { step, output },
            Err(effect::Trouble::LostRace(failure)) if lost < MAX_LOST_RACES => {
                self.run.todo.get_or_insert_default().push_front(command);
                return Some(Stand::LostRace(failure));
            }
            Err(effect::Trouble::LostRace(failure)) => {
                Event::Failed { step, error: failure::of_sql(&failure, false) }
            }
            // The time of a task around it, or of the run, is over.
            Err(effect::Trouble::TimedOut(_)) if self.run.left_ms(&step) == Some(1) => {
                self.look_at_clock();
                return None;
            }
            Err(effect::Trouble::TimedOut(error) | effect::Trouble::Failed(error)) => {
                Event::Failed { step, error }
            }
        };
        self.events.push_back(event);
        None
    }

    /// Where the run stands when it does nothing more in this turn.
    fn rest(&mut self) -> Stand {
        let Some(state) = &self.run.state else { return Stand::Ready };
        if state.status == Status::Suspended {
            return Stand::Resting(None);
        }
        match self.first_is_short() {
            Some(false) if self.is_sole() => Stand::Alone,
            Some(_) => {
                self.forget_running();
                Stand::Ready
            }
            None => {
                let left =
                    state.next_timer_ms().map(|at| u64::try_from(at - now_ms()).unwrap_or(0));
                Stand::Resting(left)
            }
        }
    }

    /// Tells the interpreter what happened and carries out what it commands; also says whether it
    /// took the event.
    fn advance(&mut self, event: Event) -> Result<(Option<Stand>, bool), WorkflowError> {
        let done = match &event {
            // What the step has asked for is still under way.
            Event::TimerFired { .. } => None,
            event => event.step().map(str::to_owned),
        };
        let sole = self.run.state.as_ref().is_none_or(|s| s.pending_step() == done.as_deref());
        self.before = if sole && self.is_sole() { Vec::new() } else { self.pending() };
        let run = &mut *self.run;
        let state = run.state.take();
        let advanced = advance(&run.known.definition, &run.runtime, state, event, self.now)?;
        run.state = Some(advanced.state);
        self.moved |= matches!(advanced.ignored, None | Some(Ignored::Parked));
        self.note(advanced.records);
        for command in advanced.commands {
            if let Some(end) = self.carry_on(command)? {
                let before = std::mem::take(&mut self.before);
                self.withdraw_all(&before, done.as_deref());
                return Ok((Some(end), true));
            }
        }
        Ok((None, advanced.ignored.is_none()))
    }

    /// Carries out a command, or keeps it for its turn.
    fn carry_on(&mut self, command: Command) -> Result<Option<Stand>, WorkflowError> {
        let own_work = |work: &mut dyn FnMut(&crate::spi::Own) -> crate::error::Result<()>| {
            as_extension(|own| work(own)).unwrap_or_else(|e| e.raise());
        };
        match command {
            command if effect::is_effect(&command) => {
                self.run.todo.get_or_insert_default().push_back(command);
            }
            Command::Emit { event, .. } => {
                self.run.caused(|| effect::emit(&event, self.run))?;
            }
            // The state knows its timers.
            Command::SetTimer { .. } | Command::ClearTimer { .. } => {}
            Command::Keep { step, items } => {
                own_work(&mut |own| items::keep(own, self.run, &step, &items))
            }
            Command::Page { step, from, limit } => {
                let page = as_extension(|own| items::page(own, self.run.id, &step, from, limit));
                let items = page.unwrap_or_else(|e| e.raise());
                self.events.push_back(Event::Page { step, from, items });
            }
            Command::Forget { step } => own_work(&mut |own| items::forget(own, self.run.id, &step)),
            Command::Withdraw { step } => {
                let known = self.before.iter().find(|(s, _)| *s == step);
                let attempt = known.map_or(1, |(_, attempt)| *attempt);
                self.withdraw(&step, attempt);
            }
            Command::Complete { output } => return Ok(Some(Stand::Completed(output))),
            Command::Fault { error } => return Ok(Some(Stand::Faulted(error))),
            Command::Cancel => return Ok(Some(Stand::Cancelled)),
            command => self.issue(&command)?,
        }
        Ok(None)
    }

    /// Hands out what somebody else does; what cannot be handed out fails its step, or the run if
    /// the step does not wait for it.
    fn issue(&mut self, command: &Command) -> Result<(), WorkflowError> {
        let run = &*self.run;
        let issued = step::in_subtransaction(|| {
            let issued = run.caused(|| as_extension(|own| outside::issue(own, run, command)));
            issued.unwrap_or_else(|e| e.raise());
        });
        self.listens |= matches!(command, Command::Listen { .. });
        if let Err(failure) = issued {
            let step = command.step().unwrap_or_default().to_owned();
            let mut error = failure::of_sql(&failure, false);
            if matches!(command, Command::Run { wait: false, .. }) {
                error.instance = Some(step);
                return Err(error);
            }
            self.events.push_back(Event::Failed { step, error });
        }
        Ok(())
    }

    /// What these steps have asked for is not wanted any more.
    fn withdraw_all(&mut self, steps: &[(String, u32)], but: Option<&str>) {
        for (step, attempt) in steps.iter().filter(|(step, _)| Some(step.as_str()) != but) {
            self.withdraw(step, *attempt);
        }
    }

    fn withdraw(&mut self, step: &str, attempt: u32) {
        let todo = self.run.todo.get_or_insert_default();
        let before = todo.len();
        todo.retain(|command| command.step() != Some(step));
        if todo.len() == before {
            let run = &*self.run;
            let withdrawn = as_extension(|own| outside::withdraw(own, run, step, attempt));
            withdrawn.unwrap_or_else(|e| e.raise());
        }
    }

    fn pending(&self) -> Vec<(String, u32)> {
        let state = self.run.state.iter();
        state.flat_map(State::pending_attempts).map(|(s, n)| (s.to_owned(), n)).collect()
    }

    /// The command of a step that the run waits for.
    fn command(&self, step: &str) -> Result<Option<Command>, WorkflowError> {
        let Some(state) = &self.run.state else { return Ok(None) };
        pending_command(&self.run.known.definition, &self.run.runtime, state, step, self.now)
    }

    fn note(&mut self, records: Vec<StepRecord>) {
        let now_us = pg::now();
        for record in records {
            steps::add(&mut self.rows, self.run.id, record, self.began_us, now_us);
            // What comes after the step began when the step ended.
            self.began_us = now_us;
        }
    }

    /// Short steps that come next get their rows when they are done: half the writing.
    fn forget_running(&mut self) {
        let todo: Vec<&str> = self.run.todo.iter().flatten().filter_map(Command::step).collect();
        self.rows.retain(|row| row.status != "running" || !todo.contains(&row.step.as_str()));
    }
}
