//! Actions in the writer's transaction: statements that run as soon as the row is written, with the
//! rights of the rule's owner. `current_user` is the owner, `session_user` the writer's. More than
//! that would be kept from a condition is open to them, such as deferred constraints: the owner has
//! the right TRIGGER on the table, with which it could run code as the writer.

use super::cache::{Rule, Rules};
use super::capture::{self, Change};
use super::{cause, context, expression};
use crate::error::{Error, Result};
use crate::pg;
use crate::spi::own::acting_as;
use crate::spi::{statement, step};
use automate_core::rule::action::Rendered;

/// Runs the statements of the rules that matched; leaves those of which actions follow after the
/// commit. A match of which a statement failed is undone as a whole: nothing of it follows.
pub fn run(rules: &Rules, hits: &mut Vec<u32>, change: &Change) -> Result<()> {
    if hits.iter().all(|hit| rules.rules[*hit as usize].inline.statements.is_empty()) {
        return Ok(());
    }
    let writer = pg::role_name(pg::current_user());
    let mut left = Vec::with_capacity(hits.len());
    for hit in hits.iter().copied() {
        let rule = &rules.rules[hit as usize];
        if !rule.inline.statements.is_empty()
            && let Err(failure) = acting_as(rule.owner, || {
                cause::within(rule.id, cause::depth() + 1, || {
                    step::in_subtransaction(|| {
                        run_all(rules, rule, change, writer.as_deref())
                            .unwrap_or_else(|e| e.raise());
                    })
                })
            })
        {
            capture::pass_over(rules, hit, failure)?;
            continue;
        }
        if rule.inline.commits {
            left.push(hit);
        }
    }
    *hits = left;
    Ok(())
}

fn run_all(rules: &Rules, rule: &Rule, change: &Change, writer: Option<&str>) -> Result<()> {
    let nest = pg::GucNest::open();
    expression::fix_settings(&rule.search_path);
    let context = context::of(rules, rule, change, writer)?;
    for (index, action) in &rule.inline.statements {
        let rendered = action.render(&context).map_err(|e| {
            let hint = e.hint().unwrap_or("An action sees {event, new, old, rule}.".into());
            Error::invalid(format!("action {}: {e}", index + 1))
                .with_detail("It is an action in the writer's transaction.")
                .with_hint(hint)
        })?;
        if let Rendered::Sql { statement, params, .. } = rendered {
            let params = params.as_array().map_or(&[][..], Vec::as_slice);
            statement::execute(&statement, params, false)?;
        }
    }
    nest.undo();
    Ok(())
}
