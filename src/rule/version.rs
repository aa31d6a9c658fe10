//! The versions of a rule: every change of a definition writes one, which is never changed again.

use super::define::{Checked, Definition};
use super::document::{self, SOURCES};
use super::read::{self, Stored};
use super::store;
use crate::audit::{self, Entry};
use crate::error::{Error, Result, shown};
use crate::noun::RULE;
use crate::spi::{Own, own::Rows};
use automate_core::problem::Problem;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// A version as it is kept.
pub struct Kept {
    pub version: i32,
    /// It is in force, or was.
    pub was_published: bool,
    /// As it is kept: with pg_temp at its end.
    pub search_path: String,
    document: Value,
}

/// A definition that was found good and is to be written.
pub(super) struct Change<'a> {
    pub user: pg_sys::Oid,
    pub id: Uuid,
    pub owner: pg_sys::Oid,
    pub definition: &'a Definition,
    pub checked: &'a Checked<'a>,
    /// The rule as it is; None for a new one.
    pub before: Option<&'a Stored>,
    /// What the audit calls it.
    pub action: &'static str,
    pub note: Option<&'a str>,
}

impl Change<'_> {
    /// Puts the definition in force, or makes it the draft that the rule is as a whole; returns
    /// the version. `draft` is the version that already holds it.
    pub fn put(&self, own: &Own, draft: Option<i32>) -> Result<i32> {
        let number = draft.map_or_else(|| next(own, self.id), Ok)?;
        store::store(own, self.id, self.owner, self.definition, self.checked, number)?;
        let (is_draft, was_draft) =
            (self.definition.draft, self.before.is_some_and(|rule| rule.definition.draft));
        if !is_draft {
            retire(own, self.id, "published")?;
        }
        match draft {
            Some(_) => publish(own, self.id, number, self.note)?,
            None => {
                if is_draft || was_draft {
                    retire(own, self.id, "draft")?;
                }
                self.write(own, number, if is_draft { "draft" } else { "published" })?;
            }
        }
        let before = self.before.map(|rule| &rule.definition);
        self.note_in_audit(own, before)?;
        Ok(number)
    }

    /// Keeps the definition as a draft beside the version in force; returns its version.
    /// `base` is the definition that it was made of.
    pub fn put_beside(&self, own: &Own, base: &Definition) -> Result<i32> {
        let number = next(own, self.id)?;
        retire(own, self.id, "draft")?;
        self.write(own, number, "draft")?;
        self.note_in_audit(own, Some(base))?;
        Ok(number)
    }

    fn write(&self, own: &Own, number: i32, status: &'static str) -> Result<()> {
        let mut document = document::write(self.definition);
        // That is what its status says.
        document.remove("draft");
        // SAFETY: reads a process-local variable.
        let session = unsafe { pg_sys::GetSessionUserId() };
        own.run(
            "INSERT INTO automate.rule_version
                (rule, version, owner, status, definition, search_path, note, created_by, published_at)
             VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, CASE WHEN $4 = 'published' THEN now() END)",
            &[
                key(self.id).into(),
                number.into(),
                self.owner.into(),
                status.into(),
                Value::Object(document).to_string().into(),
                self.checked.path.as_str().into(),
                self.note.into(),
                session.into(),
            ],
        )?;
        Ok(())
    }

    fn note_in_audit(&self, own: &Own, before: Option<&Definition>) -> Result<()> {
        let new = document::write(self.definition);
        let (old, new) = match before {
            None => (None, Value::Object(document::sparse(new))),
            Some(before) => {
                let (old, new) = audit::differing(&document::write(before), &new);
                (Some(Value::Object(old)), Value::Object(new))
            }
        };
        let entry = Entry {
            kind: "rule",
            object: self.id,
            name: &self.definition.name,
            owner: self.owner,
            action: self.action,
            by: Some(self.user),
            old,
            new: Some(new),
        };
        audit::record(own, &entry)
    }
}

/// Keeps what a rule became that followed a change of what it mentions; `before` is the rule as it
/// was, and its row has the new text already.
pub fn keep_followed(own: &Own, user: pg_sys::Oid, before: &Stored) -> Result<()> {
    let Some(after) = read::owned(own, before.owner, &before.definition.name, true)? else {
        return Ok(());
    };
    let number = next(own, after.id)?;
    own.run(
        "UPDATE automate.rule SET version = $2 WHERE id = $1",
        &[key(after.id).into(), number.into()],
    )?;
    let (old, mut new) = (document::write(&before.definition), document::write(&after.definition));
    let (was, is) = audit::differing(&old, &new);
    let status = if after.definition.draft { "draft" } else { "published" };
    retire(own, after.id, status)?;
    new.remove("draft");
    own.run(
        "INSERT INTO automate.rule_version
            (rule, version, owner, status, definition, search_path, note, created_by, published_at)
         VALUES ($1, $2, $3, $4, $5::jsonb, $6, 'follows a change of what it mentions', session_user::regrole,
                 CASE WHEN $4 = 'published' THEN now() END)",
        &[
            key(after.id).into(),
            number.into(),
            after.owner.into(),
            status.into(),
            Value::Object(new).to_string().into(),
            after.search_path.as_str().into(),
        ],
    )?;
    let entry = Entry {
        kind: "rule",
        object: after.id,
        name: &after.definition.name,
        owner: after.owner,
        action: "follow",
        by: Some(user),
        old: Some(Value::Object(was)),
        new: Some(Value::Object(is)),
    };
    audit::record(own, &entry)
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// The number of a rule's next version. The rule's row is locked, or not there yet.
fn next(own: &Own, rule: Uuid) -> Result<i32> {
    let last: Option<i32> = own.one(
        "SELECT max(version) FROM automate.rule_version WHERE rule = $1",
        &[key(rule).into()],
    )?;
    Ok(last.unwrap_or(0) + 1)
}

fn retire(own: &Own, rule: Uuid, status: &'static str) -> Result<()> {
    own.run(
        "UPDATE automate.rule_version SET status = 'retired' WHERE rule = $1 AND status = $2",
        &[key(rule).into(), status.into()],
    )?;
    Ok(())
}

fn publish(own: &Own, rule: Uuid, version: i32, note: Option<&str>) -> Result<()> {
    own.run(
        "UPDATE automate.rule_version SET status = 'published', published_at = now(), note = coalesce($3, note)
         WHERE rule = $1 AND version = $2 AND status = 'draft'",
        &[key(rule).into(), version.into(), note.into()],
    )?;
    Ok(())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT version, published_at IS NOT NULL, search_path, definition::text
             FROM automate.rule_version WHERE rule = $1 ",
            $rest
        )
    };
}

/// The draft beside the version in force, or the one that the rule is.
pub fn draft(own: &Own, rule: Uuid) -> Result<Option<Kept>> {
    kept(&own.run(select!("AND status = 'draft'"), &[key(rule).into()])?)
}

/// The last version that was in force before the present one.
pub fn previous(own: &Own, rule: &Stored) -> Result<Option<Kept>> {
    kept(&own.run(
        select!("AND published_at IS NOT NULL AND version < $2 ORDER BY version DESC LIMIT 1"),
        &[key(rule.id).into(), rule.version.into()],
    )?)
}

/// A version by its number.
pub fn numbered(own: &Own, rule: &Stored, version: i32) -> Result<Kept> {
    let rows = own.run(select!("AND version = $2"), &[key(rule.id).into(), version.into()])?;
    if let Some(found) = kept(&rows)? {
        return Ok(found);
    }
    let last = next(own, rule.id)? - 1;
    let name = &rule.definition.name;
    Err(Error::missing(format!("rule {} has no version {version}", shown(name)))
        .with_detail(format!("Its versions are 1 to {last}."))
        .with_hint("SELECT * FROM automate.rule_version ORDER BY rule, version shows them."))
}

fn kept(rows: &Rows) -> Result<Option<Kept>> {
    let Some(version) = rows.get(0, 1) else { return Ok(None) };
    let document: String = rows.get(0, 4).unwrap_or_default();
    Ok(Some(Kept {
        version,
        was_published: rows.get(0, 2).unwrap_or(false),
        search_path: rows.get(0, 3).unwrap_or_default(),
        document: serde_json::from_str(&document).map_err(|e| Error::Internal(e.to_string()))?,
    }))
}

impl Kept {
    /// The definition of this version for a rule: what that listens to, and its name, cannot
    /// change, but the table may have been renamed since.
    pub fn definition(&self, rule: &Stored) -> Result<Definition> {
        let mut document = self.document.clone();
        if let Value::Object(keys) = &mut document {
            SOURCES.iter().for_each(|key| drop(keys.remove(*key)));
        }
        let mut problems: Vec<Problem> = Vec::new();
        let Some(mut read) = document::read(&document, "", &mut problems) else {
            return Err(Error::problems("definition", &problems, RULE.help));
        };
        let now = &rule.definition;
        read.on_table = now.on_table;
        read.on_event = now.on_event.clone();
        read.on_trigger = now.on_trigger.clone();
        Ok(read)
    }
}
