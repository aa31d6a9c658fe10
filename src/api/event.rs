//! emit_event.

use super::args::Answer;
use crate::event::{self, Emission};
use crate::queue::limit;
use crate::{access, sql_function};
use serde_json::json;

sql_function!(automate_emit_event, pg_finfo_automate_emit_event, |args| {
    let owner = access::require_owner()?;
    let name = args.text(0, "name")?;
    let payload = args.opt_json(1, "payload")?.unwrap_or(json!({}));
    limit::admit(owner, args.size(1))?;
    Ok(Answer::Uuid(event::emit(&Emission::new(owner, &name, &payload))?))
});
