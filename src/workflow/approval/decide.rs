//! What people decide, in their own transactions.

use super::{key, tell, uuid};
use crate::access;
use crate::error::{Error, Result};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::workflow::{news, outside};
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Decides as `role`; returns the status of the approval then.
pub fn decide(
    id: Uuid,
    role: pg_sys::Oid,
    decision: &str,
    comment: Option<&str>,
) -> Result<&'static str> {
    let decision = read_decision(decision)?;
    check_person(role)?;
    as_extension(|own| {
        let rows = lock(own, id, role)?;
        check(&rows, id)?;
        record(own, id, role, decision, comment)?;
        if decision == "approved" && !has_quorum(own, id)? {
            return Ok("pending");
        }
        let result = settle(own, id, role, decision)?;
        tell(own, id, "approval.decided", &result)?;
        resume(own, &rows, &result)?;
        Ok(decision)
    })
}

/// Else each member of a group could decide once more in its name.
pub(super) fn check_person(role: pg_sys::Oid) -> Result<()> {
    if access::can_log_in(role) {
        return Ok(());
    }
    Err(Error::forbidden("only roles that are permitted to log in may decide")
        .with_detail("A role with the attribute NOLOGIN is not a person.")
        .with_hint("Name, or SET ROLE to, the role of the person who decides."))
}

fn read_decision(text: &str) -> Result<&'static str> {
    match text {
        "approved" | "approve" => Ok("approved"),
        "rejected" | "reject" => Ok("rejected"),
        other => {
            let known = ["approved", "rejected"];
            Err(Error::unknown_word(format!("unknown decision \"{other}\""), other, &known))
        }
    }
}

/// Whoever decides at the same time waits here.
pub(super) fn lock(own: &Own, id: Uuid, role: pg_sys::Oid) -> Result<Rows> {
    own.run(
        "SELECT run, owner::oid, step, attempt, status, role::text,
                coalesce(pg_has_role($2, role, 'MEMBER'), false)
                OR (escalated_at IS NOT NULL AND coalesce(pg_has_role($2, escalate_role, 'MEMBER'), false))
                OR EXISTS (SELECT FROM automate.approval_delegation AS d WHERE d.approval = a.id AND d.to_role = $2),
                pg_has_role($2, owner, 'USAGE'),
                (SELECT d.to_role::text FROM automate.approval_delegation AS d WHERE d.approval = a.id AND d.by = $2)
         FROM automate.approval AS a WHERE id = $1 FOR UPDATE",
        &[key(id).into(), role.into()],
    )
}

pub(super) fn check(rows: &Rows, id: Uuid) -> Result<()> {
    let is_member = rows.get(0, 7) == Some(true);
    if !is_member && rows.get(0, 8) == Some(true) {
        let of: String = rows.get(0, 6).unwrap_or_default();
        return Err(Error::forbidden(format!("the current role may not decide approval {id}"))
            .with_detail(format!(
                "The members of role {of} decide it; to own the run is not enough."
            ))
            .with_hint("SET ROLE to a member, or ask one."));
    }
    if !is_member {
        return Err(Error::missing(format!("approval {id} does not exist"))
            .with_detail("Only those that the current role may decide are looked for.")
            .with_hint("SELECT id, subject FROM automate.my_approvals shows those there are."));
    }
    let handed: Option<String> = rows.get(0, 9);
    match rows.get::<String>(0, 5).as_deref() {
        Some("pending") if handed.is_none() => Ok(()),
        Some("pending") => {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            let message = format!("the current role has handed approval {id} on");
            Err(Error::refused(code, message)
                .with_detail(format!("{} decides instead.", handed.unwrap_or_default()))
                .with_hint("See automate.approval_delegation."))
        }
        status => {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            let status = status.unwrap_or_default();
            Err(Error::refused(code, format!("approval {id} is not pending any more"))
                .with_detail(format!("Its status is {status}."))
                .with_hint(
                    "SELECT status, result FROM automate.approval WHERE id = ... tells more.",
                ))
        }
    }
}

fn record(
    own: &Own,
    id: Uuid,
    role: pg_sys::Oid,
    decision: &str,
    comment: Option<&str>,
) -> Result<()> {
    // SAFETY: reads a process-local variable.
    let session = unsafe { pg_sys::GetSessionUserId() };
    let put = own.run(
        "INSERT INTO automate.approval_decision (approval, by, decision, comment, session, on_behalf_of)
         VALUES ($1, $2, $3, $4, $5, (SELECT d.by FROM automate.approval_delegation AS d
                                      WHERE d.approval = $1 AND d.to_role = $2 ORDER BY d.at LIMIT 1)) ON CONFLICT (approval, by) DO NOTHING",
        &[key(id).into(), role.into(), decision.into(), comment.into(), session.into()],
    )?;
    if put.processed == 1 {
        return Ok(());
    }
    Err(decided(id))
}

pub(super) fn decided(id: Uuid) -> Error {
    let code = PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION;
    Error::refused(code, format!("the current role has decided approval {id} before"))
        .with_detail("Each role counts once.")
        .with_hint("It waits for others: see automate.approval_decision.")
}

fn has_quorum(own: &Own, id: Uuid) -> Result<bool> {
    let reached: Option<bool> = own.one(
        "SELECT count(*) >= (SELECT quorum FROM automate.approval WHERE id = $1)
         FROM automate.approval_decision WHERE approval = $1 AND decision = 'approved'",
        &[key(id).into()],
    )?;
    Ok(reached == Some(true))
}

/// Writes the outcome down; returns it.
fn settle(own: &Own, id: Uuid, role: pg_sys::Oid, decision: &str) -> Result<Value> {
    let text: Option<String> = own.one(
        "UPDATE automate.approval AS a
         SET status = $3, decided_at = clock_timestamp(), result = (
            SELECT jsonb_build_object('decision', d.decision, 'by', d.by::text, 'comment', d.comment, 'at', d.at,
                'decisions', (SELECT jsonb_agg(jsonb_build_object('by', o.by::text, 'decision', o.decision,
                                               'comment', o.comment, 'at', o.at) ORDER BY o.at)
                              FROM automate.approval_decision AS o WHERE o.approval = a.id))
            FROM automate.approval_decision AS d WHERE d.approval = a.id AND d.by = $2)
         WHERE a.id = $1 RETURNING result::text",
        &[key(id).into(), role.into(), decision.into()],
    )?;
    serde_json::from_str(&text.unwrap_or_default()).map_err(|e| Error::Internal(e.to_string()))
}

/// Tells the run, and takes back what was to come.
fn resume(own: &Own, rows: &Rows, result: &Value) -> Result<()> {
    let (Some(run), Some(owner)) = (uuid(rows, 0, 1), rows.get::<pg_sys::Oid>(0, 2)) else {
        return Ok(());
    };
    let step: String = rows.get(0, 3).unwrap_or_default();
    let attempt: i32 = rows.get(0, 4).unwrap_or(1);
    let later = outside::key(run, &step, u32::try_from(attempt).unwrap_or(1));
    own.run(
        "DELETE FROM automate.job WHERE id IN (
            SELECT id FROM automate.job WHERE owner = $1 AND dedupe_key = $2 AND kind = 'approval'
              AND status <> 'running' FOR UPDATE SKIP LOCKED)",
        &[owner.into(), later.into()],
    )?;
    let answer = json!({ "done": result });
    let news = json!({ "kind": "answer", "step": step, "attempt": attempt, "answer": answer });
    news::tell(own, run, owner, &news)
}
