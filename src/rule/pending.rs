//! Matches on their way into the queue: gathered while a statement fires its triggers, written by
//! one INSERT a rule when it ends, since a statement a match costs more than the match.
//!
//! They are written at the end of the statement that caused them, when there are many, and at the
//! latest just before the commit. What belongs to a subtransaction goes with it: when it aborts, its
//! matches are forgotten, and only those are written in it.

use super::cache::{Rule, Rules};
use crate::error::Result;
use crate::spi::{Own, as_extension};
use crate::{pg, wake};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use uuid::Uuid;

/// Written when there are so many, or so many bytes of them.
const MANY: usize = 1_000;
const LARGE: usize = 4 << 20;

/// The matches of one rule in one subtransaction.
struct Group {
    rules: Rc<Rules>,
    rule: u32,
    subtransaction: pg_sys::SubTransactionId,
    ids: Vec<Uuid>,
    payloads: Vec<String>,
}

#[derive(Default)]
struct Pending {
    groups: Vec<Group>,
    /// Where the group of a rule is, by the address of its set, its number and the subtransaction.
    places: HashMap<(usize, u32, pg_sys::SubTransactionId), usize>,
    count: usize,
    bytes: usize,
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

/// Gathers a match; `payload` is the JSON that its job is given.
pub fn add(rules: &Rc<Rules>, rule: u32, payload: String) -> Result<()> {
    register();
    // SAFETY: reads a process-local variable.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let is_full = PENDING.with_borrow_mut(|pending| {
        let Pending { groups, places, count, bytes } = pending;
        *count += 1;
        *bytes += payload.len();
        let key = (Rc::as_ptr(rules) as usize, rule, subtransaction);
        let place = *places.entry(key).or_insert_with(|| {
            let rules = rules.clone();
            groups.push(Group {
                rules,
                rule,
                subtransaction,
                ids: Vec::new(),
                payloads: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].ids.push(Uuid::now_v7());
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
    as_extension(|own| groups.iter().try_for_each(|group| group.write(own)))
}

/// Takes out the groups that are wanted.
fn take(wanted: impl Fn(&Group) -> bool) -> Vec<Group> {
    ROUND.set(ROUND.get().wrapping_add(1));
    PENDING.with_borrow_mut(|pending| {
        let (taken, left): (Vec<Group>, Vec<Group>) =
            std::mem::take(&mut pending.groups).into_iter().partition(wanted);
        pending.places.clear();
        pending.count = left.iter().map(|group| group.ids.len()).sum();
        pending.bytes = left.iter().flat_map(|group| &group.payloads).map(String::len).sum();
        for (place, group) in left.iter().enumerate() {
            let key = (Rc::as_ptr(&group.rules) as usize, group.rule, group.subtransaction);
            pending.places.insert(key, place);
        }
        IS_ANY.set(!left.is_empty());
        pending.groups = left;
        taken
    })
}

impl Group {
    fn rule(&self) -> &Rule {
        &self.rules.rules[self.rule as usize]
    }

    fn write(&self, own: &Own) -> Result<()> {
        let rule = self.rule();
        let ids: Vec<pgrx::Uuid> =
            self.ids.iter().map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).collect();
        own.run(
            "INSERT INTO automate.job (id, kind, status, owner, priority, run_at, max_attempts, lane,
                                       source, search_path, payload)
             SELECT m.id, 'rule', 'ready', $3, $4, pg_catalog.now(), $5, 's', $6, $7, m.payload
             FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]),
                             pg_catalog.unnest($2::pg_catalog.json[])) AS m(id, payload)",
            &[
                ids.into(),
                json_array(&self.payloads),
                rule.owner.into(),
                rule.priority.into(),
                super::ATTEMPTS.into(),
                format!("rule:{}", rule.name).into(),
                rule.search_path.to_string_lossy().into_owned().into(),
            ],
        )?;
        wake::arm_role(rule.owner);
        Ok(())
    }
}

/// An array of json in the current memory context. The texts are JSON already: they are not read
/// again.
fn json_array(texts: &[String]) -> DatumWithOid<'static> {
    // SAFETY: json is stored as text is; the array copies its members, whose length it reads from
    // their headers.
    unsafe {
        let mut members: Vec<pg_sys::Datum> = texts
            .iter()
            .map(|text| {
                let length = i32::try_from(text.len()).unwrap_or(0);
                pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), length))
            })
            .collect();
        let count = i32::try_from(members.len()).unwrap_or(0);
        let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
        let json = pg_sys::JSONOID;
        let array = pg_sys::construct_array(members.as_mut_ptr(), count, json, -1, false, align);
        DatumWithOid::new(Made(pg_sys::Datum::from(array)), pg_sys::JSONARRAYOID)
    }
}

/// An array of json that is a datum already.
struct Made(pg_sys::Datum);

impl IntoDatum for Made {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONARRAYOID
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
