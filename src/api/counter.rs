//! counted.

use super::args::Answer;
use crate::shmem::registry;
use crate::{pg, sql_function};
use serde_json::json;

sql_function!(automate_counted, pg_finfo_automate_counted, |args| {
    let (db, id) = (pg::my_database(), args.uuid(0, "id")?);
    let Some(registry) = registry() else { return Ok(Answer::Null) };
    let Some(counts) = registry.counters.get(db, id) else { return Ok(Answer::Null) };
    let mut found = json!({
        "evaluated": counts.evaluated, "matched": counts.matched, "skipped": counts.skipped,
        "last_at": (counts.last != 0).then(|| pg::iso(counts.last)),
    });
    let delays = registry.counters.delays(db, id, [0.5, 0.95, 0.99]);
    for (name, us) in ["p50_ms", "p95_ms", "p99_ms"].iter().zip(delays.into_iter().flatten()) {
        found[name] = json!((us.round() / 1000.0));
    }
    Ok(Answer::Json(found))
});
