//! Whether a catch clause takes an error, and when it tries again.

use super::WorkflowError;
use super::definition::{Backoff, Retry, Try};
use super::duration::LONGEST_MS;
use super::error::same_type;
use super::scope::Scope;
use serde_json::Value;

/// Whether `caught` is an error the clause is for.
pub(super) fn takes(
    clause: &Try,
    error: &Value,
    scope: &Scope<'_>,
    data: &Value,
) -> Result<bool, WorkflowError> {
    for (key, wanted) in &clause.with {
        let found = error.get(key).unwrap_or(&Value::Null);
        let same = match (key.as_str(), wanted.as_str(), found.as_str()) {
            ("type", Some(wanted), Some(found)) => same_type(wanted, found),
            _ => wanted == found,
        };
        if !same {
            return Ok(false);
        }
    }
    allowed(&clause.when, &clause.except_when, scope, data)
}

fn allowed(
    when: &Option<crate::jq::Filter>,
    except_when: &Option<crate::jq::Filter>,
    scope: &Scope<'_>,
    data: &Value,
) -> Result<bool, WorkflowError> {
    if let Some(when) = when
        && !scope.holds(when, data)?
    {
        return Ok(false);
    }
    match except_when {
        Some(except) => Ok(!scope.holds(except, data)?),
        None => Ok(true),
    }
}

/// How long to wait before the next attempt, in milliseconds, or `None` to give up.
/// `retries` have been made already, `elapsed_ms` after the try began; `seed` spreads the jitter.
pub(super) fn next_delay(
    retry: &Retry,
    retries: u64,
    elapsed_ms: u64,
    seed: &str,
    scope: &Scope<'_>,
    data: &Value,
) -> Result<Option<u64>, WorkflowError> {
    let spent = retry.count.is_some_and(|count| retries >= count);
    let late = retry.duration_ms.is_some_and(|limit| elapsed_ms >= limit);
    if spent || late || !allowed(&retry.when, &retry.except_when, scope, data)? {
        return Ok(None);
    }
    let base = match retry.backoff {
        Backoff::Constant => retry.delay_ms,
        Backoff::Linear => retry.delay_ms.saturating_mul(retries.saturating_add(1)),
        Backoff::Exponential => {
            let factor = 1u64.checked_shl(u32::try_from(retries).unwrap_or(u32::MAX));
            retry.delay_ms.saturating_mul(factor.unwrap_or(u64::MAX))
        }
    };
    let jitter = match retry.jitter_ms {
        Some((from, to)) => {
            let span = to.saturating_sub(from).saturating_add(1);
            from.saturating_add(spread(seed, retries) % span)
        }
        None => 0,
    };
    Ok(Some(base.saturating_add(jitter).min(LONGEST_MS)))
}

/// A number that looks random and is the same for the same run, step and attempt (FNV-1a).
fn spread(seed: &str, retries: u64) -> u64 {
    let bytes = seed.bytes().chain(retries.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of the plain hash are weak.
    hash ^ (hash >> 29)
}
