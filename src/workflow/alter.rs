//! What can be changed of a workflow beside its definition.

use super::define::{self, MAX_NAME};
use super::start::find;
use crate::access;
use crate::error::Result;
use crate::noun::WORKFLOW;
use crate::spi::as_extension;
use pgrx::prelude::*;

/// What is to be another way; None stays as it is.
pub struct Changes<'a> {
    pub name: Option<&'a str>,
    pub description: Option<&'a str>,
    /// Empty: none.
    pub on_trigger: Option<&'a str>,
}

/// Changes a workflow of a role, or of one whose privileges it has.
pub fn alter(role: pg_sys::Oid, name: &str, changes: &Changes) -> Result<()> {
    if let Some(new) = changes.name {
        let advice = "Choose a short name, such as order-fulfilment.";
        access::check_length("a workflow", new, MAX_NAME, advice)?;
    }
    as_extension(|own| {
        let found = find(own, role, name)?;
        let id = pgrx::Uuid::from_bytes(*found.id.as_bytes());
        if let Some(trigger) = changes.on_trigger {
            define::subscribe(own, found.owner, name, trigger)?;
        }
        if let Some(new) = changes.name.filter(|new| *new != name) {
            let taken: Option<bool> = own.one(
                "SELECT true FROM automate.workflow WHERE owner = $1 AND name = $2",
                &[found.owner.into(), new.into()],
            )?;
            if taken.is_some() {
                return Err(WORKFLOW
                    .duplicate(found.owner, new)
                    .with_hint("Choose another name, or drop the other workflow."));
            }
        }
        own.run(
            "UPDATE automate.workflow
             SET name = coalesce($2, name), updated_at = now(),
                 description = CASE WHEN $3 IS NULL THEN description ELSE nullif($3, '') END
             WHERE id = $1 AND (name <> $2 OR description IS DISTINCT FROM coalesce($3, description))",
            &[id.into(), changes.name.into(), changes.description.into()],
        )?;
        Ok(())
    })
}
