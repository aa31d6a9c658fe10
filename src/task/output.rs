//! What a run of a task says while it goes on: notices and warnings, up to a few kB.

use crate::spi::head::MOST;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

/// What was heard so far.
struct Heard {
    text: String,
    cut: bool,
    /// From which level on the server's log has messages.
    logged: c_int,
}

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Who listened before us, if anybody.
static BEFORE: OnceLock<pg_sys::emit_log_hook_type> = OnceLock::new();

/// Listens from now on until [`hush`]. Nobody is connected to an executor, so that PostgreSQL would
/// not even build a notice that the server's log does not want.
pub fn listen() {
    hush();
    // SAFETY: process-local variables of the one thread; the setting's own value is put back by
    // `hush`, and what changes it meanwhile puts back what it found.
    unsafe {
        BEFORE.get_or_init(|| {
            let before = pg_sys::emit_log_hook;
            pg_sys::emit_log_hook = Some(hear);
            before
        });
        let logged = pg_sys::log_min_messages;
        HEARD.set(Some(Heard { text: String::new(), cut: false, logged }));
        if logged > pg_sys::INFO as c_int || logged == pg_sys::LOG as c_int {
            pg_sys::log_min_messages = pg_sys::INFO as c_int;
        }
    }
}

/// Listens no more; what was heard.
pub fn hush() -> Option<String> {
    let heard = HEARD.take()?;
    // SAFETY: as in `listen`.
    unsafe { pg_sys::log_min_messages = heard.logged };
    (!heard.text.is_empty()).then(|| cut(heard.text, heard.cut))
}

/// What was said, and then what was answered.
pub fn join(said: Option<String>, answered: Option<String>) -> Option<String> {
    match (said, answered) {
        (Some(said), Some(answered)) => Some(cut(said + &answered, false)),
        (said, answered) => said.or(answered),
    }
}

/// At most as long as it may be, with a mark when there was more.
fn cut(mut text: String, more: bool) -> String {
    if text.len() > MOST || more {
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str("\n... (cut)\n");
    }
    text
}

#[pg_guard]
unsafe extern "C-unwind" fn hear(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the message that is being reported; its texts are C strings or null.
    unsafe {
        let level = (*error).elevel;
        let _ = HEARD.try_with(|heard| {
            let Ok(mut heard) = heard.try_borrow_mut() else { return };
            let Some(heard) = heard.as_mut() else { return };
            if !(pg_sys::INFO as c_int..=pg_sys::WARNING as c_int).contains(&level) {
                return;
            }
            // Whoever is not to be told by client_min_messages is not told here either.
            if level == pg_sys::INFO as c_int || level >= pg_sys::client_min_messages {
                heard.add(level, error);
            }
            let wanted = heard.logged != pg_sys::LOG as c_int && level >= heard.logged;
            (*error).output_to_server &= wanted;
        });
        if let (true, Some(Some(before))) = ((*error).output_to_server, BEFORE.get()) {
            before(error);
        }
    }
}

impl Heard {
    /// # Safety
    /// As in [`hear`].
    unsafe fn add(&mut self, level: c_int, error: *const pg_sys::ErrorData) {
        let name = match level as u32 {
            pg_sys::INFO => "INFO",
            pg_sys::NOTICE => "NOTICE",
            _ => "WARNING",
        };
        // SAFETY: as in `hear`.
        let (message, detail, hint) = unsafe { ((*error).message, (*error).detail, (*error).hint) };
        for (name, part) in [(name, message), ("DETAIL", detail), ("HINT", hint)] {
            // SAFETY: as in `hear`.
            if let Some(part) = unsafe { text(part) } {
                self.push(&format!("{name}:  {part}\n"));
            }
        }
    }

    fn push(&mut self, line: &str) {
        let room = MOST.saturating_sub(self.text.len()).min(line.len());
        self.text.push_str(&line[..line.floor_char_boundary(room)]);
        self.cut |= room < line.len();
    }
}

/// # Safety
/// A C string or null.
unsafe fn text(part: *const c_char) -> Option<String> {
    // SAFETY: not null, and a C string.
    (!part.is_null()).then(|| unsafe { CStr::from_ptr(part).to_string_lossy().into_owned() })
}
