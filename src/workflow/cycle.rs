//! Workflows that run one another in a circle.

use super::known;
use super::names;
use crate::error::Result;
use crate::noun::WORKFLOW;
use crate::spi::Own;
use automate_core::problem::Problem;
use automate_core::workflow::{Definition, EffectRef};
use pgrx::prelude::*;
use std::collections::HashSet;
use uuid::Uuid;

/// Most workflows that are looked into.
const MOST: usize = 1_000;

/// Warns of each step that runs the workflow itself, perhaps through others as new runs of those are
/// now.
pub fn warnings(
    own: &Own,
    owner: pg_sys::Oid,
    name: &str,
    definition: &Definition,
) -> Result<Vec<Problem>> {
    let me: Option<pgrx::Uuid> = own.one(
        "SELECT id FROM automate.workflow WHERE owner = $1 AND name = $2",
        &[owner.into(), name.into()],
    )?;
    let me = me.map(|id| Uuid::from_bytes(*id.as_bytes()));
    let mut found = Vec::new();
    for (pointer, run, version) in runs(definition) {
        let way = match me {
            None if run == name => Some(Vec::new()),
            None => None,
            Some(me) => {
                let mut search = Search { own, me, seen: HashSet::new() };
                search.way(owner, run, version)?
            }
        };
        let Some(way) = way else { continue };
        let way: Vec<String> = way.iter().map(|name| format!("\"{name}\"")).collect();
        let message = match way.is_empty() {
            true => "the workflow runs itself".to_owned(),
            false => format!("the workflow runs itself, through {}", way.join(", ")),
        };
        let hint =
            "It ends only if an \"if\" or a \"switch\" keeps the innermost run from going on.";
        let at = format!("{pointer}/run/workflow");
        found.push(Problem::warning(at, "workflow_cycle", message).with_hint(hint));
    }
    Ok(found)
}

/// The workflows that a definition runs: place, name and version.
fn runs(definition: &Definition) -> impl Iterator<Item = (&str, &str, &str)> {
    definition.effects().filter_map(|effect| match effect {
        EffectRef::Workflow { pointer, name, version, .. } => {
            Some((pointer.as_str(), name.as_str(), version.as_str()))
        }
        _ => None,
    })
}

struct Search<'a> {
    own: &'a Own,
    me: Uuid,
    seen: HashSet<(Uuid, i32)>,
}

impl Search<'_> {
    /// The workflows from the one of this name to the one that is looked for, without the latter;
    /// none: it does not lead there.
    fn way(
        &mut self,
        owner: pg_sys::Oid,
        name: &str,
        version: &str,
    ) -> Result<Option<Vec<String>>> {
        let known = WORKFLOW.known(self.own, owner, name)?;
        if known.first().is_none_or(|first| first != name) {
            return Ok(None);
        }
        let id = WORKFLOW.id(self.own, owner, name)?;
        if id == self.me {
            return Ok(Some(Vec::new()));
        }
        let Some(version) = names::version_of(self.own, id, version)? else { return Ok(None) };
        if self.seen.len() >= MOST || !self.seen.insert((id, version)) {
            return Ok(None);
        }
        let Ok(known) = known::read(self.own, id, version)? else { return Ok(None) };
        let owner = WORKFLOW.owner(self.own, owner, name)?.unwrap_or(owner);
        for (_, run, version) in runs(&known.definition) {
            if let Some(mut way) = self.way(owner, run, version)? {
                way.insert(0, name.to_owned());
                return Ok(Some(way));
            }
        }
        Ok(None)
    }
}
