//! How far a backtest is: told in the session's row of pg_stat_activity, which others can see.
//! automate.backtest_progress reads it there.

use pgrx::prelude::*;
use std::ffi::CString;

/// Blocks below which a table is taken at once.
const SMALL: u32 = 4096;
/// Parts that a large table is taken in.
const PARTS: u32 = 50;
/// pg_am's row of the usual tables, whose rows can be found by block.
const HEAP: u32 = 2;

/// The parts of a table's file, by block: each ends before the next begins, the last has no end.
/// Empty for a table that is taken at once.
pub fn steps(table: pg_sys::Oid) -> Vec<(u32, Option<u32>)> {
    // SAFETY: the relation is open while it is asked for its kind and its size.
    let (blocks, heap) = unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let form = &*(*relation).rd_rel;
        let heap = form.relkind as u8 == b'r' && form.relam.to_u32() == HEAP;
        let main = pg_sys::ForkNumber::MAIN_FORKNUM;
        let blocks = if heap { pg_sys::RelationGetNumberOfBlocksInFork(relation, main) } else { 0 };
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        (blocks, heap)
    };
    if !heap || blocks < SMALL {
        return Vec::new();
    }
    let size = blocks.div_ceil(PARTS);
    let starts: Vec<u32> = (0..blocks).step_by(size as usize).collect();
    starts.iter().enumerate().map(|(i, from)| (*from, starts.get(i + 1).copied())).collect()
}

/// Says that `done` of `all` parts are done.
pub fn tell(rule: &str, done: usize, all: usize) {
    report(&format!("backtest_rule \"{rule}\": {} %", done * 100 / all.max(1)));
}

/// Shows the session's own statement again.
pub fn end() {
    // SAFETY: null, or the text of the statement that the client sent.
    unsafe {
        let text = pg_sys::debug_query_string;
        if !text.is_null() {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text);
        }
    }
}

fn report(text: &str) {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the text is copied.
    unsafe {
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr());
    }
}
