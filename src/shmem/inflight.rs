//! Which job each process was at, in a small file of the data directory: shared memory is cleared
//! by a crash restart, this is not. A job under which its process died three times is quarantined.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering::Relaxed};
use uuid::Uuid;

/// Bytes of an entry: incarnation, database, how it ended, job.
const ENTRY: usize = 32;
/// In an entry: the process ended in good order (FATAL, termination) in the middle of the job.
const INTERRUPTED: u8 = 1;
/// SIGQUIT: another process crashed, or the server stops at once.
const SIGQUIT: i32 = 3;

/// This process's entry, for the callbacks that run while it ends.
static FILE: AtomicI32 = AtomicI32::new(-1);
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// The file, in the data directory, which is every server process's working directory.
pub struct Inflight(File);

impl Inflight {
    /// Opens it, making it if need be.
    pub fn open() -> io::Result<Inflight> {
        let folder = PathBuf::from("pg_automate");
        match std::fs::create_dir(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("inflight"))?;
        Ok(Inflight(file))
    }

    /// Says which entry is this process's, and clears it when the process is told to quit: then
    /// another one crashed, or the server is stopped, and the job is not to blame. The file must
    /// stay open as long as the process lives.
    pub fn belongs_to(&self, slot: usize) {
        OFFSET.store((slot * ENTRY) as i64, Relaxed);
        FILE.store(self.0.as_raw_fd(), Relaxed);
        // SAFETY: the handler makes two system calls only, both allowed in a signal handler.
        unsafe { pgrx::pg_sys::pqsignal(SIGQUIT, Some(quit)) };
    }

    /// Notes the job that a process begins, or that it has none.
    pub fn note(
        &self,
        slot: usize,
        incarnation: u64,
        db: u32,
        job: Option<Uuid>,
    ) -> io::Result<()> {
        let mut entry = [0u8; ENTRY];
        if let Some(job) = job {
            entry[..8].copy_from_slice(&incarnation.to_le_bytes());
            entry[8..12].copy_from_slice(&db.to_le_bytes());
            entry[16..].copy_from_slice(job.as_bytes());
        }
        self.0.write_all_at(&entry, (slot * ENTRY) as u64)
    }

    /// The jobs of a database under which a process died: crashed in an earlier incarnation of
    /// the server, or interrupted in this one. With their entries' places.
    pub fn died(&self, incarnation: u64, db: u32) -> io::Result<Vec<(usize, Uuid)>> {
        let length = self.0.metadata()?.len() as usize;
        let mut bytes = vec![0u8; length.min(super::registry::SLOTS * ENTRY)];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes
            .as_chunks::<ENTRY>()
            .0
            .iter()
            .enumerate()
            .filter_map(|(slot, entry)| {
                let of = u64::from_le_bytes(entry[..8].try_into().ok()?);
                let entry_db = u32::from_le_bytes(entry[8..12].try_into().ok()?);
                let job = Uuid::from_bytes(entry[16..].try_into().ok()?);
                let interrupted = entry[12] == INTERRUPTED;
                // What a shutdown interrupted is not charged: its incarnation has passed.
                let died = interrupted == (of == incarnation);
                (of != 0 && entry_db == db && died).then_some((slot, job))
            })
            .collect())
    }
}

/// For the callback of a process that ends in good order: says that it was interrupted.
pub fn interrupted() {
    write_to_entry(&[INTERRUPTED], 12);
}

/// For the callback of a process that leaves because it was asked to: its job is not to blame.
pub fn forget() {
    write_to_entry(&[0; ENTRY], 0);
}

unsafe extern "C" {
    fn pwrite(file: i32, bytes: *const u8, count: usize, offset: i64) -> isize;
    fn _exit(code: i32) -> !;
}

fn write_to_entry(bytes: &[u8], at: i64) {
    let file = FILE.load(Relaxed);
    if file >= 0 {
        // SAFETY: the buffer is valid for its length; a failed write only costs a wrong charge.
        let _written =
            unsafe { pwrite(file, bytes.as_ptr(), bytes.len(), OFFSET.load(Relaxed) + at) };
    }
}

/// What PostgreSQL's SignalHandlerForCrashExit does, after clearing our entry.
unsafe extern "C-unwind" fn quit(_signal: i32) {
    forget();
    // SAFETY: ends the process without any callback, as it must after a crash of another.
    unsafe { _exit(2) }
}
