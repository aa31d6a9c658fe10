//! The texts of a rule after something that they mention got another name: those that no longer say
//! the same are written anew, from what they said before.

use super::before;
use super::columns::TableColumns;
use super::ddl::Change;
use super::expression;
use super::mentioned::{Mentioned, Text, Tree, read_condition};
use super::print::{Printer, bare};
use crate::error::{Error, Failure, Result};
use crate::noun::RULE;
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::step;
use automate_core::rule::before::Assignment;
use automate_core::rule::{rename_column, to_sql};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::{Map, Value};
use std::ffi::{CStr, CString};

/// Brings a rule's texts up to date; true if any of them changed.
pub fn rewrite(rule: &mut Mentioned, change: &Change) -> std::result::Result<bool, Failure> {
    let mut changed = false;
    if let Change::Schema { from, to } = change {
        changed |= rename_in_path(&mut rule.search_path, from, to);
    }
    if let Change::Column { from, to, .. } = change {
        changed |= rename_columns(rule, from, to);
    }
    let Some(table) = rule.table else { return Ok(changed) };
    let path = CString::new(rule.search_path.as_str()).unwrap_or_default();
    let owner = rule.owner;
    let done = as_role(owner, || {
        step::tentatively(|| {
            let nest = pg::GucNest::open();
            expression::fix_settings(&path);
            changed |= rewrite_all(rule, table).unwrap_or_else(|e| e.raise());
            nest.undo();
        })
    });
    done.map(|()| changed)
}

/// The names of columns that stand by themselves: in columns, in JsonLogic, and before values.
fn rename_columns(rule: &mut Mentioned, from: &str, to: &str) -> bool {
    let mut changed = false;
    for column in rule.columns.iter_mut().flatten().filter(|column| *column == from) {
        to.clone_into(column);
        changed = true;
    }
    if let Some(logic) = &mut rule.conditions {
        let renamed = rename_column(logic, from, to);
        changed |= renamed != *logic;
        *logic = renamed;
    }
    for set in sets(&mut rule.actions) {
        if set.contains_key(from) {
            let renamed = std::mem::take(set).into_iter();
            let name = |key: String| if key == from { to.to_owned() } else { key };
            *set = renamed.map(|(key, value)| (name(key), value)).collect();
            changed = true;
        }
    }
    for tree in &mut rule.trees {
        if let Text::Set(_, column) = &mut tree.place
            && column == from
        {
            to.clone_into(column);
        }
    }
    changed
}

fn sets(actions: &mut Option<Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let actions = actions.as_mut().and_then(Value::as_array_mut);
    actions.into_iter().flatten().filter_map(|action| action.get_mut("set")?.as_object_mut())
}

fn rewrite_all(rule: &mut Mentioned, table: pg_sys::Oid) -> Result<bool> {
    let mut changed = false;
    if let Some(logic) = &rule.conditions {
        let sql = to_sql(logic, &TableColumns::of(table, rule.sides()))
            .map_err(|problems| Error::problems("conditions", &problems, RULE.help))?;
        changed = rule.condition_sql.as_deref() != Some(sql.as_str());
        rule.condition_sql = Some(sql);
    }
    let trees: Vec<Tree> = std::mem::take(&mut rule.trees);
    for tree in &trees {
        if says_the_same(rule, table, tree) {
            continue;
        }
        // SAFETY: the table exists, and the tree was made by `read`; it names things by their OIDs.
        let text = unsafe { Printer::of(table).print(tree.node) };
        put(rule, &tree.place, bare(&text));
        if !says_the_same(rule, table, tree) {
            return Err(lost(&text));
        }
        changed = true;
    }
    Ok(changed)
}

fn lost(text: &str) -> Error {
    Error::refused(
        ERRCODE_INVALID_OBJECT_DEFINITION,
        "what it mentions got another name, and its text cannot be made to say the same again",
    )
    .with_detail(format!("What it said is {text}."))
    .with_hint("Write it anew with automate.alter_rule.")
}

/// True when the text that stands in the rule means what the tree means.
fn says_the_same(rule: &Mentioned, table: pg_sys::Oid, tree: &Tree) -> bool {
    let read = step::tentatively(|| match &tree.place {
        // SAFETY: within `tentatively`; the text outlives the call.
        Text::Condition => rule
            .condition_text()
            .map(|text| unsafe { read_condition(table, text, rule.sides()) })
            .transpose(),
        Text::Set(..) => {
            let value = rule.values().into_iter().find(|(place, _)| *place == tree.place);
            // SAFETY: as above.
            value
                .map(|(_, value): (Text, Assignment)| unsafe {
                    before::read_value(&rule.place(table), &value)
                })
                .transpose()
        }
    });
    // SAFETY: both are expressions, which are only compared.
    matches!(read, Ok(Ok(Some(node))) if unsafe { pg_sys::equal(node.cast(), tree.node.cast()) })
}

fn put(rule: &mut Mentioned, place: &Text, text: &str) {
    match place {
        // What JsonLogic means is made anew from it, and not by its SQL.
        Text::Condition if rule.conditions.is_some() => {}
        Text::Condition => rule.condition = Some(text.to_owned()),
        Text::Set(at, column) => {
            if let Some(actions) = rule.actions.as_mut()
                && let Some(value) = actions.get_mut(*at).and_then(|a| a["set"].get_mut(column))
            {
                *value = text.into();
            }
        }
    }
}

/// Puts another name for a schema into a search_path.
fn rename_in_path(path: &mut String, from: &str, to: &str) -> bool {
    let Ok(raw) = CString::new(path.as_str()) else { return false };
    // SAFETY: the text is a copy, which the call cuts in pieces that the list points to.
    let names: Vec<String> = unsafe {
        let mut list = std::ptr::null_mut();
        if !pg_sys::SplitIdentifierString(pg_sys::pstrdup(raw.as_ptr()), b',' as i8, &mut list) {
            return false;
        }
        pg::items::<std::ffi::c_char>(list)
            .map(|name| CStr::from_ptr(name).to_string_lossy().into_owned())
            .collect()
    };
    if !names.iter().any(|name| name == from) {
        return false;
    }
    let quoted = names.iter().map(|name| {
        let name = if name == from { to } else { name.as_str() };
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: a palloc'd text, or the name itself.
        unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    });
    *path = quoted.collect::<Vec<_>>().join(", ");
    true
}
