//! Matches on their way into the queue: gathered while a statement fires its triggers, written by
//! one INSERT a rule when it ends, since a statement a match costs more than the match.
//!
//! They are written at the end of the statement that caused them, when there are many, and at the
//! latest just before the commit. What belongs to a subtransaction goes with it: when it aborts, its
//! matches are forgotten, and only those are written in it.

use super::cache::{Rule, Rules};
use super::cause;
use crate::error::Result;
use crate::queue::bulk::Bulk;
use crate::spi::as_extension;
use crate::trigger::tell::Teller;
use crate::{event, pg};
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::rc::Rc;
use uuid::Uuid;

/// Written when there are so many, or so many bytes of them.
const MANY: usize = 1_000;
const LARGE: usize = 4 << 20;

/// What a match is to tell.
pub struct Payload {
    /// JSON: what its job is given, or what the event of a trigger says.
    pub text: String,
    /// Where in it new and old are, if it is an event that has them.
    pub rows: Option<[Range<usize>; 2]>,
    /// The same as the inside of a jsonb value, where we can write that.
    pub jsonb: Option<Vec<u8>>,
}

impl From<String> for Payload {
    fn from(text: String) -> Payload {
        Payload { text, rows: None, jsonb: None }
    }
}

impl Payload {
    fn bytes(&self) -> usize {
        self.text.len() + self.jsonb.as_ref().map_or(0, Vec::len)
    }
}

/// The matches of one rule in one subtransaction.
struct Group {
    rules: Rc<Rules>,
    rule: u32,
    subtransaction: pg_sys::SubTransactionId,
    /// What caused the changes.
    cause: Option<Uuid>,
    depth: i32,
    ids: Vec<Uuid>,
    payloads: Vec<Payload>,
}

/// What tells groups apart: the address of the set, the rule's number in it, the subtransaction and
/// the cause.
type Key = (usize, u32, pg_sys::SubTransactionId, Option<Uuid>, i32);

#[derive(Default)]
struct Pending {
    groups: Vec<Group>,
    places: HashMap<Key, usize>,
    count: usize,
    bytes: usize,
    /// The last id that was given away in this round.
    last: Option<Uuid>,
}

impl Pending {
    /// The next id: those of a round follow each other, so that the matches of a statement are
    /// taken in their order.
    fn next_id(&mut self) -> Uuid {
        let next = match self.last {
            Some(last) => Uuid::from_u128(last.as_u128() + 1),
            None => first_id(),
        };
        self.last = Some(next);
        next
    }
}

/// An id after which others may be counted on.
fn first_id() -> Uuid {
    /// The first bit of what is random in the last eight bytes: left free, so that counting
    /// does not run over.
    const FREE: u128 = 1 << 61;
    Uuid::from_u128(Uuid::now_v7().as_u128() & !FREE)
}

/// So many ids that follow each other.
pub fn ids(count: usize) -> Vec<Uuid> {
    let first = first_id().as_u128();
    (0..count).map(|number| Uuid::from_u128(first + number as u128)).collect()
}

thread_local! {
    static PENDING: RefCell<Pending> = RefCell::new(Pending::default());
    static IS_ANY: Cell<bool> = const { Cell::new(false) };
    /// Counts what ends a gathering.
    static ROUND: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Changes when the matches gathered so far have been written or forgotten, at the latest with the
/// transaction.
pub fn round() -> u64 {
    ROUND.get()
}

/// True when matches wait to be written.
pub fn is_any() -> bool {
    IS_ANY.get()
}

/// Gathers a match.
pub fn add(rules: &Rc<Rules>, rule: u32, payload: Payload) -> Result<()> {
    register();
    // SAFETY: reads a process-local variable.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let is_full = PENDING.with_borrow_mut(|pending| {
        let id = pending.next_id();
        let Pending { groups, places, count, bytes, .. } = pending;
        *count += 1;
        *bytes += payload.bytes();
        let (cause, depth) = (cause::rule(), cause::depth());
        let key = (Rc::as_ptr(rules) as usize, rule, subtransaction, cause, depth);
        let place = *places.entry(key).or_insert_with(|| {
            let rules = rules.clone();
            groups.push(Group {
                rules,
                rule,
                subtransaction,
                cause,
                depth,
                ids: Vec::new(),
                payloads: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].ids.push(id);
        groups[place].payloads.push(payload);
        *count >= MANY || *bytes >= LARGE
    });
    IS_ANY.set(true);
    if is_full { write() } else { Ok(()) }
}

/// Writes what waits and belongs to the current subtransaction.
pub fn write() -> Result<()> {
    // SAFETY: reads a process-local variable.
    let current = unsafe { pg_sys::GetCurrentSubTransactionId() };
    // A child that has ended has a larger number than its parent.
    let groups = take(|group| group.subtransaction >= current);
    if groups.is_empty() {
        return Ok(());
    }
    groups.iter().try_for_each(Group::write)
}

/// Takes out the groups that are wanted.
fn take(wanted: impl Fn(&Group) -> bool) -> Vec<Group> {
    ROUND.set(ROUND.get().wrapping_add(1));
    PENDING.with_borrow_mut(|pending| {
        let (taken, left): (Vec<Group>, Vec<Group>) =
            std::mem::take(&mut pending.groups).into_iter().partition(wanted);
        pending.places.clear();
        pending.last = None;
        pending.count = left.iter().map(|group| group.ids.len()).sum();
        pending.bytes = left.iter().flat_map(|group| &group.payloads).map(Payload::bytes).sum();
        for (place, group) in left.iter().enumerate() {
            pending.places.insert(group.key(), place);
        }
        IS_ANY.set(!left.is_empty());
        pending.groups = left;
        taken
    })
}

impl Group {
    fn key(&self) -> Key {
        let set = Rc::as_ptr(&self.rules) as usize;
        (set, self.rule, self.subtransaction, self.cause, self.depth)
    }

    fn rule(&self) -> &Rule {
        &self.rules.rules[self.rule as usize]
    }

    /// Queues what a rule is to do, or records what a trigger saw.
    fn write(&self) -> Result<()> {
        let rule = self.rule();
        let Some(firing) = &rule.firing else {
            let jobs = Bulk {
                kind: "rule",
                owner: rule.owner,
                source: &format!("rule:{}", rule.name),
                priority: rule.priority,
                max_attempts: super::ATTEMPTS,
                search_path: &rule.search_path.to_string_lossy(),
            };
            let payloads = self.payloads.iter().map(|payload| payload.text.as_str());
            return jobs.put(&self.ids, payloads);
        };
        let seen = event::bulk::Seen {
            trigger: Teller { id: rule.id, name: &rule.name, owner: rule.owner },
            event: &firing.event,
            cause: self.cause,
            depth: self.depth,
        };
        as_extension(|own| seen.record(own, &self.ids, &self.payloads))
    }
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once per backend, for its life; the functions are ours and static.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_end), pg::NO_ARG);
            pg_sys::RegisterSubXactCallback(Some(at_sub_end), pg::NO_ARG);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        // Changes that no statement ends, such as those that logical replication applies.
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE if is_any() => write_before_commit(),
        XACT_EVENT_ABORT => drop(take(|_| true)),
        _ => {}
    }
}

fn write_before_commit() {
    // SAFETY: the transaction is still in progress, and has no snapshot at its end: a statement
    // needs one.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        write().unwrap_or_else(|e| e.raise());
        pg_sys::PopActiveSnapshot();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_sub_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB && is_any() {
        drop(take(|group| group.subtransaction >= subtransaction));
    }
}

static mut PREVIOUS: pg_sys::ExecutorFinish_hook_type = None;

/// Hooks into the end of statements; called from `_PG_init` while the server starts.
pub fn init() {
    // SAFETY: before any other thread or session exists.
    unsafe {
        PREVIOUS = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
    }
}

/// The triggers of a statement have been fired in here.
#[pg_guard]
unsafe extern "C-unwind" fn executor_finish(statement: *mut pg_sys::QueryDesc) {
    // SAFETY: hands the very same argument on, to the hook before ours or to PostgreSQL.
    unsafe {
        match PREVIOUS {
            Some(previous) => pg::guarded(|| previous(statement)),
            None => pg_sys::standard_ExecutorFinish(statement),
        }
    }
    if is_any() {
        write().unwrap_or_else(|e| e.raise());
    }
}
