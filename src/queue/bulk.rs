//! Many jobs at once: those that a statement causes for one rule are put in by one INSERT.

use super::claim::to_uuids;
use crate::error::Result;
use crate::spi::Own;
use crate::wake;
use pgrx::datum::DatumWithOid;
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

impl Bulk<'_> {
    /// Puts a job in for each id, with the payload beside it, which is JSON already.
    pub fn put(&self, own: &Own, ids: &[Uuid], payloads: &[String]) -> Result<()> {
        own.run(
            "INSERT INTO automate.job (id, kind, status, owner, priority, run_at, max_attempts, lane,
                                       source, search_path, payload)
             SELECT m.id, $3, 'ready', $4, $5, pg_catalog.now(), $6, 's', $7, $8, m.payload
             FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]),
                             pg_catalog.unnest($2::pg_catalog.json[])) AS m(id, payload)",
            &[
                to_uuids(ids).into(),
                json_array(payloads),
                self.kind.into(),
                self.owner.into(),
                self.priority.into(),
                self.max_attempts.into(),
                self.source.into(),
                self.search_path.into(),
            ],
        )?;
        wake::arm_role(self.owner);
        Ok(())
    }
}

/// An array of json in the current memory context. The texts are JSON already: they are not read
/// again.
fn json_array(texts: &[String]) -> DatumWithOid<'static> {
    // SAFETY: json is stored as text is; the array copies its members, whose length it reads from
    // their headers.
    unsafe {
        let mut members: Vec<pg_sys::Datum> = texts
            .iter()
            .map(|text| {
                let length = i32::try_from(text.len()).unwrap_or(0);
                pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), length))
            })
            .collect();
        let count = i32::try_from(members.len()).unwrap_or(0);
        let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
        let json = pg_sys::JSONOID;
        let array = pg_sys::construct_array(members.as_mut_ptr(), count, json, -1, false, align);
        DatumWithOid::new(Made(pg_sys::Datum::from(array)), pg_sys::JSONARRAYOID)
    }
}

/// An array of json that is a datum already.
struct Made(pg_sys::Datum);

impl IntoDatum for Made {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONARRAYOID
    }
}
