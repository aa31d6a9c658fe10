//! Rules that are on no table, asked about a JSON context: which of them match, and what would
//! they do? And the sets of rules on events of which not all may act.

use super::backtest::as_defined;
use super::condition::{self, Condition};
use super::fault::{self, Culprit};
use super::ruleset::{self, Hit, Member, Settled};
use super::{cause, look};
use crate::bell::{self, Age};
use crate::error::{Error, Failure, Result};
use crate::noun::{RULE, RULESET};
use crate::pg;
use crate::queue::finish::Outcome;
use crate::queue::{Job, Lane, NewJob};
use crate::spi::{Own, as_extension, statement};
use automate_core::rule::action::{self, Action};
use automate_core::rule::logic::Facts;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;
use uuid::Uuid;

/// Most lists of rules kept by a session.
const KEPT: usize = 16;
/// Most conditions of one statement.
const BATCH: usize = 200;

/// A rule as it is asked.
struct Asked {
    id: Uuid,
    name: String,
    owner: pg_sys::Oid,
    priority: i32,
    search_path: CString,
    /// An error for what cannot be evaluated.
    condition: std::result::Result<Option<Condition>, Failure>,
    actions: String,
    parsed: OnceCell<std::result::Result<Vec<Action>, String>>,
    valid_from: Option<i64>,
    valid_until: Option<i64>,
    member: Option<Member>,
}

/// Conditions in SQL that one statement answers.
struct Batch {
    owner: pg_sys::Oid,
    search_path: CString,
    rules: Vec<usize>,
    text: String,
}

/// Rules by priority and name, ready to be asked.
struct List {
    rules: Vec<Asked>,
    batches: Vec<Batch>,
}

type Key = (pg_sys::Oid, Option<String>);

thread_local! {
    static LISTS: RefCell<HashMap<Key, (Age, Rc<List>)>> = RefCell::new(HashMap::new());
}

/// Tells every session that rules which are on no table changed, or how they are decided.
pub fn announce() {
    bell::ring(bell::RULES);
}

const COLUMNS_OF_ROLE: &str = "SELECT r.id, r.name, r.owner::pg_catalog.oid, r.priority, r.search_path,
        coalesce(r.condition_sql, r.condition), CASE WHEN r.condition_sql IS NULL THEN r.conditions::pg_catalog.text END,
        r.actions::pg_catalog.text, r.valid_from, r.valid_until, r.ruleset, s.hit_policy
 FROM automate.rule AS r LEFT JOIN automate.ruleset AS s ON s.id = r.ruleset
 WHERE r.on_table IS NULL AND r.status = 'active' AND pg_has_role($1, r.owner, 'USAGE')
   AND ($2::pg_catalog.uuid IS NULL OR r.ruleset = $2)
 ORDER BY r.priority, r.name, r.id";

const COLUMNS_OF_IDS: &str = "SELECT r.id, r.name, r.owner::pg_catalog.oid, r.priority, r.search_path,
        coalesce(r.condition_sql, r.condition), CASE WHEN r.condition_sql IS NULL THEN r.conditions::pg_catalog.text END,
        r.actions::pg_catalog.text, NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamptz, r.ruleset, s.hit_policy
 FROM automate.rule AS r LEFT JOIN automate.ruleset AS s ON s.id = r.ruleset
 WHERE r.id = ANY ($1::pg_catalog.text[]::pg_catalog.uuid[]) AND r.owner = $2
 ORDER BY r.priority, r.name, r.id";

fn read(rows: &crate::spi::own::Rows) -> List {
    let mut rules = Vec::with_capacity(rows.len());
    for i in 0..rows.len() {
        let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(i, 1), rows.get(i, 3)) else {
            continue;
        };
        let logic: Option<String> = rows.get(i, 7);
        rules.push(Asked {
            id: Uuid::from_bytes(*id.as_bytes()),
            name: rows.get(i, 2).unwrap_or_default(),
            owner,
            priority: rows.get(i, 4).unwrap_or(100),
            search_path: look::path(rows.get(i, 5)),
            condition: Condition::read(rows.get(i, 6), logic.as_deref()).map_err(Failure::from),
            actions: rows.get(i, 8).unwrap_or_default(),
            parsed: OnceCell::new(),
            valid_from: rows.get::<TimestampWithTimeZone>(i, 9).map(i64::from),
            valid_until: rows.get::<TimestampWithTimeZone>(i, 10).map(i64::from),
            member: rows.get::<pgrx::Uuid>(i, 11).map(|set| Member {
                set: Uuid::from_bytes(*set.as_bytes()),
                hit: Hit::of(&rows.get::<String>(i, 12).unwrap_or_default()),
            }),
        });
    }
    List { batches: batches(&rules), rules }
}

fn batches(rules: &[Asked]) -> Vec<Batch> {
    let mut groups: Vec<Batch> = Vec::new();
    let mut open: HashMap<(pg_sys::Oid, CString), usize> = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        if !matches!(rule.condition, Ok(Some(Condition::Sql(_)))) {
            continue;
        }
        let key = (rule.owner, rule.search_path.clone());
        let place = open.get(&key).copied().filter(|place| groups[*place].rules.len() < BATCH);
        let place = place.unwrap_or_else(|| {
            groups.push(Batch {
                owner: rule.owner,
                search_path: rule.search_path.clone(),
                rules: Vec::new(),
                text: String::new(),
            });
            open.insert(key, groups.len() - 1);
            groups.len() - 1
        });
        groups[place].rules.push(index);
    }
    for batch in &mut groups {
        let conditions = batch.rules.iter().filter_map(|index| match &rules[*index].condition {
            Ok(Some(Condition::Sql(sql))) => Some(sql.as_str()),
            _ => None,
        });
        batch.text = condition::all_statement(conditions);
    }
    groups
}

/// The rules that a role may ask, from what the session keeps or read now.
fn list(user: pg_sys::Oid, set: Option<&str>) -> Result<Rc<List>> {
    let key = (user, set.map(str::to_owned));
    let kept = LISTS.with_borrow(|lists| lists.get(&key).cloned());
    if let Some((age, list)) = kept
        && age.is_current()
    {
        return Ok(list);
    }
    let age = Age::now();
    let made = Rc::new(as_extension(|own| {
        let set = set.map(|name| RULESET.id(own, user, name)).transpose()?;
        let set = set.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()));
        Ok(read(&own.run(COLUMNS_OF_ROLE, &[user.into(), set.into()])?))
    })?);
    LISTS.with_borrow_mut(|lists| {
        if lists.len() >= KEPT {
            lists.clear();
        }
        lists.insert(key, (age, made.clone()));
    });
    Ok(made)
}

/// What became of asking a rule.
type Held = std::result::Result<bool, Failure>;

impl Asked {
    fn is_valid(&self, now: i64) -> bool {
        self.valid_from.is_none_or(|from| from <= now)
            && self.valid_until.is_none_or(|until| now < until)
    }

    fn actions(&self) -> &std::result::Result<Vec<Action>, String> {
        self.parsed.get_or_init(|| {
            let actions: Value = serde_json::from_str(&self.actions).map_err(|e| e.to_string())?;
            action::parse(&actions)
                .map_err(|p| Failure::from(Error::problems("actions", &p, RULE.help)).text())
        })
    }

    /// What it would do, in the shape in which its actions are defined.
    fn rendered(&self, context: &Value) -> std::result::Result<Value, String> {
        let actions = self.actions().as_ref().map_err(Clone::clone)?;
        let seen = json!({
            "event": context, "new": context.get("new"), "old": context.get("old"), "rule": self.name,
        });
        let shown = actions.iter().enumerate().map(|(index, action)| {
            action.render(&seen).map(as_defined).map_err(|e| format!("action {}: {e}", index + 1))
        });
        shown.collect::<std::result::Result<Vec<Value>, String>>().map(Value::Array)
    }
}

/// Asks the rules, each as its owner, read only; None for one that is not valid now.
fn ask(list: &List, context: &Value, text: &str) -> Vec<Option<Held>> {
    let now = pg::now();
    let facts: OnceCell<std::result::Result<Facts, String>> = OnceCell::new();
    let mut held: Vec<Option<Held>> = Vec::with_capacity(list.rules.len());
    for rule in &list.rules {
        held.push(rule.is_valid(now).then(|| match &rule.condition {
            Err(failure) => Err(failure.clone()),
            Ok(None) => Ok(true),
            Ok(Some(Condition::Sql(_))) => Ok(false),
            Ok(Some(Condition::Logic(logic))) => {
                let facts = facts.get_or_init(|| Facts::read(text));
                facts
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|facts| logic.holds(facts))
                    .map_err(|reason| Failure::from(condition::refuse(reason)))
            }
        }));
    }
    for batch in &list.batches {
        ask_batch(list, batch, context, &mut held);
    }
    held
}

/// Asks many conditions at once; if one fails, each alone.
fn ask_batch(list: &List, batch: &Batch, context: &Value, held: &mut [Option<Held>]) {
    let event = std::slice::from_ref(context);
    let together = look::as_owner(batch.owner, &batch.search_path, || {
        statement::execute(&batch.text, event, true).unwrap_or_else(|e| e.raise()).rows
    });
    let hits =
        together.ok().and_then(|rows| rows.first().and_then(|row| row["hits"].as_array().cloned()));
    for (place, index) in batch.rules.iter().enumerate() {
        let Some(answer) = &mut held[*index] else { continue };
        *answer = match (&hits, &list.rules[*index].condition) {
            (Some(hits), _) => Ok(hits.get(place).and_then(Value::as_bool).unwrap_or(false)),
            (None, Ok(Some(condition))) => look::as_owner(batch.owner, &batch.search_path, || {
                condition.holds(context).unwrap_or_else(|e| e.raise())
            }),
            _ => Ok(false),
        };
    }
}

/// The rules that match, as their sets let them.
fn settle(list: &List, held: &[Option<Held>]) -> Settled {
    let matched: Vec<usize> =
        (0..held.len()).filter(|index| matches!(held[*index], Some(Ok(true)))).collect();
    let settled = ruleset::decide(matched.len(), |i| (list.rules[matched[i]].member, false));
    let back = |indexes: Vec<usize>| indexes.into_iter().map(|i| matched[i]).collect();
    Settled {
        acting: back(settled.acting),
        clashes: settled.clashes.into_iter().map(back).collect(),
    }
}

fn clash_failure(list: &List, clash: &[usize]) -> Failure {
    let names: Vec<&str> = clash.iter().map(|i| list.rules[*i].name.as_str()).collect();
    ruleset::clash_failure(&names)
}

/// Which rules match a context, as a JSON array; with `all`, also those that do not.
pub fn evaluate(
    user: pg_sys::Oid,
    context: &Value,
    text: &str,
    set: Option<&str>,
    all: bool,
) -> Result<Value> {
    let list = list(user, set)?;
    let held = ask(&list, context, text);
    let settled = settle(&list, &held);
    let mut rows = Vec::new();
    for (index, rule) in list.rules.iter().enumerate() {
        let clash = settled.clashes.iter().find(|clash| clash.contains(&index));
        let row = match (&held[index], clash) {
            (_, Some(clash)) => {
                let error = clash_failure(&list, clash).text();
                json!({"rule": rule.name, "matched": true, "error": error})
            }
            (Some(Ok(true)), None) if settled.acting.contains(&index) => {
                match rule.rendered(context) {
                    Ok(actions) => json!({"rule": rule.name, "matched": true, "actions": actions}),
                    Err(error) => json!({"rule": rule.name, "matched": true, "error": error}),
                }
            }
            (Some(Err(failure)), None) => json!({"rule": rule.name, "error": failure.text()}),
            _ if all => json!({"rule": rule.name, "matched": false}),
            _ => continue,
        };
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

/// Queues what the matching rules say, in the caller's transaction; answers a JSON array.
pub fn execute(user: pg_sys::Oid, context: &Value, text: &str, set: Option<&str>) -> Result<Value> {
    let depth = cause::depth();
    if depth >= cause::MAX_DEPTH {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("execute_rules ends a chain of {depth} rules, each caused by the one before"),
        )
        .with_detail(format!("Chains of at most {} are allowed.", cause::MAX_DEPTH))
        .with_hint("The rules feed each other: give one of them a condition that ends the loop."));
    }
    let list = list(user, set)?;
    let held = ask(&list, context, text);
    let settled = settle(&list, &held);
    let mut rows = Vec::new();
    for index in &settled.acting {
        let rule = &list.rules[*index];
        let actions = rule.rendered(context);
        let job = as_extension(|own| put(own, rule, context, depth))?;
        rows.push(match actions {
            Ok(actions) => json!({"rule": rule.name, "job": job, "actions": actions}),
            Err(error) => json!({"rule": rule.name, "job": job, "error": error}),
        });
    }
    for (index, rule) in list.rules.iter().enumerate() {
        if let Some(Err(failure)) = &held[index] {
            rows.push(json!({"rule": rule.name, "error": failure.text()}));
        }
    }
    for clash in &settled.clashes {
        let failure = clash_failure(&list, clash);
        tell(&list, clash, &failure)?;
        rows.extend(
            clash.iter().map(|i| json!({"rule": list.rules[*i].name, "error": failure.text()})),
        );
    }
    Ok(Value::Array(rows))
}

/// Queues one rule's actions; its condition was decided.
fn put(own: &Own, rule: &Asked, context: &Value, depth: i32) -> Result<Uuid> {
    let payload = json!({
        "rule": rule.id, "depth": depth + 1, "decided": true, "event": context,
        "new": context.get("new"), "old": context.get("old"),
    });
    let source = format!("rule:{}", rule.name);
    let path = rule.search_path.to_string_lossy();
    NewJob {
        source: Some(&source),
        priority: rule.priority,
        max_attempts: super::ATTEMPTS,
        search_path: Some(&path),
        ..NewJob::new("rule", rule.owner, Lane::Sql, &payload)
    }
    .put(own)
}

/// Notes a failure with the rules that caused it.
fn tell(list: &List, clash: &[usize], failure: &Failure) -> Result<()> {
    clash.iter().try_for_each(|index| {
        let rule = &list.rules[*index];
        fault::note(
            &Culprit { word: "rule", id: rule.id, name: &rule.name, owner: rule.owner },
            failure,
            false,
        )
    })
}

/// Decides a set of rules on one event, in a session of their owner, and queues those that act.
pub fn choose(job: &Job, ids: &[Value], event: &Value) -> Result<Outcome> {
    let ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let list = as_extension(|own| {
        Ok(read(&own.run(COLUMNS_OF_IDS, &[ids.into(), pg::current_user().into()])?))
    })?;
    let held = ask(&list, event, &event.to_string());
    let settled = settle(&list, &held);
    for (index, answer) in held.iter().enumerate() {
        if let Some(Err(failure)) = answer {
            tell(&list, &[index], failure)?;
        }
    }
    for clash in &settled.clashes {
        tell(&list, clash, &clash_failure(&list, clash))?;
    }
    let depth = job.payload["depth"].as_i64().and_then(|d| i32::try_from(d).ok()).unwrap_or(1);
    as_extension(|own| {
        settled
            .acting
            .iter()
            .try_for_each(|index| put(own, &list.rules[*index], event, depth - 1).map(|_| ()))
    })?;
    let names: Vec<&str> = settled.acting.iter().map(|i| list.rules[*i].name.as_str()).collect();
    Ok(Outcome::Succeeded(json!({"matched": names})))
}
