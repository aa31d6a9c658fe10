//! Many jobs at once: those that a statement causes for one rule.

use crate::error::Result;
use crate::spi::insert::{Inserter, varlena};
use crate::wake;
use pgrx::prelude::*;
use uuid::Uuid;

/// What the jobs have in common.
pub struct Bulk<'a> {
    pub kind: &'static str,
    pub owner: pg_sys::Oid,
    pub source: &'a str,
    pub priority: i32,
    pub max_attempts: i32,
    pub search_path: &'a str,
}

/// The columns that are not NULL, the changing ones first.
const COLUMNS: [&str; 15] = [
    "id",
    "payload",
    "kind",
    "status",
    "owner",
    "priority",
    "run_at",
    "attempts",
    "max_attempts",
    "lane",
    "top_level",
    "crashes",
    "source",
    "search_path",
    "enqueued_at",
];

impl Bulk<'_> {
    /// Puts a job in for each id, with the payload beside it, which is JSON already: it is not read
    /// again.
    pub fn put<'p>(&self, ids: &[Uuid], payloads: impl IntoIterator<Item = &'p str>) -> Result<()> {
        let mut table = Inserter::open(c"job", &COLUMNS)?;
        // SAFETY: reads a process-local variable.
        let now = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
        let same = [
            text(self.kind),
            text("ready"),
            self.owner.into_datum(),
            self.priority.into_datum(),
            Some(pg_sys::Datum::from(now)),
            0i32.into_datum(),
            self.max_attempts.into_datum(),
            (super::Lane::Sql.letter()).into_datum(),
            false.into_datum(),
            0i32.into_datum(),
            text(self.source),
            text(self.search_path),
            Some(pg_sys::Datum::from(now)),
        ];
        let mut row = [None; COLUMNS.len()];
        row[2..].copy_from_slice(&same);
        for (id, payload) in ids.iter().zip(payloads) {
            // PostgreSQL's uuid is these bytes, and json is stored as text is.
            row[0] = Some(pg_sys::Datum::from(id.as_bytes().as_ptr()));
            row[1] = text(payload);
            // SAFETY: the values are of the types of the columns, in their order.
            unsafe { table.put(&row) };
        }
        table.close();
        wake::arm_role(self.owner);
        Ok(())
    }
}

fn text(text: &str) -> Option<pg_sys::Datum> {
    Some(varlena(text.as_bytes()))
}
