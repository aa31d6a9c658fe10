//! The SQL calls of calendars.

use super::args::Answer;
use crate::calendar::define::{self, Changes};
use crate::{access, pg, sql_function};

sql_function!(automate_create_calendar, pg_finfo_automate_create_calendar, |args| {
    let owner = access::require_owner()?;
    let (name, entries) = (args.text(0, "name")?, args.json(1, "entries")?);
    let (zone, description) = (args.opt_text(2), args.opt_text(3));
    let id = define::create(owner, &name, &entries, zone.as_deref(), description.as_deref())?;
    Ok(Answer::Uuid(id))
});

sql_function!(automate_alter_calendar, pg_finfo_automate_alter_calendar, |args| {
    let changes = Changes {
        entries: args.opt_json(1, "entries")?,
        time_zone: args.opt_text(2),
        description: args.opt_text(3),
        new_name: args.opt_text(4),
    };
    Ok(Answer::Int(define::alter(pg::current_user(), &args.text(0, "name")?, &changes)?))
});

sql_function!(automate_drop_calendar, pg_finfo_automate_drop_calendar, |args| {
    define::remove(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});
