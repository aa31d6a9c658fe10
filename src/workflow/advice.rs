//! Advice on a workflow: the figures of its runs, and the plans of its statements.

use super::capability;
use crate::error::{Error, Result};
use crate::noun::WORKFLOW;
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::scan::{SeqScan, whole_tables};
use crate::spi::{Own, as_extension, step};
use automate_core::workflow::advice::{self, Advice, Figures, Filter, Kind, Scan, Step};
use automate_core::workflow::{Definition, EffectRef};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::ffi::CString;

/// A SQL step is looked at when it takes this part of the runs' time,
const SHARE: f64 = 0.1;
/// or this many milliseconds.
const SLOW_MS: f64 = 5.0;

/// A workflow with what is known of its runs.
struct Subject {
    document: Value,
    search_path: String,
    owner: pg_sys::Oid,
    figures: Figures,
}

/// What would make a workflow faster or surer, an object a piece of advice; `since` is an interval.
pub fn advise(user: pg_sys::Oid, name: &str, since: &str) -> Result<Vec<Value>> {
    let subject = as_extension(|own| read(own, user, name, since))?;
    let mut found = advice::advise(&subject.document, &subject.figures);
    found.extend(indexes(&subject)?);
    Ok(found.into_iter().map(shown).collect())
}

fn shown(advice: Advice) -> Value {
    json!({
        "advice": advice.advice,
        "step": advice.step,
        "severity": advice.severity.word(),
        "evidence": advice.evidence,
        "change": advice.change,
    })
}

fn read(own: &Own, user: pg_sys::Oid, name: &str, since: &str) -> Result<Subject> {
    let id = pgrx::Uuid::from_bytes(*WORKFLOW.id(own, user, name)?.as_bytes());
    own.run("SELECT automate.workflow_since(NULL, $1::text::interval)", &[since.into()])?;
    let rows = own.run(
        "SELECT v.definition::text, v.search_path, w.owner::oid,
                (SELECT coalesce(json_agg(f), '[]')::text FROM automate.workflow_step_figures(w.id, $2::text::interval) AS f)
         FROM automate.workflow AS w JOIN automate.workflow_version AS v ON v.workflow = w.id AND v.version = w.version
         WHERE w.id = $1",
        &[id.into(), since.into()],
    )?;
    let json = |column| {
        let text: String = rows.get(0, column).unwrap_or_default();
        serde_json::from_str(&text).map_err(|e| Error::Internal(format!("a workflow: {e}")))
    };
    let owner = rows.get(0, 3).ok_or_else(|| Error::Internal("a workflow without owner".into()))?;
    Ok(Subject {
        document: json(1)?,
        search_path: rows.get(0, 2).unwrap_or_default(),
        owner,
        figures: figures(&json(4)?)?,
    })
}

fn figures(rows: &Value) -> Result<Figures> {
    let mut figures = Figures::default();
    for row in rows.as_array().into_iter().flatten() {
        figures.runs = row["ended"].as_u64().unwrap_or(0);
        figures.run_ms = row["run_ms"].as_f64().unwrap_or(0.0);
        let step: Step = serde_json::from_value(row.clone())
            .map_err(|e| Error::Internal(format!("figures of a step: {e}")))?;
        figures.steps.insert(row["step"].as_str().unwrap_or_default().to_owned(), step);
    }
    Ok(figures)
}

/// The indexes that the slow statements lack. They are planned as the workflow's owner; one that
/// PostgreSQL does not take any more has no plan to look at.
fn indexes(subject: &Subject) -> Result<Vec<Advice>> {
    let Ok(definition) = Definition::parse(&subject.document, &capability::limits()) else {
        return Ok(Vec::new());
    };
    let path = CString::new(subject.search_path.as_str())
        .map_err(|e| Error::Internal(format!("search_path: {e}")))?;
    let mut found: Vec<Advice> = Vec::new();
    for effect in definition.effects() {
        let EffectRef::Sql { pointer, statement, .. } = effect else { continue };
        if !is_slow(subject.figures.steps.get(pointer)) {
            continue;
        }
        let nest = pg::GucNest::open();
        pg::set_local(c"search_path", &path);
        let scans = as_role(subject.owner, || {
            step::in_subtransaction(|| whole_tables(statement).unwrap_or_else(|e| e.raise()))
        });
        nest.undo();
        let scans = match scans {
            Ok(scans) => scans,
            Err(failure) if failure.stops() => return Err(failure.into()),
            Err(_) => continue,
        };
        for scan in &scans {
            let known = as_extension(|own| named(own, scan))?;
            let advice = known.and_then(|scan| advice::index(pointer, &scan));
            found.extend(
                advice.filter(|a| !found.iter().any(|f| f.step == a.step && f.change == a.change)),
            );
        }
    }
    Ok(found)
}

fn is_slow(step: Option<&Step>) -> bool {
    step.is_some_and(|step| {
        step.share.is_some_and(|share| share >= SHARE)
            || step.p50_ms.is_some_and(|ms| ms >= SLOW_MS)
    })
}

/// A scan with names. A column with which an index begins is left out: the planner could have
/// taken that.
fn named(own: &Own, scan: &SeqScan) -> Result<Option<Scan>> {
    let rows = own.run(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(root.relname), c.reltuples::float8, root.relkind = 'p'
         FROM pg_class AS c
         JOIN pg_class AS root ON root.oid = coalesce(pg_partition_root(c.oid), c.oid)
         JOIN pg_namespace AS n ON n.oid = root.relnamespace
         WHERE c.oid = $1 AND c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'automate')",
        &[scan.table.into()],
    )?;
    let (Some(table), Some(rows_of_it)) = (rows.get(0, 1), rows.get(0, 2)) else {
        return Ok(None);
    };
    let mut filters = Vec::new();
    for (column, is_equal) in &scan.columns {
        let name: Option<String> = own.one(
            "SELECT quote_ident(a.attname) FROM pg_attribute AS a
             WHERE a.attrelid = $1 AND a.attnum = $2 AND NOT EXISTS (
                SELECT FROM pg_index AS i WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = $2)",
            &[scan.table.into(), (*column).into()],
        )?;
        let kind = if *is_equal { Kind::Equal } else { Kind::Range };
        filters.extend(name.map(|column| Filter { column, kind }));
    }
    let partitioned = rows.get(0, 3).unwrap_or(false);
    Ok(Some(Scan { table, rows: rows_of_it, left: scan.left, partitioned, filters }))
}
