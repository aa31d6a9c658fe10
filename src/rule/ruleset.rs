//! Rule sets: rules that are decided together. Which of those that match act is the set's hit
//! policy.

use super::cache::{self, Rules};
use super::capture;
use super::evaluate;
use crate::access;
use crate::audit;
use crate::error::{Error, Failure, Result, shown};
use crate::noun::RULESET;
use crate::spi::{Own, as_extension};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use std::collections::HashSet;
use uuid::Uuid;

/// Which of the rules that match act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    All,
    /// By priority and name.
    First,
    /// At most one may match.
    Unique,
    Collect,
}

const WORDS: [&str; 4] = ["all", "first", "unique", "collect"];

impl Hit {
    /// The policy of a word in the table.
    pub fn of(word: &str) -> Hit {
        match word {
            "first" => Hit::First,
            "unique" => Hit::Unique,
            "collect" => Hit::Collect,
            _ => Hit::All,
        }
    }

    /// What a set's rules need to be looked at together for.
    pub fn decides(self) -> bool {
        matches!(self, Hit::First | Hit::Unique)
    }
}

/// A rule's membership in a set.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub set: Uuid,
    pub hit: Hit,
}

/// What becomes of rules that match.
#[derive(Debug, Default, PartialEq)]
pub struct Settled {
    /// Those that act, in their order.
    pub acting: Vec<usize>,
    /// Those of sets of which at most one may match, by set.
    pub clashes: Vec<Vec<usize>>,
}

/// Applies hit policies and `stop` to the rules that match, given in order of priority and name.
/// `rule` tells each one's membership, and whether it stops those behind it.
pub fn decide(count: usize, rule: impl Fn(usize) -> (Option<Member>, bool)) -> Settled {
    let mut settled = Settled::default();
    let mut decided: HashSet<Uuid> = HashSet::new();
    let mut unique: Vec<(Uuid, Vec<usize>)> = Vec::new();
    for index in 0..count {
        let (member, stop) = rule(index);
        match member {
            Some(Member { set, hit: Hit::First }) if !decided.insert(set) => continue,
            Some(Member { set, hit: Hit::Unique }) => {
                match unique.iter_mut().find(|(known, _)| *known == set) {
                    Some((_, matched)) => matched.push(index),
                    None => unique.push((set, vec![index])),
                }
            }
            _ => {}
        }
        settled.acting.push(index);
        if stop {
            break;
        }
    }
    settled.clashes =
        unique.into_iter().map(|(_, matched)| matched).filter(|m| m.len() > 1).collect();
    settled.acting.retain(|index| !settled.clashes.iter().any(|clash| clash.contains(index)));
    settled
}

/// Leaves those of the rules that a change matches that act: as `stop` and their sets say.
pub fn settle(rules: &Rules, hits: &mut Vec<u32>) -> Result<()> {
    if hits.is_empty() {
        return Ok(());
    }
    let terms = |index: usize| {
        let rule = &rules.rules[hits[index] as usize];
        (rule.member, rule.terms.stop)
    };
    let settled = decide(hits.len(), terms);
    for clash in &settled.clashes {
        let names: Vec<&str> =
            clash.iter().map(|i| rules.rules[hits[*i] as usize].name.as_str()).collect();
        for index in clash {
            capture::pass_over(rules, hits[*index], clash_failure(&names))?;
        }
    }
    if settled.acting.len() < hits.len() {
        *hits = settled.acting.iter().map(|index| hits[*index]).collect();
    }
    Ok(())
}

/// More than one rule matches of a set that allows one.
pub fn clash_failure(names: &[&str]) -> Failure {
    let shown: Vec<String> = names.iter().take(5).map(|name| shown(name)).collect();
    Failure {
        code: ERRCODE_CARDINALITY_VIOLATION,
        message: format!("{} rules of a set match, of which at most one may", names.len()),
        detail: Some(format!("They are {}; none of them acts.", shown.join(", "))),
        hint: Some("Make their conditions exclude each other, or give the set another hit policy with automate.alter_ruleset.".into()),
    }
}

fn check_policy(word: &str) -> Result<()> {
    if WORDS.contains(&word) {
        return Ok(());
    }
    Err(Error::unknown_word(format!("unknown hit policy {}", shown(word)), word, &WORDS))
}

/// Makes a set; returns its id.
pub fn create(
    owner: pg_sys::Oid,
    name: &str,
    policy: &str,
    description: Option<&str>,
) -> Result<Uuid> {
    access::check_name("rule set", name)?;
    check_policy(policy)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        let made = audit::around(own, &audit::RULESET, (owner, "create"), id, || {
            own.run(
                "INSERT INTO automate.ruleset (id, name, description, owner, hit_policy, created_by)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner, name) DO NOTHING RETURNING id",
                &[
                    key(id).into(),
                    name.into(),
                    description.into(),
                    owner.into(),
                    policy.into(),
                    // SAFETY: reads a process-local variable.
                    unsafe { pg_sys::GetSessionUserId() }.into(),
                ],
            )
        })?;
        match made.is_empty() {
            false => Ok(id),
            true => Err(RULESET
                .duplicate(owner, name)
                .with_hint("automate.alter_ruleset changes it; automate.drop_ruleset removes it.")),
        }
    })
}

/// Changes what is given.
pub fn alter(
    user: pg_sys::Oid,
    name: &str,
    policy: Option<&str>,
    description: Option<&str>,
) -> Result<()> {
    policy.map_or(Ok(()), check_policy)?;
    as_extension(|own| {
        let id = RULESET.id(own, user, name)?;
        audit::around(own, &audit::RULESET, (user, "alter"), id, || {
            own.run(
                "UPDATE automate.ruleset SET hit_policy = coalesce($2, hit_policy),
                        description = coalesce($3, description), updated_at = pg_catalog.now()
                 WHERE id = $1",
                &[key(id).into(), policy.into(), description.into()],
            )
        })?;
        announce(own, id)
    })
}

/// Removes a set that has no rules.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let id = RULESET.id(own, user, name)?;
        let rows = own.run(
            "SELECT name, pg_catalog.count(*) OVER () FROM automate.rule WHERE ruleset = $1
             ORDER BY priority, name LIMIT 5",
            &[key(id).into()],
        )?;
        let names: Vec<String> =
            (0..rows.len()).filter_map(|i| rows.get::<String>(i, 1)).map(|n| shown(&n)).collect();
        if let Some(count) = rows.get::<i64>(0, 2) {
            let more = if count > 5 { ", and others" } else { "" };
            let message = format!("rule set {} has rules in it", shown(name));
            return Err(Error::refused(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST, message)
                .with_detail(format!("There are {count}: {}{more}.", names.join(", ")))
                .with_hint("Drop them first with automate.drop_rule."));
        }
        audit::around(own, &audit::RULESET, (user, "drop"), id, || {
            own.run("DELETE FROM automate.ruleset WHERE id = $1", &[key(id).into()]).map(|_| ())
        })
    })
}

/// Tells every session that the rules of a set are decided in another way.
fn announce(own: &Own, id: Uuid) -> Result<()> {
    let rows = own.run(
        "SELECT DISTINCT on_table::pg_catalog.oid FROM automate.rule
         WHERE ruleset = $1 AND on_table IS NOT NULL",
        &[key(id).into()],
    )?;
    let tables: Vec<pg_sys::Oid> = (0..rows.len()).filter_map(|i| rows.get(i, 1)).collect();
    tables.into_iter().try_for_each(|table| cache::announce(own, table))?;
    evaluate::announce();
    Ok(())
}

/// The set of a name in which a role's rules may be: its own.
pub fn of_owner(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<Uuid> {
    let found: Option<pgrx::Uuid> = own.one(
        "SELECT id FROM automate.ruleset WHERE owner = $1 AND name = $2",
        &[owner.into(), name.into()],
    )?;
    match found {
        Some(id) => Ok(Uuid::from_bytes(*id.as_bytes())),
        None => Err(RULESET
            .missing(own, owner, name)
            .with_detail("A rule is in a set of its own owner.")),
    }
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
