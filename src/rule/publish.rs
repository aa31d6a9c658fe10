//! Putting a version of a rule in force: a draft, or one that was before.

use super::case::{self, Case};
use super::define::{self, Checked, Definition};
use super::look::Looked;
use super::read::{self, Stored};
use super::version::{self, Change, Kept};
use crate::error::{Error, Result, shown};
use crate::pg;
use crate::spi::as_extension;
use crate::spi::own::as_role;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
use pgrx::prelude::*;

/// Failed test cases that an error tells.
const SHOWN: usize = 9;

/// Puts the draft of a rule in force; returns its version.
pub fn publish(user: pg_sys::Oid, name: &str, note: Option<&str>) -> Result<i32> {
    let (rule, draft) = as_extension(|own| {
        let rule = read::find(own, user, name)?;
        let draft = version::draft(own, rule.id)?;
        Ok((rule, draft))
    })?;
    let Some(draft) = draft else { return Err(nothing_to_publish(&rule)) };
    if draft.version < rule.version {
        return Err(stale(&rule, &draft));
    }
    enact(user, &rule, &draft, "publish", note)
}

/// Puts a version that was in force before in force again, as a new one; returns that.
pub fn roll_back(user: pg_sys::Oid, name: &str, number: Option<i32>) -> Result<i32> {
    let (rule, kept) = as_extension(|own| {
        let rule = read::find(own, user, name)?;
        let kept = match number {
            Some(number) => Some(version::numbered(own, &rule, number)?),
            None => version::previous(own, &rule)?,
        };
        Ok((rule, kept))
    })?;
    let refuse = |message: String, detail: &str| {
        Err(Error::refused(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(detail)
            .with_hint("SELECT version, status, published_at, definition FROM automate.rule_version shows what there is."))
    };
    let name = shown(&rule.definition.name);
    let Some(kept) = kept else {
        return refuse(
            format!("there is no version of rule {name} to go back to"),
            "No other version was in force before the present one.",
        );
    };
    if !kept.was_published {
        return refuse(
            format!("version {} of rule {name} was never in force", kept.version),
            "It was a draft only; automate.publish_rule is for drafts.",
        );
    }
    if kept.version == rule.version {
        return refuse(
            format!("version {} of rule {name} is in force", kept.version),
            "There is nothing to go back from.",
        );
    }
    enact(user, &rule, &kept, "rollback", Some(&format!("back to version {}", kept.version)))
}

/// Puts a version in force, after a new look at it.
fn enact(
    user: pg_sys::Oid,
    rule: &Stored,
    kept: &Kept,
    action: &'static str,
    note: Option<&str>,
) -> Result<i32> {
    let mut definition = kept.definition(rule)?;
    if !rule.definition.draft {
        // Enabling and disabling are no versions.
        definition.enabled = rule.definition.enabled;
    }
    let checked = check(rule, kept, &definition)?;
    let cases = as_extension(|own| case::read(own, rule.id))?;
    require_cases(rule.owner, &definition, &checked, &cases)?;
    let change = Change {
        user,
        id: rule.id,
        owner: rule.owner,
        definition: &definition,
        checked: &checked,
        before: Some(rule),
        action,
        note,
    };
    let draft = (!kept.was_published).then_some(kept.version);
    as_extension(|own| change.put(own, draft))
}

/// A version of a rule on a table, to be looked into; None for other rules.
pub(super) fn look(rule: &Stored, version: i32) -> Result<Option<Looked>> {
    let kept = as_extension(|own| version::numbered(own, rule, version))?;
    let definition = kept.definition(rule)?;
    let checked = check(rule, &kept, &definition)?;
    Ok(Looked::of(rule.owner, &definition, &checked))
}

/// Looks at a version as it was written: with its owner's rights, under its own search_path.
fn check<'a>(rule: &Stored, kept: &Kept, definition: &'a Definition) -> Result<Checked<'a>> {
    pg::under_path(&kept.search_path, || {
        as_role(rule.owner, || define::check(rule.owner, definition))
    })
}

/// Refuses a definition that does not pass the rule's test cases.
pub(super) fn require_cases(
    owner: pg_sys::Oid,
    definition: &Definition,
    checked: &Checked,
    cases: &[Case],
) -> Result<()> {
    let Some(looked) = Looked::of(owner, definition, checked) else { return Ok(()) };
    let mut failed = Vec::new();
    for case in cases {
        pg::check_interrupts();
        let got = case.got(&looked);
        if got != case.expected() {
            failed.push(format!("{}: expected {}, got {got}", shown(&case.name), case.expected()));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let more = failed.len().saturating_sub(SHOWN);
    let mut detail = failed[..failed.len().min(SHOWN)].join("; ");
    if more > 0 {
        detail.push_str(&format!("; and {more} more"));
    }
    let message = format!(
        "rule {} fails {} of its {} test cases",
        shown(&definition.name),
        failed.len(),
        cases.len()
    );
    Err(Error::refused(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail(format!("{detail}."))
        .with_hint("Keep it as a draft with automate.alter_rule(name, ..., draft => true) until it is right, or mend the cases with automate.add_rule_test."))
}

fn nothing_to_publish(rule: &Stored) -> Error {
    let name = shown(&rule.definition.name);
    Error::refused(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("rule {name} has no draft to publish"),
    )
    .with_detail(format!("Version {} is in force.", rule.version))
    .with_hint("automate.alter_rule(name, ..., draft => true) makes a draft.")
}

fn stale(rule: &Stored, draft: &Kept) -> Error {
    let name = shown(&rule.definition.name);
    Error::refused(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "version {} of rule {name} came into force after its draft was written",
            rule.version
        ),
    )
    .with_detail(format!("The draft is version {}: publishing it would undo the change.", draft.version))
    .with_hint("Compare the two in automate.rule_version; automate.alter_rule(name, ..., draft => true) writes the draft anew, and that can be published.")
}
