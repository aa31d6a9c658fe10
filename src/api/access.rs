//! grant_usage, revoke_usage, limit_role.

use super::args::{Answer, Args};
use crate::error::{Error, Result, shown};
use crate::queue::limit::{self, Limits};
use crate::spi::as_extension;
use crate::{pg, sql_function, wake};
use pgrx::prelude::*;

const LEVELS: [&str; 5] = ["user", "network", "gateway", "monitor", "admin"];

sql_function!(automate_grant_usage, pg_finfo_automate_grant_usage, |args| {
    let level = args.text(1, "level")?;
    if !LEVELS.contains(&level.as_str()) {
        let message = format!("unknown level {}", shown(&level));
        return Err(Error::unknown_word(message, &level, &LEVELS));
    }
    apply(args, Some(&level))
});

sql_function!(automate_revoke_usage, pg_finfo_automate_revoke_usage, |args| { apply(args, None) });

sql_function!(automate_limit_role, pg_finfo_automate_limit_role, |args| {
    let role = known_role(args)?;
    wake::arm_coordinator();
    let limits = Limits {
        running: args.opt_int(1),
        queued: args.opt_int(2),
        per_day: args.opt_bigint(3),
        bytes_per_day: args.opt_bigint(4),
    };
    as_extension(|own| limit::set(own, role, &limits)).map(|()| Answer::Void)
});

/// Gives a role exactly what a level holds.
fn apply(args: &Args, level: Option<&str>) -> Result<Answer> {
    let role = known_role(args)?;
    as_extension(|own| {
        own.run("SELECT automate.apply_usage($1, $2)", &[role.into(), level.into()])?;
        Ok(Answer::Void)
    })
}

/// The first argument, a role that exists.
fn known_role(args: &Args) -> Result<pg_sys::Oid> {
    let role = args.oid(0).unwrap_or(pg_sys::InvalidOid);
    // regrole reads "-" as no role at all.
    if pg::role_name(role).is_none() {
        return Err(Error::missing(format!("there is no role with OID {}", role.to_u32()))
            .with_detail("The role was dropped meanwhile, or given as a number or as \"-\".")
            .with_hint("Name a role, such as 'alice'::regrole; nothing is granted to PUBLIC."));
    }
    Ok(role)
}
