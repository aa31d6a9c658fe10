//! Commands that want a database to themselves, or that bring and take the extension: our workers
//! make way, and come back when the command is over.

use crate::rule::{follow, pending};
use crate::shmem::{Kind, State, registry};
use crate::{pg, wake};
use pgrx::prelude::*;
use std::ffi::{CStr, c_char};

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// How long a command waits for our workers to leave, in microseconds.
const PATIENCE_US: i64 = 4_000_000;

/// Hooks into utility commands; called from `_PG_init` while the server starts.
pub fn init() {
    // SAFETY: before any other thread or session exists.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// What a command means for our workers.
enum Effect {
    None,
    /// Wants a database without sessions: they stay out until the transaction is over.
    Database(pg_sys::Oid),
    /// Makes a database that the launcher does not know.
    NewDatabase,
    /// Alters or drops roles: jobs of theirs may be able to run, or never again.
    Roles,
    /// Drops the extension here: they stay out until the transaction is over.
    DropExtension,
    /// Creates or updates the extension.
    Extension,
}

#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    plan: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a utility statement; the node's tag says which struct it is.
    let concerned = unsafe {
        effect_of((*plan).utilityStmt).prepare();
        follow::before((*plan).utilityStmt)
    };
    // SAFETY: hands the very same arguments on, to the hook before ours or to PostgreSQL.
    unsafe {
        match PREVIOUS {
            Some(previous) => pg::guarded(|| {
                previous(
                    plan,
                    text,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    receiver,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                plan,
                text,
                read_only_tree,
                context,
                params,
                environment,
                receiver,
                completion,
            ),
        }
    }
    // COPY fires the triggers of its rows here.
    if pending::is_any() {
        pending::write().unwrap_or_else(|e| e.raise());
    }
    if let Some(concerned) = concerned {
        follow::after(concerned);
    }
}

impl Effect {
    /// What is to be done before the command.
    fn prepare(self) {
        match self {
            Effect::None => {}
            Effect::Database(db) => {
                wake::arm_databases();
                make_way(db);
            }
            Effect::NewDatabase => wake::arm_databases(),
            Effect::Roles => wake::arm_role_definitions(),
            Effect::DropExtension => {
                wake::arm_launcher();
                make_way(pg::my_database());
            }
            Effect::Extension => wake::arm_launcher(),
        }
    }
}

unsafe fn effect_of(node: *mut pg_sys::Node) -> Effect {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match (*node).type_ {
            T_DropdbStmt => own_database((*node.cast::<pg_sys::DropdbStmt>()).dbname),
            T_AlterDatabaseStmt => own_database((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname),
            T_RenameStmt => {
                let stmt = &*node.cast::<pg_sys::RenameStmt>();
                if stmt.renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                    own_database(stmt.subname)
                } else {
                    Effect::None
                }
            }
            T_CreatedbStmt => template_of(&*node.cast::<pg_sys::CreatedbStmt>()),
            T_CreateExtensionStmt
                if is_ours((*node.cast::<pg_sys::CreateExtensionStmt>()).extname) =>
            {
                Effect::Extension
            }
            T_AlterExtensionStmt
                if is_ours((*node.cast::<pg_sys::AlterExtensionStmt>()).extname) =>
            {
                Effect::Extension
            }
            T_AlterRoleStmt | T_DropRoleStmt => Effect::Roles,
            T_DropStmt => drops_us(&*node.cast::<pg_sys::DropStmt>()),
            _ => Effect::None,
        }
    }
}

unsafe fn is_ours(name: *const c_char) -> bool {
    // SAFETY: the parser's names are NUL-terminated.
    !name.is_null() && unsafe { CStr::from_ptr(name) } == c"pg_automate"
}

/// The database, if the user may do to it what the command says: nobody else can send our workers away.
unsafe fn own_database(name: *const c_char) -> Effect {
    // SAFETY: catalog look-ups in a transaction.
    unsafe {
        let db = pg_sys::get_database_oid(name, true);
        if db != pg_sys::InvalidOid && pg_sys::pg_database_ownercheck(db, pg_sys::GetUserId()) {
            Effect::Database(db)
        } else {
            Effect::None
        }
    }
}

unsafe fn template_of(stmt: &pg_sys::CreatedbStmt) -> Effect {
    // SAFETY: options is a list of DefElem from the parser.
    unsafe {
        for option in pg::items::<pg_sys::DefElem>(stmt.options) {
            if CStr::from_ptr((*option).defname) == c"template" && !(*option).arg.is_null() {
                return match own_database(pg_sys::defGetString(option)) {
                    Effect::None => Effect::NewDatabase,
                    found => found,
                };
            }
        }
    }
    Effect::NewDatabase
}

unsafe fn drops_us(stmt: &pg_sys::DropStmt) -> Effect {
    if stmt.removeType != pg_sys::ObjectType::OBJECT_EXTENSION {
        return Effect::None;
    }
    // SAFETY: objects is a list of String nodes from the parser; then a catalog look-up.
    unsafe {
        let named = pg::items::<pg_sys::String>(stmt.objects).any(|name| is_ours((*name).sval));
        let extension = pg_sys::get_extension_oid(c"pg_automate".as_ptr(), true);
        let may = extension != pg_sys::InvalidOid
            && pg_sys::pg_extension_ownercheck(extension, pg_sys::GetUserId());
        if named && may { Effect::DropExtension } else { Effect::None }
    }
}

/// Asks our workers in a database to leave and waits until they have; busy ones are ended, their
/// transactions undone.
fn make_way(db: pg_sys::Oid) {
    let Some(registry) = registry() else { return };
    // SAFETY: reads a process-local variable.
    let me = unsafe { pg_sys::MyProcPid };
    registry.block(db, me);
    let give_up = pg::now() + PATIENCE_US;
    loop {
        let mut there = 0;
        for (_, slot) in registry.of_database(db) {
            if slot.pid() == me {
                continue;
            }
            there += 1;
            slot.ask_to_leave();
            if slot.kind() == Kind::Executor && slot.state() == State::Busy {
                terminate(slot.pid());
            }
        }
        if there == 0 || pg::now() > give_up {
            return;
        }
        nap();
    }
}

/// SIGTERM, as pg_terminate_backend sends it.
fn terminate(pid: i32) {
    if pid > 0 {
        // SAFETY: signals a process of ours whose pid the registry holds; a stale one is answered by ESRCH.
        unsafe { pg::c::kill(pid, pg_sys::SIGTERM as i32) };
    }
}

fn nap() {
    // SAFETY: the session's own latch; interrupts are served, so the user can cancel.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, 5, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pg::check_interrupts();
}
