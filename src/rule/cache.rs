//! The rules and data triggers of a table as this session has compiled them: loaded at the table's
//! first change, loaded anew after anything they depend on has changed.

use super::asks;
use super::compile;
use super::data_trigger::{self, Firing};
use super::family::{self, Parent};
use super::fault::Culprit;
use super::index::{self, Index};
use super::inline::Inline;
use super::kept::{self, Kept};
use super::membership::Crossing;
use super::row_json::RowWriter;
use super::ruleset::{Hit, Member};
use super::tally::Tally;
use super::terms::Terms;
use crate::error::Result;
use crate::pg;
use crate::spi::{Own, as_extension};
use automate_core::rule::reads::Reads;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;
use uuid::Uuid;

/// The operations as bits.
pub const INSERT: u8 = 1;
pub const UPDATE: u8 = 2;
pub const DELETE: u8 = 4;
/// Of whole statements only.
pub const TRUNCATE: u8 = 8;

/// When a rule acts: before the row is written, or after.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    Before,
    After,
}

impl Timing {
    /// As it stands in automate.rule.timing.
    pub fn word(self) -> &'static str {
        match self {
            Timing::Before => "before",
            Timing::After => "after",
        }
    }
}

/// A rule with its condition, or a data trigger, which is a rule that records an event.
pub struct Rule {
    pub id: Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    pub priority: i32,
    /// The changes of rows that it wants.
    pub operations: u8,
    pub search_path: CString,
    pub condition: Condition,
    pub terms: Terms,
    pub inline: Inline,
    /// The set in which it is decided.
    pub member: Option<Member>,
    pub version: i32,
    /// What its actions read of the rows after the commit.
    pub reads: Reads,
    /// What its matches keep, found out with the first.
    pub kept: OnceCell<Option<Kept>>,
    /// Of a data trigger: what it records.
    pub firing: Option<Firing>,
}

impl Rule {
    /// Whose failure it is when it fails.
    pub fn culprit(&self) -> Culprit<'_> {
        let word = if self.firing.is_some() { "trigger" } else { "rule" };
        Culprit { word, id: self.id, name: &self.name, owner: self.owner }
    }

    /// What its matches keep of the rows; None: all.
    pub fn kept(&self, rules: &Rules) -> Option<&Kept> {
        self.kept.get_or_init(|| Kept::of(rules, self)).as_ref()
    }

    pub fn is_broken(&self) -> bool {
        matches!(self.condition, Condition::Broken)
    }
}

/// How a condition is evaluated.
pub enum Condition {
    /// There is none: every change matches.
    Always,
    /// Can neither fail nor run foreign code.
    Plain(*mut pg_sys::ExprState),
    /// Evaluated as the owner in a subtransaction.
    Guarded(Guarded),
    /// Did not compile: passed over until something changes.
    Broken,
}

/// A condition that may fail. Its state lives for a transaction and ends with an error, since
/// functions keep things in it that do not outlive these.
pub struct Guarded {
    pub expr: *mut pg_sys::Expr,
    pub context: pg_sys::MemoryContext,
    pub state: Cell<*mut pg_sys::ExprState>,
    /// The transaction for which the state was made.
    pub made: Cell<i64>,
}

/// A condition in the form that the loop over all rules reads.
#[derive(Clone, Copy)]
pub struct Test {
    pub state: *mut pg_sys::ExprState,
    pub operations: u8,
    pub rule: u32,
}

/// The rules of a table, by priority and name, and behind them its data triggers.
pub struct Rules {
    pub rules: Vec<Rule>,
    /// Index of the first data trigger.
    pub first_trigger: u32,
    /// The plain conditions, and the rules without one (null).
    pub tests: Vec<Test>,
    /// The same tests by the values they ask for, when they are many.
    pub index: Option<Index>,
    /// The indexes of the guarded ones.
    pub guarded: Vec<u32>,
    /// The changes of rows that any of them wants.
    pub operations: u8,
    /// The tables from which it inherits: their rules see its rows, too.
    pub parents: Vec<Parent>,
    pub econtext: *mut pg_sys::ExprContext,
    /// A row of NULLs for the side that a change does not have.
    pub no_row: *mut pg_sys::TupleTableSlot,
    /// A place for a row that rules before the write have changed.
    pub new_row: *mut pg_sys::TupleTableSlot,
    /// The table as events name it: schema and name, of the partitioned table if it is a part.
    pub schema: String,
    pub table: String,
    pub partition: Option<String>,
    /// Columns have types whose JSON may run foreign code or be refused.
    pub delicate: bool,
    pub tally: Tally,
    /// Writes the table's rows as JSON, if its types are of the simple kind.
    pub writer: Option<RowWriter>,
    pub(super) context: pg_sys::MemoryContext,
    stale: Cell<bool>,
    /// Good for this transaction only: it was read under an old snapshot.
    only_in: Option<i64>,
}

thread_local! {
    static TABLES: RefCell<HashMap<(pg_sys::Oid, Timing), Rc<Rules>>> = RefCell::new(HashMap::new());
    /// Replaced, but perhaps still in use further up the stack.
    static RETIRED: RefCell<Vec<Rc<Rules>>> = const { RefCell::new(Vec::new()) };
    /// Counts invalidations, so that one that comes while loading is not missed.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Everything is stale, said while the table of tables was in use.
    static ALL_STALE: Cell<bool> = const { Cell::new(false) };
}

/// The rules of the table that act at that time, compiled.
///
/// # Safety
/// The relation is open.
pub unsafe fn rules_of(relation: pg_sys::Relation, timing: Timing) -> Result<Rc<Rules>> {
    // SAFETY: the caller has the relation open.
    let key = unsafe { ((*relation).rd_id, timing) };
    if ALL_STALE.replace(false) {
        TABLES.with_borrow(|tables| tables.values().for_each(|rules| rules.stale.set(true)));
    }
    if let Some(rules) = TABLES.with_borrow(|tables| tables.get(&key).cloned())
        && !rules.stale.get()
        && rules.only_in.is_none_or(|transaction| transaction == this_transaction())
    {
        return Ok(rules);
    }
    register();
    let before = CHANGES.get();
    let rules = Rc::new(load(relation, timing)?);
    if CHANGES.get() != before {
        rules.stale.set(true);
    }
    let old = TABLES.with_borrow_mut(|tables| tables.insert(key, rules.clone()));
    if let Some(old) = old {
        RETIRED.with_borrow_mut(|retired| retired.push(old));
    }
    free_retired();
    Ok(rules)
}

/// What tells one transaction of this session from another.
pub fn this_transaction() -> i64 {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Frees what nobody uses any more. Not by a destructor: those also run while an error unwinds
/// and while the process ends.
fn free_retired() {
    RETIRED.with_borrow_mut(|retired| {
        retired.retain(|rules| {
            let in_use = Rc::strong_count(rules) > 1;
            if !in_use {
                // SAFETY: ours, and this is the last holder; no test of it runs.
                unsafe { pg_sys::MemoryContextDelete(rules.context) };
            }
            in_use
        });
    });
}

fn register() {
    if !REGISTERED.replace(true) {
        use pg_sys::SysCacheIdentifier::*;
        let none = pg_sys::Datum::from(0);
        // SAFETY: registered once per session, for its life; the functions are static.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), none);
            // Functions may have been inlined; rights may have gone.
            for cache in [PROCOID, AUTHOID, AUTHMEMROLEMEM] {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(catalog_changed), none);
            }
        }
    }
}

/// A relation changed; 0 stands for all. Only sets flags: it comes in the middle of anything.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relid: pg_sys::Oid) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
    if relid == pg_sys::InvalidOid {
        ALL_STALE.set(true);
        return;
    }
    TABLES.with(|tables| match tables.try_borrow() {
        Ok(tables) => {
            for timing in [Timing::Before, Timing::After] {
                if let Some(rules) = tables.get(&(relid, timing)) {
                    rules.stale.set(true);
                }
            }
        }
        Err(_) => ALL_STALE.set(true),
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn catalog_changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
    ALL_STALE.set(true);
}

/// Tells every session that the rules of a table, and of its partitions, changed.
pub fn announce(own: &Own, table: pg_sys::Oid) -> Result<()> {
    // SAFETY: look-ups in the catalog; the relation is there if it has a kind.
    unsafe {
        match pg_sys::get_rel_relkind(table) as u8 {
            0 => return Ok(()),
            b'p' => {}
            _ => {
                pg_sys::CacheInvalidateRelcacheByRelid(table);
                return Ok(());
            }
        }
    }
    let rows = own.run(
        "SELECT p.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) AS p",
        &[table.into()],
    )?;
    for i in 0..rows.len() {
        if let Some(oid) = rows.get::<pg_sys::Oid>(i, 1) {
            // SAFETY: the relation exists in this transaction's view.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(oid) };
        }
    }
    Ok(())
}

/// A rule or a data trigger as its row says.
pub(super) struct Row {
    pub id: Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    pub table: pg_sys::Oid,
    pub operations: u8,
    pub condition: Option<String>,
    pub crossing: Option<Crossing>,
    pub search_path: CString,
    pub priority: i32,
    pub columns: Vec<String>,
    pub terms: Terms,
    /// Only where some of them are done within the write.
    pub actions: Option<String>,
    pub member: Option<Member>,
    pub version: i32,
    pub reads: Reads,
    pub firing: Option<Firing>,
}

fn read_rows(relations: &[pg_sys::Oid], timing: Timing) -> Result<Vec<Row>> {
    as_extension(|own| {
        let rows = own.run(
            "SELECT id, name, owner::pg_catalog.oid, on_table::pg_catalog.oid,
                    (CASE WHEN 'insert' = ANY (operations) THEN 1 ELSE 0 END
                     + CASE WHEN 'update' = ANY (operations) THEN 2 ELSE 0 END
                     + CASE WHEN 'delete' = ANY (operations) THEN 4 ELSE 0 END)::pg_catalog.int4,
                    coalesce(condition_sql, condition), search_path, priority,
                    columns, stop, on_error = 'fail', valid_from, valid_until,
                    CASE WHEN timing = 'before' OR actions @? '$[*].timing' THEN actions::pg_catalog.text END,
                    ruleset, (SELECT s.hit_policy FROM automate.ruleset AS s WHERE s.id = ruleset),
                    version, reads
             FROM automate.rule
             WHERE on_table = ANY ($1::pg_catalog.regclass[]) AND status = 'active' AND timing = $2
             ORDER BY priority, name, id",
            &[relations.to_vec().into(), timing.word().into()],
        )?;
        let mut found = Vec::with_capacity(rows.len());
        for i in 0..rows.len() {
            let (Some(id), Some(owner), Some(table)) =
                (rows.get::<pgrx::Uuid>(i, 1), rows.get(i, 3), rows.get(i, 4))
            else {
                continue;
            };
            let path: String = rows.get(i, 7).unwrap_or_default();
            found.push(Row {
                id: Uuid::from_bytes(*id.as_bytes()),
                name: rows.get(i, 2).unwrap_or_default(),
                owner,
                table,
                operations: rows.get::<i32>(i, 5).unwrap_or(0) as u8,
                condition: rows.get(i, 6),
                crossing: None,
                search_path: CString::new(path).unwrap_or_default(),
                priority: rows.get(i, 8).unwrap_or(100),
                columns: rows.get(i, 9).unwrap_or_default(),
                terms: Terms {
                    columns: Vec::new(),
                    on_replica: false,
                    stop: rows.get(i, 10).unwrap_or(false),
                    fails: rows.get(i, 11).unwrap_or(false),
                    valid_from: rows.get::<TimestampWithTimeZone>(i, 12).map(i64::from),
                    valid_until: rows.get::<TimestampWithTimeZone>(i, 13).map(i64::from),
                },
                actions: rows.get(i, 14),
                member: rows.get::<pgrx::Uuid>(i, 15).map(|set| Member {
                    set: Uuid::from_bytes(*set.as_bytes()),
                    hit: Hit::of(&rows.get::<String>(i, 16).unwrap_or_default()),
                }),
                version: rows.get(i, 17).unwrap_or(1),
                reads: kept::reads(rows.get(i, 18)),
                firing: None,
            });
        }
        Ok(found)
    })
}

/// The table and the partitioned tables it is a part of, nearest first.
pub(super) fn with_ancestors(relid: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut found = vec![relid];
    // SAFETY: look-ups in the catalog; the list is of OIDs and palloc'd.
    unsafe {
        if pg_sys::get_rel_relispartition(relid) {
            let list = pg::guarded(|| pg::c::get_partition_ancestors(relid));
            if !list.is_null() {
                let length = (*list).length as usize;
                found.extend((0..length).map(|i| (*(*list).elements.add(i)).oid_value));
            }
        }
    }
    found
}

fn load(relation: pg_sys::Relation, timing: Timing) -> Result<Rules> {
    // SAFETY: the caller has the relation open.
    let (relid, descriptor) = unsafe { ((*relation).rd_id, (*relation).rd_att) };
    let relations = with_ancestors(relid);
    let mut rows = read_rows(&relations, timing)?;
    let first_trigger = rows.len() as u32;
    let mut parents = Vec::new();
    if timing == Timing::After {
        rows.extend(data_trigger::read_rows(&relations)?);
        parents = family::parents_of(relid)?;
    }
    // SAFETY: a context of ours under the top one; `free_retired` frees it.
    let context = unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"pg_automate rules".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        )
    };
    let rules = compile::compile_all(context, relid, rows)?;
    let root = relations.last().copied().unwrap_or(relid);
    // SAFETY: allocated in our context; the descriptor is copied, since the relation's own may go.
    let (econtext, no_row, new_row) = unsafe {
        let before = pg_sys::MemoryContextSwitchTo(context);
        let econtext = pg_sys::CreateStandaloneExprContext();
        let copy = pg_sys::CreateTupleDescCopy(descriptor);
        let no_row = pg_sys::MakeSingleTupleTableSlot(copy, &raw const pg_sys::TTSOpsVirtual);
        pg_sys::ExecStoreAllNullTuple(no_row);
        let new_row = pg_sys::MakeSingleTupleTableSlot(copy, &raw const pg_sys::TTSOpsHeapTuple);
        pg_sys::MemoryContextSwitchTo(before);
        (econtext, no_row, new_row)
    };
    let (schema, table) = name_of(root);
    let tests = tests(&rules);
    Ok(Rules {
        index: (tests.len() >= index::WORTH_IT).then(|| index_of(&tests, context)),
        tests,
        guarded: guarded(&rules),
        operations: rules.iter().fold(0, |all, rule| all | rule.operations),
        tally: Tally::of(rules.len()),
        // SAFETY: the caller has the relation open; the context is freed after the set.
        writer: unsafe { RowWriter::of(descriptor, context, |_| true) },
        first_trigger,
        rules,
        parents,
        econtext,
        no_row,
        new_row,
        schema,
        table,
        partition: (root != relid).then(|| name_of(relid).1),
        delicate: has_delicate_columns(descriptor),
        context,
        stale: Cell::new(false),
        only_in: reads_old_snapshot().then(this_transaction),
    })
}

fn tests(rules: &[Rule]) -> Vec<Test> {
    let of = |(index, rule): (usize, &Rule)| {
        let state = match &rule.condition {
            Condition::Always => std::ptr::null_mut(),
            Condition::Plain(state) => *state,
            _ => return None,
        };
        if rule.operations == 0 {
            return None;
        }
        Some(Test { state, operations: rule.operations, rule: index as u32 })
    };
    rules.iter().enumerate().filter_map(of).collect()
}

fn index_of(tests: &[Test], context: pg_sys::MemoryContext) -> Index {
    let ask = |test: &Test| {
        // SAFETY: null, or a state that keeps the expression from which it was made.
        unsafe { if test.state.is_null() { None } else { asks::of((*test.state).expr.cast()) } }
    };
    let tests = tests.iter().map(|test| (*test, ask(test))).collect();
    // SAFETY: the expressions are in the context, which is freed after the index.
    unsafe { Index::of(tests, context) }
}

fn guarded(rules: &[Rule]) -> Vec<u32> {
    let is_guarded = |rule: &Rule| matches!(rule.condition, Condition::Guarded(_));
    (0..rules.len()).filter(|i| is_guarded(&rules[*i])).map(|i| i as u32).collect()
}

/// REPEATABLE READ and SERIALIZABLE see the rules of their beginning; the next transaction must not.
fn reads_old_snapshot() -> bool {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

pub(super) fn name_of(relid: pg_sys::Oid) -> (String, String) {
    // SAFETY: look-ups in the catalog; null for what is gone, else palloc'd text.
    unsafe {
        let text = |name: *mut std::ffi::c_char| {
            if name.is_null() {
                String::new()
            } else {
                std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid));
        (text(schema), text(pg_sys::get_rel_name(relid)))
    }
}

/// json keeps texts that jsonb refuses, and types that are not PostgreSQL's own may be cast to
/// json by anybody's function.
fn has_delicate_columns(descriptor: pg_sys::TupleDesc) -> bool {
    // SAFETY: the descriptor of an open relation.
    unsafe {
        (*descriptor).attrs.as_slice((*descriptor).natts as usize).iter().any(|attribute| {
            !attribute.attisdropped
                && (attribute.atttypid.to_u32() >= 16_384
                    || attribute.atttypid == pg_sys::JSONOID
                    || attribute.atttypid == pg_sys::JSONARRAYOID)
        })
    }
}
