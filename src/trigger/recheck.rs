//! The trigger of a table that triggers of type custom name: it notes that the table changes, and
//! the commit tells the coordinator. No row is written, so that no writer waits for another one.

use crate::error::Error;
use crate::wake;
use pgrx::prelude::*;

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_automate_recheck() -> *const pg_sys::Pg_finfo_record {
    static RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn automate_recheck(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL hands over a valid call frame, and TriggerData with an open relation as
    // its context when the function is called as a trigger.
    let table = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            None
        } else {
            Some((*(*context.cast::<pg_sys::TriggerData>()).tg_relation).rd_id)
        }
    };
    match table {
        Some(table) => {
            wake::arm_table(table);
            pg_sys::Datum::from(0)
        }
        None => Error::refused(
            PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "automate.recheck() must be called by a trigger",
        )
        .with_detail("It was called in another way.")
        .with_hint("SELECT automate.create_trigger(...) of type custom makes the trigger.")
        .raise(),
    }
}
