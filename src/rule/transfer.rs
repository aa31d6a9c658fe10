//! Rules as a document: for version control, and from one database to another.

use super::case::{self, Case, Of};
use super::define::{self, Checked, Definition};
use super::document::{self, KEYS, SOURCES, place};
use super::publish;
use super::read::{self, Stored};
use super::trial::Given;
use super::validate::Findings;
use super::version::{self, Change};
use crate::audit;
use crate::error::{Error, Failure, Result, shown};
use crate::noun::RULESET;
use crate::spi::{Own, as_extension};
use crate::{guc, pg};
use automate_core::object::{Object, below, wrong_kind};
use automate_core::problem::Problem;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use uuid::Uuid;

/// The format of the document. It changes when an older reader would misread it.
const FORMAT: i64 = 1;
/// search_path of a rule that does not tell its own: PostgreSQL's.
const PATH: &str = "\"$user\", public";
/// What a kept search_path has at its end.
const TEMPORARY: &str = ", pg_temp";
/// Problems that an error tells beside the first.
const SHOWN: usize = 9;
const HELP: &str = "automate.export_rules shows how such a document looks.";

/// A rule in a document.
struct Item {
    pointer: String,
    definition: Definition,
    search_path: String,
    cases: Vec<Case>,
}

/// A rule that is there already, and what the document is compared with.
struct There {
    rule: Stored,
    /// The draft beside the version in force, if the document has a draft.
    draft: Option<Definition>,
    cases: Vec<Case>,
}

/// The rules that a role owns, as the text of a document.
pub fn export(owner: pg_sys::Oid, pattern: &str, ruleset: Option<&str>) -> Result<String> {
    let rules = as_extension(|own| {
        let ruleset = ruleset.map(|name| RULESET.id(own, owner, name)).transpose()?;
        let rules = read::all(own, owner, pattern, ruleset)?;
        rules
            .into_iter()
            .map(|rule| case::read(own, rule.id).map(|cases| exported(rule, &cases)))
            .collect::<Result<Vec<String>>>()
    })?;
    Ok(format!("{{\"format\":{FORMAT},\"rules\":[{}]}}", rules.join(",")))
}

/// A rule's part of the document. Rows stand as PostgreSQL wrote them: no digit is lost.
fn exported(rule: Stored, cases: &[Case]) -> String {
    let mut keys = document::sparse(document::write(&rule.definition));
    let path = rule.search_path.strip_suffix(TEMPORARY).unwrap_or(&rule.search_path);
    if path != PATH {
        keys.insert("search_path".into(), path.into());
    }
    let mut text = Value::Object(keys).to_string();
    if cases.is_empty() {
        return text;
    }
    let cases: Vec<String> = cases
        .iter()
        .map(|case| {
            let row = |side: &str, given: &Option<Given>| {
                given.as_ref().map_or(String::new(), |row| format!(",\"{side}\":{}", row.text))
            };
            let matches = if case.matches { "" } else { ",\"matches\":false" };
            let (new, old) = (row("new", &case.new), row("old", &case.old));
            format!("{{\"name\":{}{new}{old}{matches}}}", json!(case.name))
        })
        .collect();
    text.pop();
    format!("{text},\"tests\":[{}]}}", cases.join(","))
}

/// Makes a role's rules as a document says; answers a JSON array.
pub fn import(owner: pg_sys::Oid, document: &Value, text: &str, dry_run: bool) -> Result<Value> {
    let items = parse(document, text)?;
    let mut problems = Vec::new();
    let mut good = Vec::new();
    for item in &items {
        let mut findings = Findings::new();
        let there = as_extension(|own| There::of(own, owner, item, !dry_run))?;
        match check(owner, item, there.as_ref(), &mut findings) {
            Some(checked) => good.push((item, checked, there)),
            None => problems.push((item, findings)),
        }
    }
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let mut rows = Vec::with_capacity(good.len());
    for (item, checked, there) in &good {
        pg::check_interrupts();
        let difference = Difference::of(item, checked, there.as_ref());
        if !dry_run {
            as_extension(|own| write(own, owner, (item, checked, there.as_ref()), &difference))?;
        }
        let outcome = match there {
            None => "created",
            Some(_) if difference.is_none() => "unchanged",
            Some(_) => "changed",
        };
        let changes = (outcome == "changed").then(|| difference.shown());
        rows.push(json!({"rule": item.definition.name, "outcome": outcome, "changes": changes}));
    }
    Ok(Value::Array(rows))
}

/// Everything that create_rule, alter_rule and publish_rule would refuse.
fn check<'a>(
    owner: pg_sys::Oid,
    item: &'a Item,
    there: Option<&There>,
    findings: &mut Findings,
) -> Option<Checked<'a>> {
    let definition = &item.definition;
    let checked =
        pg::under_path(&item.search_path, || define::examine(owner, definition, true, findings))?;
    if let Some(There { rule, .. }) = there {
        let (old, new) = (document::write(&rule.definition), document::write(definition));
        let moved = SOURCES.iter().find(|key| old[**key] != new[**key] && !new[**key].is_null());
        if let Some(key) = moved {
            let error = Error::invalid("what a rule listens to cannot be changed")
                .with_detail(format!("Its {key} is {}, and not {}.", old[*key], new[*key]))
                .with_hint(
                    "Drop the rule before, in the same transaction, or give it another name.",
                );
            return findings.keep(format!("/{key}"), Err(error));
        }
    }
    let passed = publish::require_cases(owner, definition, &checked, &item.cases);
    findings.keep("/tests", passed).map(|()| checked)
}

/// The first problem with its rule and place, the others in the DETAIL.
fn refuse(problems: Vec<(&Item, Findings)>) -> Error {
    let mut texts = Vec::new();
    for (item, findings) in &problems {
        let name = shown(&item.definition.name);
        texts.extend(findings.list.iter().map(|finding| {
            format!("rule {name} at {}{}: {}", item.pointer, finding.pointer, finding.message)
        }));
    }
    let first = problems.into_iter().find_map(|(_, findings)| findings.into_error());
    let Some(first) = first else { return Error::Internal("a document without a fault".into()) };
    let (failure, _) = Failure::of(first);
    let others = &texts[1.min(texts.len())..];
    let mut detail = failure.detail.unwrap_or_default();
    if !others.is_empty() {
        let also: Vec<&str> = others.iter().take(SHOWN).map(String::as_str).collect();
        detail = format!("There are {} problems. Also: {}.", texts.len(), also.join("; "));
    }
    Error::refused(failure.code, texts.first().cloned().unwrap_or(failure.message))
        .with_detail(detail)
        .with_hint(failure.hint.unwrap_or_else(|| HELP.into()))
}

impl There {
    fn of(own: &Own, owner: pg_sys::Oid, item: &Item, lock: bool) -> Result<Option<There>> {
        let name = &item.definition.name;
        let Some(rule) = read::owned(own, owner, name, lock)? else { return Ok(None) };
        let cases = case::read(own, rule.id)?;
        let draft = match item.is_beside(&rule) {
            true => version::draft(own, rule.id)?,
            false => None,
        };
        let draft = draft.map(|draft| draft.definition(&rule)).transpose()?;
        Ok(Some(There { rule, draft, cases }))
    }
}

impl Item {
    /// It is a draft of a rule that is in force.
    fn is_beside(&self, rule: &Stored) -> bool {
        self.definition.draft && !rule.definition.draft
    }
}

/// What a document changes of a rule.
struct Difference<'a> {
    old: Map<String, Value>,
    new: Map<String, Value>,
    /// Test cases that go, and that come.
    fewer: Vec<&'a Case>,
    more: Vec<&'a Case>,
}

impl<'a> Difference<'a> {
    fn of(item: &'a Item, checked: &Checked, there: Option<&'a There>) -> Difference<'a> {
        let (mut old, mut new) = (Map::new(), document::write(&item.definition));
        let mut fewer = Vec::new();
        let mut more: Vec<&Case> = item.cases.iter().collect();
        if let Some(There { rule, draft, cases }) = there {
            let (base, path) = (draft.as_ref().unwrap_or(&rule.definition), &rule.search_path);
            old = document::write(base);
            if draft.is_some() {
                // That is what it is.
                old.insert("draft".into(), true.into());
            } else if *path != checked.path {
                old.insert("search_path".into(), path.as_str().into());
                new.insert("search_path".into(), checked.path.as_str().into());
            }
            fewer = cases.iter().filter(|case| !item.cases.contains(case)).collect();
            more.retain(|case| !cases.contains(case));
        }
        let (old, new) = audit::differing(&old, &new);
        Difference { old, new, fewer, more }
    }

    fn is_none(&self) -> bool {
        self.new.is_empty() && self.fewer.is_empty() && self.more.is_empty()
    }

    fn shown(&self) -> Value {
        let mut changes = Map::new();
        for (key, new) in &self.new {
            changes.insert(key.clone(), json!({"old": self.old.get(key), "new": new}));
        }
        if !self.fewer.is_empty() || !self.more.is_empty() {
            let all = |cases: &[&Case]| cases.iter().map(|case| case.document()).collect();
            let (old, new): (Value, Value) = (all(&self.fewer), all(&self.more));
            changes.insert("tests".into(), json!({"old": old, "new": new}));
        }
        Value::Object(changes)
    }
}

fn write(
    own: &Own,
    owner: pg_sys::Oid,
    (item, checked, there): (&Item, &Checked, Option<&There>),
    difference: &Difference,
) -> Result<()> {
    let id = there.map_or_else(Uuid::now_v7, |there| there.rule.id);
    let change = Change {
        user: owner,
        id,
        owner,
        definition: &item.definition,
        checked,
        before: there.map(|there| &there.rule),
        action: "import",
        note: None,
    };
    match there {
        _ if difference.new.is_empty() => {}
        Some(there) if item.is_beside(&there.rule) => {
            change.put_beside(own, there.draft.as_ref().unwrap_or(&there.rule.definition))?;
        }
        _ => {
            change.put(own, None)?;
        }
    }
    let of = Of { user: owner, id, owner, name: &item.definition.name };
    for case in &difference.fewer {
        of.take(own, case)?;
    }
    for case in &difference.more {
        of.put(own, case)?;
    }
    Ok(())
}

fn parse(document: &Value, text: &str) -> Result<Vec<Item>> {
    let mut problems = Vec::new();
    let mut items = read_items(document, &mut problems);
    if !problems.is_empty() {
        return Err(Error::problems("document", &problems, HELP));
    }
    as_extension(|own| fill_rows(own, text, &mut items))?;
    Ok(items)
}

fn read_items(document: &Value, problems: &mut Vec<Problem>) -> Vec<Item> {
    let Some(mut object) = Object::open(document, "", problems) else { return Vec::new() };
    object.allow(&["format", "rules"]);
    match object.get("format") {
        None => object.missing("format"),
        Some(format) if format.as_i64() == Some(FORMAT) => {}
        Some(format) => {
            let message = format!("format {format} is not known here");
            let hint = format!("This version of pg_automate reads format {FORMAT}.");
            let problem = Problem::error("/format", "unknown_format", message).with_hint(hint);
            object.problems().push(problem);
        }
    }
    let list = match object.get("rules") {
        None => {
            object.missing("rules");
            return Vec::new();
        }
        Some(Value::Array(list)) => list,
        Some(other) => {
            wrong_kind(object.problems(), "/rules", "an array of rules", other);
            return Vec::new();
        }
    };
    let mut names = HashSet::new();
    let mut items = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let Some(item) = read_item(value, place(index), problems) else { continue };
        if !names.insert(item.definition.name.clone()) {
            let message = format!("rule {} is there twice", shown(&item.definition.name));
            let pointer = below(&item.pointer, "name");
            problems.push(Problem::error(pointer, "duplicate_name", message));
        }
        items.push(item);
    }
    items
}

fn read_item(value: &Value, pointer: String, problems: &mut Vec<Problem>) -> Option<Item> {
    let (size, limit) = (value.to_string().len(), guc::max_payload_bytes());
    if size > limit {
        let message = format!("the rule has {size} bytes, more than the {limit} allowed");
        let problem = Problem::error(&*pointer, "too_large", message);
        problems.push(problem.with_hint("automate.max_payload_bytes is the limit."));
        return None;
    }
    let mut object = Object::open(value, &pointer, problems)?;
    let more = ["search_path", "tests"];
    object.allow(&KEYS.iter().chain(&more).copied().collect::<Vec<_>>());
    let search_path = object.string("search_path").unwrap_or(PATH).to_owned();
    let tests = object.get("tests");
    let definition = document::read(value, &pointer, problems);
    let cases = match tests {
        None => Vec::new(),
        Some(Value::Array(tests)) => tests
            .iter()
            .enumerate()
            .filter_map(|(index, test)| {
                case::parse(test, &below(&below(&pointer, "tests"), index), problems)
            })
            .collect(),
        Some(other) => {
            wrong_kind(problems, &below(&pointer, "tests"), "an array of test cases", other);
            Vec::new()
        }
    };
    Some(Item { definition: definition?, pointer, search_path, cases })
}

/// Gives the rows of the test cases the texts that PostgreSQL prints for them, with every digit.
fn fill_rows(own: &Own, text: &str, items: &mut [Item]) -> Result<()> {
    let rows = own.run(
        "SELECT r.number, t.number, (t.test -> 'new')::text, (t.test -> 'old')::text
         FROM jsonb_array_elements($1::jsonb -> 'rules') WITH ORDINALITY AS r(rule, number),
              jsonb_array_elements(CASE WHEN jsonb_typeof(r.rule -> 'tests') = 'array' THEN r.rule -> 'tests' END)
                  WITH ORDINALITY AS t(test, number)",
        &[text.into()],
    )?;
    for row in 0..rows.len() {
        let index = |column| rows.get::<i64>(row, column).map_or(usize::MAX, |n| n as usize - 1);
        let case = items.get_mut(index(1)).and_then(|item| item.cases.get_mut(index(2)));
        let Some(case) = case else { continue };
        for (column, side) in [(3, &mut case.new), (4, &mut case.old)] {
            if let (Some(given), Some(text)) = (side, rows.get::<String>(row, column)) {
                given.text = text;
            }
        }
    }
    Ok(())
}
