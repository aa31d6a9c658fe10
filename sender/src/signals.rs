//! The signal mask around the start of a thread.
//!
//! In a PostgreSQL process handlers must run on the main thread, and its latches are woken by a
//! signal that any other thread would swallow. Threads inherit the mask of the one that starts
//! them, so blocking everything around the start keeps the thread and its children out of it.

use std::io;
use std::mem::MaybeUninit;

/// All signals are blocked on this thread while it lives; the former mask comes back at its end.
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    pub fn all() -> io::Result<Self> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set it is given; pthread_sigmask reads it and writes
        // the former mask of this thread alone.
        let code = unsafe {
            if libc::sigfillset(all.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
        };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        // SAFETY: pthread_sigmask succeeded, so it has written the former mask.
        Ok(Self { before: unsafe { before.assume_init() } })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask is one that pthread_sigmask itself returned; with SIG_SETMASK and a
        // valid pointer the call cannot fail.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
