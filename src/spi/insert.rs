//! Rows straight into one of our own tables: for what comes with somebody's write, where planning
//! and starting a statement would cost more than the row.
//!
//! What it takes to write to a table (which indexes it has, the predicates of these compiled) is
//! kept for the session: to find it out for each write took longer than to write a row.

use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// Rows that go into a page's WAL record together.
const BATCH: usize = 64;

/// A table that is open for rows with values for some of its columns; the others are NULL.
///
/// There is no destructor: after an error the end of the (sub)transaction closes all of it.
///
/// No rights are asked and nobody's code runs: our tables have no triggers, and their indexes no
/// functions but PostgreSQL's own. So it does not matter under whose id it is used.
pub struct Inserter {
    ready: Rc<Ready>,
    relation: pg_sys::Relation,
    /// Slots that hold a row.
    filled: usize,
    /// The memory context that was current.
    outside: pg_sys::MemoryContext,
}

/// What is known of a table while its definition stays.
struct Ready {
    relid: pg_sys::Oid,
    indexes: Vec<pg_sys::Oid>,
    context: pg_sys::MemoryContext,
    /// Current while the table is open, and emptied when it is closed.
    values: pg_sys::MemoryContext,
    info: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Where in the table each of the given columns is, from 0.
    places: Vec<usize>,
}

thread_local! {
    static READY: RefCell<HashMap<&'static CStr, Rc<Ready>>> = RefCell::new(HashMap::new());
    /// The definition of one of the tables may have changed.
    static STALE: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

const LOCK: i32 = pg_sys::RowExclusiveLock as i32;

impl Inserter {
    /// Opens a table of the schema automate, and makes a memory context current that lasts until it
    /// is closed. `columns` are always the same for a table.
    pub fn open(table: &'static CStr, columns: &[&str]) -> Result<Inserter> {
        // SAFETY: a look-up, and a lock that lasts as long as the transaction.
        let relation = unsafe {
            let schema = pg_sys::get_namespace_oid(c"automate".as_ptr(), true);
            let relid = pg_sys::get_relname_relid(table.as_ptr(), schema);
            if relid == pg_sys::InvalidOid {
                return Err(Error::NotInstalled);
            }
            pg_sys::table_open(relid, LOCK)
        };
        let ready = ready(table, relation, columns)?;
        // SAFETY: the indexes are those of the table, and cannot go while we have our lock on it.
        unsafe {
            (*ready.info).ri_RelationDesc = relation;
            for (number, index) in ready.indexes.iter().enumerate() {
                let index = pg_sys::index_open(*index, LOCK);
                *(*ready.info).ri_IndexRelationDescs.add(number) = index;
            }
            // An error may have left something.
            pg_sys::MemoryContextReset(ready.values);
            let outside = pg_sys::MemoryContextSwitchTo(ready.values);
            Ok(Inserter { ready, relation, filled: 0, outside })
        }
    }

    /// Inserts a row: a value for each of the columns; None is NULL. The values stay where they are
    /// until the table is closed.
    ///
    /// # Safety
    /// The values are of the columns' types.
    pub unsafe fn put(&mut self, values: &[Option<pg_sys::Datum>]) {
        // SAFETY: the slot is of the table, and the arrays have an entry for each of its columns.
        unsafe {
            let slot = self.ready.slots[self.filled];
            if let Some(clear) = (*(*slot).tts_ops).clear {
                pg::guarded(|| clear(slot));
            }
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, count).fill(true);
            for (place, value) in self.ready.places.iter().zip(values) {
                if let Some(value) = value {
                    *(*slot).tts_values.add(*place) = *value;
                    *(*slot).tts_isnull.add(*place) = false;
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        self.filled += 1;
        if self.filled == BATCH {
            self.write();
        }
    }

    /// Writes the rows that are in the slots.
    fn write(&mut self) {
        let Ready { info, state, ref slots, .. } = *self.ready;
        let filled = std::mem::take(&mut self.filled);
        let relation = self.relation;
        // SAFETY: the relation and its indexes are open; so many slots hold rows of it.
        unsafe {
            let memory = (*(*state).es_per_tuple_exprcontext).ecxt_per_tuple_memory;
            let before = pg_sys::MemoryContextSwitchTo(memory);
            let command = pg_sys::GetCurrentCommandId(true);
            let none = std::ptr::null_mut();
            let rows = slots.as_ptr().cast_mut();
            let access = &*(*relation).rd_tableam;
            match (access.tuple_insert, access.multi_insert) {
                (Some(insert), _) if filled == 1 => {
                    pg::guarded(|| insert(relation, slots[0], command, 0, none));
                }
                (_, Some(insert)) => {
                    pg::guarded(|| insert(relation, rows, filled as i32, command, 0, none));
                }
                _ => {}
            }
            for slot in &slots[..filled] {
                pg_sys::ExecInsertIndexTuples(
                    info,
                    *slot,
                    state,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                );
            }
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(memory);
        }
    }

    /// Ends it; the rows can be seen from now on.
    pub fn close(mut self) {
        if self.filled > 0 {
            self.write();
        }
        // SAFETY: opened by us; the locks stay until the transaction ends, since there may be more to
        // write in it.
        unsafe {
            pg_sys::MemoryContextSwitchTo(self.outside);
            pg_sys::MemoryContextReset(self.ready.values);
            for number in 0..self.ready.indexes.len() {
                let index = *(*self.ready.info).ri_IndexRelationDescs.add(number);
                pg_sys::index_close(index, pg_sys::NoLock as i32);
            }
            pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// A text, or the inside of another value of variable length, in the current memory context.
pub fn varlena(bytes: &[u8]) -> pg_sys::Datum {
    let length = i32::try_from(bytes.len()).unwrap_or(0);
    // SAFETY: so many bytes are copied.
    unsafe { pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length)) }
}

/// What is known of a table, found out anew when its definition has changed.
fn ready(table: &'static CStr, relation: pg_sys::Relation, columns: &[&str]) -> Result<Rc<Ready>> {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once per session, for its life; the function is static.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        }
    }
    if STALE.replace(false) {
        let all = READY.with_borrow_mut(std::mem::take);
        for old in all.into_values() {
            // SAFETY: ours, and nothing is open: a table is closed before anything else is done.
            unsafe { pg_sys::MemoryContextDelete(old.context) };
        }
    }
    // SAFETY: the relation is open.
    let relid = unsafe { (*relation).rd_id };
    if let Some(known) = READY.with_borrow(|all| all.get(table).cloned())
        && known.relid == relid
    {
        return Ok(known);
    }
    // SAFETY: as above.
    let made = Rc::new(unsafe { Ready::of(relation, columns)? });
    let before = READY.with_borrow_mut(|all| all.insert(table, made.clone()));
    if let Some(before) = before {
        // SAFETY: of a table that is gone.
        unsafe { pg_sys::MemoryContextDelete(before.context) };
    }
    Ok(made)
}

/// A relation changed; 0 stands for all. Only sets a flag: it comes in the middle of anything.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relid: pg_sys::Oid) {
    let is_ours = |ready: &Rc<Ready>| ready.relid == relid || ready.indexes.contains(&relid);
    let is_ours = READY.with(|all| match all.try_borrow() {
        Ok(all) => relid == pg_sys::InvalidOid || all.values().any(is_ours),
        Err(_) => true,
    });
    if is_ours {
        STALE.set(true);
    }
}

impl Ready {
    /// Finds out about a table.
    ///
    /// # Safety
    /// The relation is open, with a lock that keeps its definition as it is.
    unsafe fn of(relation: pg_sys::Relation, columns: &[&str]) -> Result<Ready> {
        // SAFETY: what ExecOpenIndices does, in memory that lasts. The descriptor is copied, since
        // the relation's own may go.
        unsafe {
            let relid = (*relation).rd_id;
            let places = places((*relation).rd_att, columns)?;
            let list = pg_sys::RelationGetIndexList(relation);
            let indexes: Vec<pg_sys::Oid> = match list.is_null() {
                true => Vec::new(),
                false => (0..(*list).length as usize)
                    .map(|number| (*(*list).elements.add(number)).oid_value)
                    .collect(),
            };
            let [context, values] = contexts();
            let before = pg_sys::MemoryContextSwitchTo(context);
            let descriptor = pg_sys::CreateTupleDescCopyConstr((*relation).rd_att);
            let slots = (0..BATCH)
                .map(|_| {
                    pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual)
                })
                .collect();
            let state = pg_sys::CreateExecutorState();
            pg_sys::MakePerTupleExprContext(state);
            let info: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            pg_sys::InitResultRelInfo(info, relation, 0, std::ptr::null_mut(), 0);
            let pointers = size_of::<*mut u8>() * indexes.len().max(1);
            (*info).ri_NumIndices = indexes.len() as i32;
            (*info).ri_IndexRelationDescs = pg_sys::palloc0(pointers).cast();
            (*info).ri_IndexRelationInfo = pg_sys::palloc0(pointers).cast();
            for (number, oid) in indexes.iter().enumerate() {
                let index = pg_sys::index_open(*oid, LOCK);
                *(*info).ri_IndexRelationInfo.add(number) = pg_sys::BuildIndexInfo(index);
                pg_sys::index_close(index, LOCK);
            }
            pg_sys::MemoryContextSwitchTo(before);
            Ok(Ready { relid, indexes, context, values, info, state, slots, places })
        }
    }
}

/// A context for what is kept, and one below it.
fn contexts() -> [pg_sys::MemoryContext; 2] {
    let make = |parent, name: &'static CStr| {
        // SAFETY: the parent outlives it, or takes it along; the name is static.
        unsafe {
            let (first, most) = (8 * 1024, 8 * 1024 * 1024);
            pg_sys::AllocSetContextCreateInternal(parent, name.as_ptr(), 0, first, most)
        }
    };
    // SAFETY: reads a process-local variable.
    let kept = make(unsafe { pg_sys::TopMemoryContext }, c"pg_automate inserter");
    [kept, make(kept, c"pg_automate rows")]
}

/// Where columns are in a table.
unsafe fn places(descriptor: pg_sys::TupleDesc, columns: &[&str]) -> Result<Vec<usize>> {
    // SAFETY: the descriptor of an open table.
    let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
    let name = |attribute: &pg_sys::FormData_pg_attribute| {
        // SAFETY: a name is a C string.
        unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy().into_owned() }
    };
    let there: Vec<String> =
        attributes.iter().map(|a| if a.attisdropped { String::new() } else { name(a) }).collect();
    // Nothing checks that later.
    let is_missed = |(attribute, name): (&pg_sys::FormData_pg_attribute, &String)| {
        attribute.attnotnull && !attribute.attisdropped && !columns.contains(&name.as_str())
    };
    if let Some((_, name)) = attributes.iter().zip(&there).find(|pair| is_missed(*pair)) {
        return Err(Error::Internal(format!("our own table needs a value for the column {name}")));
    }
    let place = |column: &&str| {
        there
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| Error::Internal(format!("our own table lacks the column {column}")))
    };
    columns.iter().map(place).collect()
}
