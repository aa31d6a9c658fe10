//! Whole statements, and TRUNCATE: one event for each, however many rows.

use super::cache::{self, DELETE, INSERT, Rules, TRUNCATE, UPDATE};
use super::{capture, cause, fired, matched, tally};
use crate::error::{Error, Result};
use crate::spi::as_extension;
use crate::{guc, pg};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_automate_capture_statement() -> *const pg_sys::Pg_finfo_record {
    static RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn automate_capture_statement(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL hands over a valid call frame.
    let captured = unsafe {
        match Statement::of((*fcinfo).context) {
            Some(statement) => statement.capture(),
            None => Err(Error::refused(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "automate.capture_statement() must be called by an AFTER trigger for each statement",
            )
            .with_detail("It was called in another way.")
            .with_hint("SELECT automate.create_trigger(...) makes the trigger.")),
        }
    };
    match captured {
        Ok(()) => pg_sys::Datum::from(0),
        Err(error) => error.raise(),
    }
}

/// One statement.
struct Statement {
    relation: pg_sys::Relation,
    operation: u8,
    /// How many rows it changed; None where PostgreSQL does not say.
    rows: Option<i64>,
}

impl Statement {
    /// What the trigger was called for; None if it is not such a trigger.
    unsafe fn of(context: *mut pg_sys::Node) -> Option<Statement> {
        // SAFETY: the tag says that it is TriggerData, which lives during the call.
        unsafe {
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return None;
            }
            let data = &*context.cast::<pg_sys::TriggerData>();
            let event = data.tg_event;
            if event & pg_sys::TRIGGER_EVENT_ROW != 0
                || event & pg_sys::TRIGGER_EVENT_TIMINGMASK != pg_sys::TRIGGER_EVENT_AFTER
            {
                return None;
            }
            let (operation, rows) = match event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT => (INSERT, data.tg_newtable),
                pg_sys::TRIGGER_EVENT_UPDATE => (UPDATE, data.tg_newtable),
                pg_sys::TRIGGER_EVENT_DELETE => (DELETE, data.tg_oldtable),
                _ => (TRUNCATE, std::ptr::null_mut()),
            };
            let rows = (!rows.is_null()).then(|| pg_sys::tuplestore_tuple_count(rows));
            Some(Statement { relation: data.tg_relation, operation, rows })
        }
    }

    /// Lets the triggers of the table see it, and those of tables from which it inherits.
    fn capture(&self) -> Result<()> {
        if guc::skip_rules() {
            return capture::check_owner(self.relation);
        }
        // A statement that changed no row changed nothing.
        if self.rows == Some(0) {
            return Ok(());
        }
        // SAFETY: the relation is open while its trigger runs.
        let relid = unsafe { (*self.relation).rd_id };
        let told = if self.operation == TRUNCATE { truncated(relid)? } else { HashSet::new() };
        // SAFETY: as above.
        let rules = unsafe { cache::rules_of(self.relation, cache::Timing::After)? };
        self.fire(&rules, rules.partition.clone(), &told)?;
        rules.parents.iter().try_for_each(|parent| {
            let name = cache::name_of(relid).1;
            parent.on_statement(|above| self.fire(above, Some(name), &told))
        })
    }

    /// Records the events of a set. `told`: tables whose triggers have seen this truncate.
    fn fire(
        &self,
        rules: &Rules,
        partition: Option<String>,
        told: &HashSet<pg_sys::Oid>,
    ) -> Result<()> {
        let wants = |index: &u32| {
            let rule = &rules.rules[*index as usize];
            rule.firing.as_ref().is_some_and(|firing| {
                firing.statements & self.operation != 0
                    && !told.contains(&firing.table)
                    && !rule.is_broken()
                    && rule.terms.is_due()
            })
        };
        let fires: Vec<u32> =
            (rules.first_trigger..rules.rules.len() as u32).filter(wants).collect();
        if fires.is_empty() {
            return Ok(());
        }
        if cause::depth() >= cause::MAX_DEPTH {
            return capture::refuse_loop(rules, &fires);
        }
        let writer = pg::role_name(pg::current_user());
        let mut event = matched::envelope(rules, self.operation, partition, writer.as_deref());
        if let Some(rows) = self.rows {
            event.insert("rows".into(), json!(rows));
        }
        let text = Value::Object(event).to_string();
        for fire in fires {
            let rule = &rules.rules[fire as usize];
            tally::count(rule.id, true);
            if let Some(firing) = &rule.firing
                && let Err(failure) = fired::record(rules, rule, firing, &text)
            {
                capture::pass_over(rules, fire, failure)?;
            }
        }
        Ok(())
    }
}

/// Tables that a TRUNCATE of one above them takes along, each with those whose triggers know.
struct TakenAlong {
    transaction: i64,
    tables: HashMap<pg_sys::Oid, HashSet<pg_sys::Oid>>,
}

thread_local! {
    static TAKEN_ALONG: RefCell<TakenAlong> =
        RefCell::new(TakenAlong { transaction: 0, tables: HashMap::new() });
}

/// PostgreSQL calls the triggers of a truncated table first, and then those of each table below
/// it: it is one event all the same. Returns the tables whose triggers have seen the truncate
/// further up, and notes for the tables below, which are locked now if they were truncated, too,
/// that those of this table and of all above it have seen it.
fn truncated(relid: pg_sys::Oid) -> Result<HashSet<pg_sys::Oid>> {
    let (below, above) = as_extension(|own| {
        let rows = own.run(
            "WITH RECURSIVE above AS (
                 SELECT $1::pg_catalog.oid AS oid
                 UNION SELECT i.inhparent FROM above AS a
                       JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.oid)
             SELECT oid, true FROM above
             UNION ALL SELECT f.relid::pg_catalog.oid, false
             FROM automate.capture_family($1::pg_catalog.oid) AS f WHERE f.level > 0",
            &[relid.into()],
        )?;
        let of = |side: bool| -> Vec<pg_sys::Oid> {
            let here = (0..rows.len()).filter(|i| rows.get(*i, 2) == Some(side));
            here.filter_map(|i| rows.get(i, 1)).collect()
        };
        Ok((of(false), of(true)))
    })?;
    let transaction = cache::this_transaction();
    TAKEN_ALONG.with_borrow_mut(|taken| {
        if taken.transaction != transaction {
            *taken = TakenAlong { transaction, tables: HashMap::new() };
        }
        let told = taken.tables.remove(&relid).unwrap_or_default();
        for part in below.into_iter().filter(|part| is_locked(*part)) {
            taken.tables.entry(part).or_default().extend(&above);
        }
        Ok(told)
    })
}

/// True if this session holds the lock that TRUNCATE takes.
fn is_locked(relid: pg_sys::Oid) -> bool {
    let mut tag = pg_sys::LOCKTAG {
        locktag_field1: pg::my_database().to_u32(),
        locktag_field2: relid.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: looks into the session's own table of locks.
    unsafe { pg_sys::LockHeldByMe(&raw mut tag, pg_sys::AccessExclusiveLock as i32) }
}
