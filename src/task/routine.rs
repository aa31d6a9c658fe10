//! Functions and procedures that a task calls by name: found with the rights of its owner, as
//! PostgreSQL itself chooses among those of a name.

use super::arguments;
use super::command::known_keys;
use crate::error::{Error, Result, shown, shown_json};
use crate::pg;
use crate::queue::Job;
use crate::spi::{Own, as_extension, statement, step};
use automate_core::object::kind;
use automate_core::suggest;
use automate_core::task::{Given, Routine, literal};
use pgrx::prelude::*;
use serde_json::Value;

/// What is called, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Select,
    Call,
}

impl Verb {
    fn word(self) -> &'static str {
        if self == Verb::Select { "SELECT " } else { "CALL " }
    }

    /// What is called, as people say it.
    fn noun(self) -> &'static str {
        if self == Verb::Select { "function" } else { "procedure" }
    }

    /// As in pg_proc.prokind.
    fn letter(self) -> i8 {
        if self == Verb::Select { b'f' as i8 } else { b'p' as i8 }
    }
}

/// What PostgreSQL makes of a call: which function it is, and the types of its parameters.
struct Analysed {
    function: Option<pg_sys::Oid>,
    types: Vec<pg_sys::Oid>,
}

/// A name as the command of a task.
pub(super) fn read(command: &str, verb: Verb) -> Result<Routine> {
    Routine::parse(command).map_err(|reason| {
        Error::invalid(format!("command is not the name of a {}: {reason}", verb.noun()))
            .with_detail(statement::beginning("command", command))
            .with_hint("Write name, schema.name or, to tell one from others of its name, name(type, type).")
    })
}

/// What args give a function: `{"params": [...]}` (or the array itself), `{"args": {...}}`, or nothing.
pub(super) fn given<'a>(routine: &Routine, args: &'a Value) -> Result<Given<'a>> {
    let wanted = |what: &str, found: &Value, hint: &str| {
        Error::invalid(format!("{what} of a task that calls a function must be {hint}"))
            .with_detail(format!("The value given is {}.", kind(found)))
            .with_hint("Write args as {\"params\": [1, \"a\"]}, or as {\"args\": {\"name\": 1}}.")
    };
    let found = match args {
        Value::Array(items) => Given::Positions(items),
        Value::Object(map) => {
            known_keys(map, &["params", "args"])?;
            match (map.get("params"), map.get("args")) {
                (None, None) => Given::Positions(&[]),
                (Some(Value::Array(items)), None) => Given::Positions(items),
                (None, Some(Value::Object(names))) => Given::Names(names),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid("args have either params or args, not both")
                        .with_detail(format!("They are {}.", shown_json(args)))
                        .with_hint(
                            "params are in the order of the parameters, args by their names.",
                        ));
                }
                (Some(other), None) => return Err(wanted("params", other, "an array")),
                (None, Some(other)) => return Err(wanted("args", other, "an object")),
            }
        }
        other => return Err(wanted("args", other, "an object")),
    };
    match (routine.types(), found) {
        (Some(_), Given::Names(names)) if !names.is_empty() => {
            Err(Error::invalid("a signature does not go together with arguments by name")
                .with_detail("The types stand for the parameters in their order.")
                .with_hint("Give the values as {\"params\": [...]}, or leave the types out."))
        }
        (Some(types), Given::Positions(items)) if types.len() != items.len() => {
            Err(Error::invalid(format!(
                "the signature has {} types, but params has {} values",
                types.len(),
                items.len()
            ))
            .with_detail(format!("The function is {}.", shown(routine.name())))
            .with_hint("Give one value in params for each of the types."))
        }
        _ => Ok(found),
    }
}

/// Checks a call as the role in force.
pub(super) fn check(command: &str, args: &Value, verb: Verb) -> Result<()> {
    let routine = read(command, verb)?;
    let text =
        verb.word().to_owned() + &routine.call(given(&routine, args)?, |i| format!("${}", i + 1));
    look(&routine, command, &text, verb).map(|_| ())
}

/// Checks a CALL that is written out.
pub(super) fn check_call(command: &str) -> Result<()> {
    let analysed = analyse(command, command, 0)?;
    allowed(analysed.function, command)
}

/// What a call is to PostgreSQL; a name that is not there is told with what was perhaps meant.
fn look(routine: &Routine, command: &str, text: &str, verb: Verb) -> Result<Analysed> {
    let (user, skipped) = (pg::current_user(), i32::try_from(verb.word().len()).unwrap_or(0));
    let analysed = analyse(text, command, skipped).map_err(|e| match is_unknown(&e) {
        true => as_extension(|own| explain(own, user, routine, verb, e)).unwrap_or_else(|e| e),
        false => e,
    })?;
    allowed(analysed.function, command)?;
    Ok(analysed)
}

fn is_unknown(error: &Error) -> bool {
    use PgSqlErrorCode::{ERRCODE_INVALID_SCHEMA_NAME, ERRCODE_UNDEFINED_FUNCTION};
    let unknown = [ERRCODE_UNDEFINED_FUNCTION, ERRCODE_INVALID_SCHEMA_NAME];
    matches!(error, Error::Refused { code, .. } if unknown.contains(code))
}

fn analyse(text: &str, command: &str, skipped: i32) -> Result<Analysed> {
    let source = statement::c_text("command", text)?;
    let analysed = step::in_subtransaction(|| {
        statement::with_position(|| {
            let (mut types, mut count) = (std::ptr::null_mut(), 0);
            // SAFETY: a text with one statement, checked before; the trees live in the current context.
            unsafe {
                let parsed = pg_sys::pg_parse_query(source.as_ptr());
                let raw = pg::items::<pg_sys::RawStmt>(parsed).next()?;
                let query = pg_sys::parse_analyze_varparams(
                    raw,
                    source.as_ptr(),
                    &mut types,
                    &mut count,
                    std::ptr::null_mut(),
                );
                let types = (0..count as usize).map(|i| *types.add(i)).collect();
                Some(Analysed { function: function(query), types })
            }
        })
        .unwrap_or_else(|(failure, position)| {
            let position = position.map(|p| p - skipped).filter(|p| *p > 0);
            statement::refuse_text("command", command, failure, position).raise()
        })
    });
    analysed?.ok_or_else(|| Error::Internal("a call without a statement".into()))
}

/// The function that a call is to.
unsafe fn function(query: *mut pg_sys::Query) -> Option<pg_sys::Oid> {
    // SAFETY: the tags say which struct each node is.
    unsafe {
        let utility = (*query).utilityStmt;
        let node = if !utility.is_null() && (*utility).type_ == pg_sys::NodeTag::T_CallStmt {
            (*utility.cast::<pg_sys::CallStmt>()).funcexpr.cast::<pg_sys::Node>()
        } else {
            let target = pg::items::<pg_sys::TargetEntry>((*query).targetList).next()?;
            (*target).expr.cast::<pg_sys::Node>()
        };
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_FuncExpr {
            return None;
        }
        Some((*node.cast::<pg_sys::FuncExpr>()).funcid)
    }
}

/// Refuses a function that the role in force may not execute: PostgreSQL would say so when it runs.
fn allowed(function: Option<pg_sys::Oid>, command: &str) -> Result<()> {
    let (user, Some(function)) = (pg::current_user(), function) else { return Ok(()) };
    let may: Option<bool> = as_extension(|own| {
        own.one(
            "SELECT has_function_privilege($1::oid, $2::oid, 'EXECUTE')",
            &[user.into(), function.into()],
        )
    })?;
    if may == Some(true) {
        return Ok(());
    }
    let name = pg::role_name(user).unwrap_or_default();
    Err(Error::forbidden(format!("role \"{name}\" may not execute the function of the command"))
        .with_detail(statement::beginning("command", command))
        .with_hint("Its owner can GRANT EXECUTE ON FUNCTION, or on PROCEDURE, to the role."))
}

/// Says which functions there are of the name, or which name was perhaps meant.
fn explain(
    own: &Own,
    user: pg_sys::Oid,
    routine: &Routine,
    verb: Verb,
    error: Error,
) -> Result<Error> {
    let same = signatures(own, routine, verb)?;
    if !same.is_empty() {
        return Ok(error.with_hint(format!("There is {}.", same.join(", "))));
    }
    let names = own.run(
        "SELECT DISTINCT p.proname::text FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE p.prokind = $3 AND ($2::text IS NULL OR n.nspname = $2)
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege($1::oid, n.oid, 'USAGE')
         ORDER BY 1 LIMIT 5000",
        &[user.into(), routine.schema().into(), verb.letter().into()],
    )?;
    let names: Vec<String> = (0..names.len()).filter_map(|i| names.get(i, 1)).collect();
    Ok(match suggest::nearest(routine.name(), names.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint(format!(
            "Create the {0} first, or write its schema before the name: schema.{1}.",
            verb.noun(),
            routine.name()
        )),
    })
}

/// The functions of the name, whatever their parameters.
fn signatures(own: &Own, routine: &Routine, verb: Verb) -> Result<Vec<String>> {
    let rows = own.run(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE p.proname = $1 AND p.prokind = $3 AND ($2::text IS NULL OR n.nspname = $2) ORDER BY 1 LIMIT 10",
        &[routine.name().into(), routine.schema().into(), verb.letter().into()],
    )?;
    Ok((0..rows.len()).filter_map(|i| rows.get(i, 1)).collect())
}

/// True when no function of that name is there any more: no run can succeed.
pub(super) fn is_gone(command: &str, verb: Verb) -> Result<bool> {
    let routine = read(command, verb)?;
    as_extension(|own| Ok(signatures(own, &routine, verb)?.is_empty()))
}

/// The statement that calls a function, and its parameters.
pub(super) fn select<'a>(command: &str, args: &'a Value) -> Result<(String, Vec<&'a Value>)> {
    let routine = read(command, Verb::Select)?;
    let given = given(&routine, args)?;
    let text = Verb::Select.word().to_owned() + &routine.call(given, |i| format!("${}", i + 1));
    if !statement::is_valid(&text) {
        look(&routine, command, &text, Verb::Select)?;
    }
    Ok((text, given.values()))
}

/// The text of a CALL with the values of a run in it, by the types of the parameters.
pub(super) fn call(job: &Job, command: &str) -> Result<String> {
    let args = arguments::of(job)?;
    let routine = read(command, Verb::Call)?;
    let given = given(&routine, &args)?;
    let verb = Verb::Call.word().to_owned();
    let typed = verb.clone() + &routine.call(given, |i| format!("${}", i + 1));
    let types = look(&routine, command, &typed, Verb::Call)?.types;
    let values: Vec<String> = (given.values().into_iter().enumerate())
        .map(|(index, value)| {
            let kind = types.get(index).copied().unwrap_or(pg_sys::TEXTOID);
            statement::parameter_text(value, kind)
                .map_or_else(|| "NULL".into(), |text| literal(&text))
        })
        .collect();
    Ok(verb + &routine.call(given, |index| values.get(index).cloned().unwrap_or_default()))
}
