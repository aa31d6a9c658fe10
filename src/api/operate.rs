//! version, pause, resume, activity.

use super::args::Answer;
use crate::shmem::{Kind, registry};
use crate::spi::as_extension;
use crate::{instance, pg, sql_function, wake};
use serde_json::{Value, json};

sql_function!(automate_version, pg_finfo_automate_version, |_args| {
    Ok(Answer::Text(env!("CARGO_PKG_VERSION").to_string()))
});

sql_function!(automate_is_preloaded, pg_finfo_automate_is_preloaded, |_args| {
    Ok(Answer::Bool(registry().is_some()))
});

sql_function!(automate_pause, pg_finfo_automate_pause, |args| {
    let reason = args.opt_text(0);
    wake::arm_pause();
    as_extension(|own| instance::pause(own, reason.as_deref())).map(|()| Answer::Void)
});

sql_function!(automate_resume, pg_finfo_automate_resume, |_args| {
    wake::arm_coordinator();
    as_extension(instance::resume).map(|()| Answer::Void)
});

sql_function!(automate_activity, pg_finfo_automate_activity, |_args| {
    let Some(registry) = registry() else { return Ok(Answer::Json(json!([]))) };
    let db = pg::my_database();
    let workers: Vec<Value> = registry
        .slots()
        .filter(|(_, s)| s.db() == db || s.kind() == Kind::Launcher)
        .map(|(_, s)| {
            json!({
                "pid": s.pid(),
                "worker": s.kind().name(),
                "role": s.role().to_u32(),
                "state": s.state().name(),
                "job": s.job(),
                "since_us": s.since(),
            })
        })
        .collect();
    Ok(Answer::Json(Value::Array(workers)))
});
