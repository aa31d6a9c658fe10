//! emit_event, replay_events, and the schemas of events.

use super::args::Answer;
use crate::event::{self, Emission, replay, schema};
use crate::queue::limit;
use crate::{access, sql_function};
use serde_json::json;

sql_function!(automate_emit_event, pg_finfo_automate_emit_event, |args| {
    let owner = access::require_owner()?;
    let name = args.text(0, "name")?;
    let payload = args.opt_json(1, "payload")?.unwrap_or(json!({}));
    let order_key = args.opt_text(2);
    limit::admit(owner, args.size(1))?;
    let emission = Emission::new(owner, &name, &payload);
    let id = event::emit(&Emission { order_key: order_key.as_deref(), ..emission })?;
    Ok(Answer::Uuid(id))
});

sql_function!(automate_set_event_schema, pg_finfo_automate_set_event_schema, |args| {
    let owner = access::require_owner()?;
    let (event, document) = (args.text(0, "event")?, args.json(1, "schema")?);
    Ok(Answer::Int(schema::set(owner, &event, &document, args.opt_text(2).as_deref())?))
});

sql_function!(automate_drop_event_schema, pg_finfo_automate_drop_event_schema, |args| {
    schema::drop(access::require_owner()?, &args.text(0, "event")?).map(|()| Answer::Void)
});

sql_function!(automate_replay_events, pg_finfo_automate_replay_events, |args| {
    let user = access::require_owner()?;
    let replay = replay::Replay {
        name: args.text(0, "name")?,
        rule: args.opt_text(1),
        workflow: args.opt_text(2),
        since: args.timestamp(3),
        until: args.timestamp(4),
        ids: args.opt_uuids(5, "ids")?,
        where_sql: args.opt_text(6),
        max_events: args.int(7, replay::MAX_EVENTS),
        dry_run: args.bool(8, false),
        once: args.bool(9, false),
    };
    Ok(Answer::BigInt(replay::run(user, &replay)?))
});
