//! The functions that SQL calls: thin shells over the rooms of the nouns. Their SQL declarations,
//! with comments, stand in sql/*.sql.

pub mod access;
pub mod args;
pub mod calendar;
pub mod counter;
pub mod decision;
pub mod event;
pub mod insight;
pub mod notify;
pub mod operate;
pub mod queue;
pub mod report;
pub mod rule;
pub mod rule_test;
pub mod rule_version;
pub mod run_control;
pub mod task;
pub mod trigger;
pub mod webhook;
pub mod workflow;
pub mod workflow_draw;
pub mod workflow_import;
pub mod workflow_people;
pub mod workflow_steps;
pub mod workflow_version;

/// Declares a SQL-callable function: `sql_function!(automate_x, |args| Result<Datum>)`.
/// An error becomes PostgreSQL's ERROR with its SQLSTATE, DETAIL and HINT.
#[macro_export]
macro_rules! sql_function {
    ($symbol:ident, $finfo:ident, $body:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $finfo() -> *const pgrx::pg_sys::Pg_finfo_record {
            static RECORD: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            let body: fn(
                &$crate::api::args::Args,
            ) -> $crate::error::Result<$crate::api::args::Answer> = $body;
            // SAFETY: PostgreSQL hands over a valid call frame for the length of the call.
            let args = unsafe { $crate::api::args::Args::of(fcinfo) };
            match body(&args) {
                Ok(answer) => args.answer(answer),
                Err(error) => error.raise(),
            }
        }
    };
}
