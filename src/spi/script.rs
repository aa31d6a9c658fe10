//! Several statements of a user in one transaction, one after the other: a later one may need what
//! an earlier one makes.

use super::head::Head;
use super::statement::changes_rows_only;
use super::{statement, step};
use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CStr;

/// A statement of a script.
struct Part {
    text: String,
    /// Characters of the script before it.
    before: usize,
    /// It changes more than rows.
    utility: bool,
    /// What follows cannot be told before it has run: names may come or mean something else.
    opens: bool,
}

/// How many parameters a script takes.
pub struct Wanted {
    pub most: usize,
    /// All of its statements could be looked at.
    pub exact: bool,
}

/// Checks the statements with the rights of the role in force, as far as they can be told before
/// they run; an error says where in the text it is.
pub fn check(what: &str, text: &str) -> Result<Wanted> {
    let parts = parts(what, text)?;
    let (mut wanted, mut open) = (Wanted { most: 0, exact: true }, false);
    for part in &parts {
        let unseen = open;
        open |= part.opens;
        if part.utility {
            continue;
        }
        if unseen {
            wanted.exact = false;
            continue;
        }
        let count = match parts.len() {
            1 => statement::check_and_count(what, text)?,
            _ => {
                let before = i32::try_from(part.before).unwrap_or(i32::MAX);
                statement::check_part(what, &part.text, text, -before)?
            }
        };
        wanted.most = wanted.most.max(count.unwrap_or(0));
    }
    Ok(wanted)
}

/// Runs the statements with the rights of the session's role; $1, $2, ... mean the same in each.
/// Answers how many rows the last one answered or changed.
pub fn execute(text: &str, params: &[Value], head: &mut Head) -> Result<u64> {
    if statement::is_known(text) {
        return statement::execute_into(text, params, head);
    }
    let parts = parts("statement", text)?;
    if let [_] = parts.as_slice() {
        return statement::execute_into(text, params, head);
    }
    let mut processed = 0;
    for part in &parts {
        *head = Head::default();
        processed = statement::execute_into(&part.text, params, head)?;
    }
    Ok(processed)
}

fn parts(what: &str, text: &str) -> Result<Vec<Part>> {
    let source = statement::c_text(what, text)?;
    let found = step::in_subtransaction(|| {
        statement::with_position(|| {
            // SAFETY: the list comes from the parser and lives in the current context.
            unsafe {
                let parsed = pg_sys::pg_parse_query(source.as_ptr());
                let all = pg::items::<pg_sys::RawStmt>(parsed);
                all.map(|raw| part(what, text, raw)).collect::<Result<Vec<Part>>>()
            }
        })
        .unwrap_or_else(|(failure, position)| {
            statement::refuse_text(what, text, failure, position).raise()
        })
    });
    let parts = found.map_err(Error::from)??;
    if parts.is_empty() {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            format!("{what}: there is no statement"),
        )
        .with_detail(statement::beginning(what, text))
        .with_hint(
            "The text is empty or holds comments only: give one SQL statement or several.",
        ));
    }
    Ok(parts)
}

unsafe fn part(what: &str, text: &str, raw: *mut pg_sys::RawStmt) -> Result<Part> {
    // SAFETY: a statement of the list, whose place is in bytes of the text; 0 bytes: to its end.
    let (begin, length, node) = unsafe {
        let begin = usize::try_from((*raw).stmt_location).unwrap_or(0);
        (begin, usize::try_from((*raw).stmt_len).unwrap_or(0), (*raw).stmt)
    };
    let end = if length == 0 { text.len() } else { begin + length };
    let (Some(found), Some(before)) = (text.get(begin..end), text.get(..begin)) else {
        return Err(Error::Internal("a statement is not where the parser says".into()));
    };
    // SAFETY: the tag says which struct the node is.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_TransactionStmt {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
                format!("{what}: a transaction command cannot run here"),
            )
            .with_detail(statement::beginning("statement", found))
            .with_hint("All statements are one transaction, which commits at their end; for more than one, put COMMIT into a procedure and CALL it."));
        }
        Ok(Part {
            text: found.to_owned(),
            before: before.chars().count(),
            utility: !changes_rows_only(node),
            opens: opens(node),
        })
    }
}

/// True unless it is known that names and rights are the same after it.
unsafe fn opens(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag says which struct the node is; names are C strings.
    unsafe {
        match (*node).type_ {
            T_TruncateStmt | T_LockStmt | T_NotifyStmt | T_RefreshMatViewStmt
            | T_ConstraintsSetStmt | T_CheckPointStmt | T_ExplainStmt | T_VacuumStmt => false,
            T_SelectStmt => !(*node.cast::<pg_sys::SelectStmt>()).intoClause.is_null(),
            T_VariableSetStmt => {
                let name = (*node.cast::<pg_sys::VariableSetStmt>()).name;
                let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
                matches!(name.to_bytes(), b"" | b"search_path" | b"role" | b"session_authorization")
            }
            _ => !changes_rows_only(node),
        }
    }
}
