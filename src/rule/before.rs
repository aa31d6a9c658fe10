//! Rules that act before a row is written: what their actions may say, and how that is compiled.

use super::cache::{self, DELETE, INSERT, UPDATE};
use super::define::{Definition, Source};
use super::expression::{self, NEW, Sides};
use super::inline::Assign;
use super::rights;
use super::terms;
use crate::error::{Error, Result, shown};
use crate::pg;
use crate::spi::statement;
use automate_core::rule::action::{Action, Moment};
use automate_core::rule::before::Assignment;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

/// The moments at which rules act.
const TIMINGS: [&str; 2] = ["before", "after"];

/// Where a rule acts.
pub struct Place {
    pub relid: pg_sys::Oid,
    pub owner: pg_sys::Oid,
    /// The operations that it sees, as bits.
    pub operations: u8,
}

impl Place {
    pub fn sides(&self) -> Sides {
        Sides {
            new: self.operations & (INSERT | UPDATE) != 0,
            old: self.operations & (UPDATE | DELETE) != 0,
        }
    }
}

/// Operations as bits.
pub fn bits(operations: &[String]) -> u8 {
    operations.iter().fold(0, |all, operation| {
        all | match operation.as_str() {
            "insert" => INSERT,
            "update" => UPDATE,
            "delete" => DELETE,
            _ => 0,
        }
    })
}

/// Checks that a rule's actions can be done when the rule acts.
pub(super) fn check_timing(d: &Definition, source: &Source, actions: &[Action]) -> Result<()> {
    if !TIMINGS.contains(&d.timing.as_str()) {
        let message = format!("unknown timing {}", shown(&d.timing));
        return Err(Error::unknown_word(message, &d.timing, &TIMINGS));
    }
    let is_before = d.timing == "before";
    for (index, action) in actions.iter().enumerate() {
        let what = format!("action {}: {}", index + 1, action.verb());
        match (action.moment(), source) {
            (Moment::Before, _) if !is_before => return Err(too_late(&what)),
            (Moment::Transaction | Moment::Commit, _) if is_before => return Err(too_early(&what)),
            (Moment::Transaction, Source::Event(_) | Source::Trigger(_)) => {
                return Err(no_writer(&what));
            }
            (Moment::Transaction, _) => check_rows_only(&what, action)?,
            _ => {}
        }
    }
    match source {
        Source::Table { .. } if is_before && d.ruleset.is_some() => Err(Error::invalid(
            "a rule before the write is in no rule set",
        )
        .with_detail(
            "Rules before the write act one after the other, each on what the one before left.",
        )
        .with_hint("Leave ruleset out; priority and stop say which of them act.")),
        Source::Event(_) | Source::Trigger(_) if is_before => {
            Err(Error::invalid("timing => 'before' is for rules on tables")
                .with_detail("Events have happened when rules hear of them.")
                .with_hint("Give on_table, or leave timing out."))
        }
        _ => Ok(()),
    }
}

fn too_late(what: &str) -> Error {
    Error::invalid(format!("{what} must come before the row is written"))
        .with_detail("The rule acts after the write: its timing is after.")
        .with_hint(
            "Give timing => 'before', and the actions that follow the write to another rule.",
        )
}

fn too_early(what: &str) -> Error {
    Error::invalid(format!("{what} must follow the write"))
        .with_detail("A rule with timing => 'before' changes or refuses the row: set and reject.")
        .with_hint(
            "Leave timing out, and let another rule with timing => 'before' do set and reject.",
        )
}

fn no_writer(what: &str) -> Error {
    Error::invalid(format!("{what}: there is no writer's transaction"))
        .with_detail("Rules on events and triggers act in a transaction of their own.")
        .with_hint("Leave the action's timing out: it is run after the commit.")
}

/// What runs among somebody else's statements may change rows and nothing of the session.
fn check_rows_only(what: &str, action: &Action) -> Result<()> {
    let Action::Sql { statement, .. } = action else { return Ok(()) };
    match statement::check_and_count(what, statement)? {
        Some(_) => Ok(()),
        None => Err(Error::refused(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{what}: in the writer's transaction only rows can be changed"),
        )
        .with_detail(statement::beginning("statement", statement))
        .with_hint(
            "Use INSERT, UPDATE, DELETE, MERGE or SELECT, or leave the action's timing out.",
        )),
    }
}

/// Checks the condition and the actions of a rule before the write, with its owner's rights.
pub fn check(
    place: &Place,
    condition: Option<&str>,
    actions: &[Action],
    path: &CStr,
) -> Result<()> {
    check_kind(place.relid)?;
    if let Some(text) = condition {
        expression::check_with(
            "condition",
            place.relid,
            text,
            place.sides(),
            path,
            // SAFETY: the text outlives the call, and an error ends the subtransaction.
            |text| unsafe {
                let clause = expression::read("condition", place.relid, text, place.sides())?;
                refuse_generated("condition", place.relid, clause).map(|()| clause)
            },
        )?;
    }
    let mut key: Option<Vec<String>> = None;
    for (index, action) in actions.iter().enumerate() {
        let Action::Set { values } = action else { continue };
        let what = format!("action {}: set", index + 1);
        if place.operations & DELETE != 0 {
            return Err(Error::invalid(format!("{what}: a row that is deleted gets no values"))
                .with_detail("The rule sees deletes.")
                .with_hint("Give operations => '{insert,update}'."));
        }
        let key = key.get_or_insert_with(|| partition_key(place.relid));
        for value in values {
            check_column(&what, place, value, key)?;
            let what = format!("{what}: {}", value.column);
            let column = column(&what, place.relid, &value.column)?;
            expression::check_with(
                &what,
                place.relid,
                &value.sql,
                place.sides(),
                path,
                // SAFETY: as above.
                |text| unsafe { read(&what, place, &column, text) },
            )?;
        }
    }
    Ok(())
}

/// Tables whose rows triggers can change before they are written.
fn check_kind(relid: pg_sys::Oid) -> Result<()> {
    // SAFETY: a look-up in the catalog.
    if matches!(unsafe { pg_sys::get_rel_relkind(relid) } as u8, b'r' | b'p' | b'f') {
        return Ok(());
    }
    Err(Error::refused(
        ERRCODE_WRONG_OBJECT_TYPE,
        "a rule before the write is on an ordinary, partitioned or foreign table",
    )
    .with_detail("Other relations have no row triggers that run before a row is written.")
    .with_hint("Make the rule on the table below."))
}

fn check_column(what: &str, place: &Place, value: &Assignment, key: &[String]) -> Result<()> {
    let name = &value.column;
    let column = column(what, place.relid, name)?;
    if column.generated {
        return Err(Error::refused(
            ERRCODE_GENERATED_ALWAYS,
            format!("{what}: column \"{name}\" is a generated column"),
        )
        .with_detail("PostgreSQL computes its value from the other columns, after this rule.")
        .with_hint("Set the columns that it is made of."));
    }
    if key.contains(name) {
        return Err(Error::refused(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{what}: column \"{name}\" decides in which partition a row is"),
        )
        .with_detail("PostgreSQL chooses the partition before its triggers run, and lets none of them move the row.")
        .with_hint("Set it where the row is written, or let the rule reject rows that are wrong."));
    }
    let mut needed = Vec::new();
    for (bit, right) in [(INSERT, "INSERT"), (UPDATE, "UPDATE")] {
        if place.operations & bit != 0 {
            needed.push(right);
        }
    }
    rights::check_column(place.relid, column.number, name, place.owner, &needed)
}

/// A column that gets a value.
struct Column {
    number: i16,
    type_oid: pg_sys::Oid,
    modifier: i32,
    generated: bool,
}

fn column(what: &str, relid: pg_sys::Oid, name: &str) -> Result<Column> {
    let number = terms::attribute_number(what, relid, name)?;
    // SAFETY: look-ups in the catalog of a column that is there.
    unsafe {
        let (mut type_oid, mut modifier) = (pg_sys::InvalidOid, -1);
        let mut collation = pg_sys::InvalidOid;
        pg_sys::get_atttypetypmodcoll(relid, number, &mut type_oid, &mut modifier, &mut collation);
        let generated = pg_sys::get_attgenerated(relid, number) != 0;
        Ok(Column { number, type_oid, modifier, generated })
    }
}

/// The names of the columns by which the table and those it is a part of are partitioned.
fn partition_key(relid: pg_sys::Oid) -> Vec<String> {
    let mut found = Vec::new();
    for table in cache::with_ancestors(relid) {
        // SAFETY: the tables exist and are opened and closed in pairs; the bitmap has one member.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
            let descriptor = (*relation).rd_att;
            for attribute in (*descriptor).attrs.as_slice((*descriptor).natts as usize) {
                let member =
                    i32::from(attribute.attnum) - pg_sys::FirstLowInvalidHeapAttributeNumber;
                let columns = pg_sys::bms_make_singleton(member);
                let mut in_expression = false;
                let place = &raw mut in_expression;
                if !attribute.attisdropped
                    && pg::guarded(|| pg::c::has_partition_attrs(relation, columns, place))
                {
                    let name = CStr::from_ptr(attribute.attname.data.as_ptr());
                    found.push(name.to_string_lossy().into_owned());
                }
            }
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
    }
    found
}

/// Analyses a value as PostgreSQL does that of an assignment: it gets the type of the column, with
/// its modifier and its domain.
///
/// # Safety
/// As for [`expression::analyse`].
unsafe fn read(
    what: &str,
    place: &Place,
    column: &Column,
    text: &CStr,
) -> Result<*mut pg_sys::Node> {
    // SAFETY: as the caller promises; the state is that of the parse.
    let value = unsafe {
        expression::read_as(what, place.relid, text, place.sides(), |state, node| {
            let kind = pg_sys::ParseExprKind::EXPR_KIND_TRIGGER_WHEN;
            let value = pg_sys::transformExpr(state, node, kind);
            let coerced = pg_sys::coerce_to_target_type(
                state,
                value,
                pg_sys::exprType(value),
                column.type_oid,
                column.modifier,
                pg_sys::CoercionContext::COERCION_ASSIGNMENT,
                pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
                -1,
            );
            if coerced.is_null() {
                wrong_type(what, column.type_oid, pg_sys::exprType(value)).raise();
            }
            coerced
        })?
    };
    // SAFETY: an analysed expression.
    unsafe { refuse_generated(what, place.relid, value) }?;
    Ok(value)
}

fn wrong_type(what: &str, column: pg_sys::Oid, value: pg_sys::Oid) -> Error {
    // SAFETY: the types exist; their names are palloc'd texts.
    let name =
        |oid| unsafe { CStr::from_ptr(pg_sys::format_type_be(oid)).to_string_lossy().into_owned() };
    let message =
        format!("the column is of type {}, the value of type {}", name(column), name(value));
    Error::refused(ERRCODE_DATATYPE_MISMATCH, message)
        .with_detail(format!("PostgreSQL has no assignment cast for {what}."))
        .with_hint("Cast the value yourself.")
}

/// Generated columns of the new row have no value yet.
unsafe fn refuse_generated(what: &str, relid: pg_sys::Oid, node: *mut pg_sys::Node) -> Result<()> {
    let generated = generated_columns(relid);
    // SAFETY: an analysed expression over the table.
    let found = unsafe {
        pg::items::<pg_sys::Var>(pg_sys::pull_var_clause(node, 0))
            .filter(|var| (**var).varno == NEW)
            .any(|var| match (*var).varattno {
                0 => !generated.is_empty(),
                number => generated.contains(&number),
            })
    };
    if !found {
        return Ok(());
    }
    Err(Error::refused(
        ERRCODE_INVALID_OBJECT_DEFINITION,
        format!("{what}: it must not use generated columns of new"),
    )
    .with_detail("PostgreSQL computes them after the rules before the write; new as a whole has them, too.")
    .with_hint("Write the expression of the generated column, or look at its value in a rule after the write."))
}

fn generated_columns(relid: pg_sys::Oid) -> Vec<i16> {
    // SAFETY: the table exists; it is opened and closed in pairs.
    unsafe {
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let descriptor = (*relation).rd_att;
        let found = (*descriptor)
            .attrs
            .as_slice((*descriptor).natts as usize)
            .iter()
            .filter(|attribute| !attribute.attisdropped && attribute.attgenerated != 0)
            .map(|attribute| attribute.attnum)
            .collect();
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        found
    }
}

/// The value of a column, ready to be evaluated. Where an error ends a subtransaction.
pub(super) fn compile(
    context: pg_sys::MemoryContext,
    place: &Place,
    value: &Assignment,
) -> Result<Assign> {
    let what = format!("set: {}", value.column);
    let column = column(&what, place.relid, &value.column)?;
    check_column("set", place, value, &[])?;
    let text = CString::new(value.sql.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
    // SAFETY: an error ends the caller's subtransaction; the expression is copied into the context.
    let value = unsafe {
        let node = read(&what, place, &column, &text)?;
        super::compile::keep(context, expression::plan(node))
    };
    Ok(Assign { column: column.number, value })
}

/// An expression's analysed form, for those who show its value.
///
/// # Safety
/// As for [`expression::analyse`].
pub unsafe fn read_value(place: &Place, value: &Assignment) -> Result<*mut pg_sys::Node> {
    let what = format!("set: {}", value.column);
    let column = column(&what, place.relid, &value.column)?;
    let text = CString::new(value.sql.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
    // SAFETY: as the caller promises.
    unsafe { read(&what, place, &column, &text) }
}
