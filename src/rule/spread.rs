//! Tables that come, or change their place below others: our triggers follow, and the command never
//! fails because of that.

use crate::error::Failure;
use crate::pg;
use crate::spi::{as_extension, step};
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::CStr;

thread_local! {
    /// The commands that run now are our own.
    static FOLLOWING: Cell<bool> = const { Cell::new(false) };
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_automate_follow_tables() -> *const pg_sys::Pg_finfo_record {
    static RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn automate_follow_tables(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL hands over a valid call frame, and EventTriggerData as its context when
    // the function is called by an event trigger.
    unsafe {
        let context = (*fcinfo).context;
        if !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_EventTriggerData {
            let data = &*context.cast::<pg_sys::EventTriggerData>();
            if let Some(task) = task(data.parsetree) {
                follow(task);
            }
        }
    }
    pg_sys::Datum::from(0)
}

/// What a command asks of us beside the tables that it names: `none`; `released`: to look for tables
/// that are below another one no more; `views`: for views that lost a trigger. None: nothing at all.
/// A command that a restore writes must be nothing: its own CREATE TRIGGER for ours comes later.
unsafe fn task(command: *mut pg_sys::Node) -> Option<&'static str> {
    use pg_sys::AlterTableType as Alter;
    let inherits = |create: &pg_sys::CreateStmt| (!create.inhRelations.is_null()).then_some("none");
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*command).type_ {
            pg_sys::NodeTag::T_CreateStmt => inherits(&*command.cast()),
            pg_sys::NodeTag::T_CreateForeignTableStmt => {
                inherits(&(*command.cast::<pg_sys::CreateForeignTableStmt>()).base)
            }
            pg_sys::NodeTag::T_CreateSchemaStmt => Some("none"),
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = &*command.cast::<pg_sys::AlterTableStmt>();
                let has = |types: &[Alter::Type]| {
                    pg::items::<pg_sys::AlterTableCmd>(alter.cmds)
                        .any(|cmd| types.contains(&(*cmd).subtype))
                };
                let released = [
                    Alter::AT_DetachPartition,
                    Alter::AT_DetachPartitionFinalize,
                    Alter::AT_DropInherit,
                ];
                let others = [
                    Alter::AT_AttachPartition,
                    Alter::AT_AddInherit,
                    Alter::AT_EnableTrigAll,
                    Alter::AT_EnableTrigUser,
                ];
                match (has(&released), has(&others)) {
                    (true, _) => Some("released"),
                    (false, true) => Some("none"),
                    (false, false) => None,
                }
            }
            pg_sys::NodeTag::T_DropStmt => {
                let drop = &*command.cast::<pg_sys::DropStmt>();
                let is_ours = pg::items::<pg_sys::List>(drop.objects).any(|name| {
                    pg::items::<pg_sys::String>(name).last().is_some_and(|last| {
                        let last = CStr::from_ptr((*last).sval).to_bytes();
                        last.strip_prefix(b"~").unwrap_or(last).starts_with(b"pg_automate_")
                    })
                });
                (!is_ours).then_some("views")
            }
            _ => None,
        }
    }
}

/// Puts back what was, also while an error unwinds.
struct Before;

impl Drop for Before {
    fn drop(&mut self) {
        FOLLOWING.set(false);
    }
}

fn follow(task: &str) {
    if FOLLOWING.replace(true) {
        return;
    }
    let _before = Before;
    let followed = step::in_subtransaction(|| {
        as_extension(|own| {
            own.run(
                "SELECT automate.keep_captures(coalesce((
                     SELECT pg_catalog.array_agg(c.objid) FROM pg_catalog.pg_event_trigger_ddl_commands() AS c
                     WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass), '{}'), $1)",
                &[task.into()],
            )
            .map(|_| ())
        })
        .map_err(Failure::from)
    });
    if let Err(failure) = followed.and_then(|done| done) {
        warning!(
            "rules and triggers of tables above do not see every change of this table: {}",
            failure.text()
        );
    }
}
