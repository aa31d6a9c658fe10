//! Secrets at rest: sealed with a key that is not in the database.
//!
//! The key is a file in the data directory, made by whoever needs it first. A dump holds neither
//! the key nor what it seals; a physical copy of the cluster holds both.

use crate::error::{Error, Result};
use pgrx::prelude::*;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use uuid::Uuid;

const FOLDER: &str = "pg_automate";
const KEY_FILE: &str = "pg_automate/key";
const KEY_LENGTH: usize = 32;
/// First byte of what is sealed: the form of the rest.
const FORM: u8 = 1;
/// Bytes that tell one key from another.
const MARK: usize = 4;

/// The key, and the bytes that name it.
struct Key {
    key: LessSafeKey,
    mark: [u8; MARK],
}

fn key() -> Result<Key> {
    let bytes = read_key().map_err(|e| {
        Error::refused(
            PgSqlErrorCode::ERRCODE_IO_ERROR,
            format!("cannot use the key file \"{KEY_FILE}\" in the data directory: {e}"),
        )
        .with_detail("Secrets are kept encrypted with it, and only with it.")
        .with_hint("It holds 32 bytes and belongs to the server's user with mode 0600; put it back from a backup.")
    })?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let mut mark = [0; MARK];
    mark.copy_from_slice(&digest.as_ref()[..MARK]);
    let key = UnboundKey::new(&AES_256_GCM, &bytes)
        .map_err(|_| Error::Internal("the key does not fit the cipher".into()))?;
    Ok(Key { key: LessSafeKey::new(key), mark })
}

/// The key's bytes; a new key when there is none.
fn read_key() -> io::Result<[u8; KEY_LENGTH]> {
    let mut file = match File::open(KEY_FILE) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_key()?;
            File::open(KEY_FILE)?
        }
        Err(e) => return Err(e),
    };
    let mut bytes = [0; KEY_LENGTH];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Makes the key under another name and links it into place, whole and once: of several who try
/// at the same time one wins, and the others use its key.
fn make_key() -> io::Result<()> {
    match std::fs::create_dir(FOLDER) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let mut bytes = [0; KEY_LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    let mine = format!("{KEY_FILE}.{}", Uuid::now_v7());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mine)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&mine, KEY_FILE);
    std::fs::remove_file(&mine)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => File::open(Path::new(FOLDER))?.sync_all(),
    }
}

/// Whose secrets they are, for the words of errors.
pub struct Keeper {
    pub what: &'static str,
    pub table: &'static str,
    /// The function by which they are given again.
    pub again: &'static str,
}

/// Encrypts for the owner of an id; what is sealed for one cannot be opened for another.
pub fn seal(id: Uuid, plain: &str) -> Result<Vec<u8>> {
    let Key { key, mark } = key()?;
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| Error::Internal("the system gives no random bytes".into()))?;
    let mut bytes = plain.as_bytes().to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(id.as_bytes()),
        &mut bytes,
    )
    .map_err(|_| Error::Internal("cannot encrypt".into()))?;
    Ok([&[FORM][..], &mark, &nonce, &bytes].concat())
}

/// Decrypts; the error says why it cannot, and nothing of what is sealed.
pub fn open(keeper: &Keeper, id: Uuid, sealed: &[u8]) -> Result<String> {
    let Keeper { what, table, again } = keeper;
    let refuse = |reason: &str| {
        let message = format!("secrets of the {what} {reason}");
        Err(Error::refused(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
            .with_detail(format!("What {table} holds for the {what} cannot be decrypted."))
            .with_hint(format!("Give the {what} its secrets again with {again}().")))
    };
    let Key { key, mark } = key()?;
    let head = 1 + MARK + NONCE_LEN;
    if sealed.len() < head || sealed[0] != FORM {
        return refuse("are damaged");
    }
    if sealed[1..=MARK] != mark {
        return refuse("were encrypted with another key file");
    }
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&sealed[1 + MARK..head]);
    let mut bytes = sealed[head..].to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let Ok(plain) = key.open_in_place(nonce, Aad::from(id.as_bytes()), &mut bytes) else {
        return refuse("are damaged");
    };
    match std::str::from_utf8(plain) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => refuse("are damaged"),
    }
}

/// Keeps the text of the running statement, which holds secrets, out of the server's log when the
/// statement fails: the setting ends with the transaction.
pub fn hide_statement() {
    // SAFETY: both are NUL-terminated; the server accepts the value at any time.
    unsafe {
        pg_sys::set_config_option(
            c"log_min_error_statement".as_ptr(),
            c"panic".as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
