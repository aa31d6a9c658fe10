//! The items of large loops, kept apart from the state of their run.

use super::run::Run;
use crate::error::Result;
use crate::spi::Own;
use pgrx::Uuid as PgUuid;
use serde_json::Value;
use uuid::Uuid;

/// Keeps the items of a loop.
pub fn keep(own: &Own, run: &Run, step: &str, items: &[Value]) -> Result<()> {
    let texts: Vec<String> = items.iter().map(Value::to_string).collect();
    own.run(
        "INSERT INTO automate.run_item (run, step, place, item, owner)
         SELECT $1, $2, i.place - 1, i.item::json, $4
         FROM unnest($3) WITH ORDINALITY AS i(item, place)
         ON CONFLICT (run, step, place) DO UPDATE SET item = EXCLUDED.item",
        &[
            PgUuid::from_bytes(*run.id.as_bytes()).into(),
            step.into(),
            texts.into(),
            run.owner.into(),
        ],
    )?;
    Ok(())
}

/// At most so many items of a loop, from a place on.
pub fn page(own: &Own, run: Uuid, step: &str, from: u64, limit: u64) -> Result<Vec<Value>> {
    let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let rows = own.run(
        "SELECT item::text FROM automate.run_item
         WHERE run = $1 AND step = $2 AND place >= $3 ORDER BY place LIMIT $4",
        &[
            PgUuid::from_bytes(*run.as_bytes()).into(),
            step.into(),
            bound(from).into(),
            bound(limit).into(),
        ],
    )?;
    let texts = (0..rows.len()).filter_map(|row| rows.get::<String>(row, 1));
    Ok(texts.map(|text| serde_json::from_str(&text).unwrap_or_default()).collect())
}

/// Drops the items of a loop.
pub fn forget(own: &Own, run: Uuid, step: &str) -> Result<()> {
    own.run(
        "DELETE FROM automate.run_item WHERE run = $1 AND step = $2",
        &[PgUuid::from_bytes(*run.as_bytes()).into(), step.into()],
    )?;
    Ok(())
}
