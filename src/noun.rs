//! The kinds of things that have names and owners: what errors say of a name that is not there, or
//! is there already.

use crate::error::{Error, Result, shown};
use crate::pg;
use crate::spi::Own;
use automate_core::suggest;
use pgrx::prelude::*;
use uuid::Uuid;

/// A kind of thing with a table of its own.
pub struct Noun {
    word: &'static str,
    /// The one of name $2 that role $1 may use, its own first.
    find: &'static str,
    /// The function that makes one.
    maker: &'static str,
    /// The names that role $1 may use, the name $2 first if it is among them.
    names: &'static str,
    /// For a problem in a definition that does not say the way out itself.
    pub help: &'static str,
}

macro_rules! noun {
    ($word:literal, $maker:literal) => {
        noun!(
            $word,
            $maker,
            concat!(
                "The comment of automate.",
                $maker,
                " tells what can be written: \\df+ in psql shows it."
            )
        )
    };
    ($word:literal, $maker:literal, $help:expr) => {
        Noun {
            word: $word,
            find: concat!(
                "SELECT id, owner::pg_catalog.oid FROM automate.",
                $word,
                " WHERE name = $2 AND pg_has_role($1, owner, 'USAGE') ORDER BY owner = $1 DESC, owner LIMIT 1"
            ),
            maker: $maker,
            names: concat!(
                "SELECT DISTINCT name, name = $2 FROM automate.",
                $word,
                " WHERE pg_has_role($1, owner, 'USAGE') ORDER BY 2 DESC, 1 LIMIT 1000"
            ),
            help: $help,
        }
    };
}

pub static CALENDAR: Noun = noun!("calendar", "create_calendar");
pub static CHANNEL: Noun = noun!("channel", "create_channel");
pub static DECISION_TABLE: Noun = noun!("decision_table", "create_decision_table");
pub static REPORT: Noun = noun!("report", "create_report");
pub static RULE: Noun = noun!("rule", "create_rule");
pub static RULESET: Noun = noun!("ruleset", "create_ruleset");
pub static TASK: Noun = noun!("task", "schedule_task");
pub static TEMPLATE: Noun = noun!("template", "create_template");
pub static TRIGGER: Noun = noun!("trigger", "create_trigger");
pub static WEBHOOK_SOURCE: Noun = noun!("webhook_source", "create_webhook_source");
pub static WORKFLOW: Noun = noun!(
    "workflow",
    "create_workflow",
    "SELECT * FROM automate.validate_workflow(definition) lists every problem with its place."
);

impl Noun {
    /// The word as people write it.
    fn label(&self) -> String {
        self.word.replace('_', " ")
    }

    /// Names that a role may use; `name` is the first of them if it is one.
    pub fn known(&self, own: &Own, role: pg_sys::Oid, name: &str) -> Result<Vec<String>> {
        let rows = own.run(self.names, &[role.into(), name.into()])?;
        Ok((0..rows.len()).filter_map(|i| rows.get(i, 1)).collect())
    }

    /// Refuses a name that a role cannot use.
    pub fn require(&self, own: &Own, role: pg_sys::Oid, name: &str) -> Result<()> {
        let known = self.known(own, role, name)?;
        match known.first() {
            Some(first) if first == name => Ok(()),
            _ => Err(self.refuse(role, name, &known)),
        }
    }

    /// The id of what a name means to a role: its own first, then what roles own whose privileges
    /// it has.
    pub fn id(&self, own: &Own, role: pg_sys::Oid, name: &str) -> Result<Uuid> {
        let found: Option<pgrx::Uuid> = own.one(self.find, &[role.into(), name.into()])?;
        match found {
            Some(id) => Ok(Uuid::from_bytes(*id.as_bytes())),
            None => Err(self.missing(own, role, name)),
        }
    }

    /// The owner of what a name means to a role.
    pub fn owner(&self, own: &Own, role: pg_sys::Oid, name: &str) -> Result<Option<pg_sys::Oid>> {
        Ok(own.run(self.find, &[role.into(), name.into()])?.get(0, 2))
    }

    /// Says that a name is not there, and which one was perhaps meant.
    pub fn missing(&self, own: &Own, role: pg_sys::Oid, name: &str) -> Error {
        match self.known(own, role, name) {
            Ok(known) => self.refuse(role, name, &known),
            Err(error) => error,
        }
    }

    fn refuse(&self, role: pg_sys::Oid, name: &str, known: &[String]) -> Error {
        Error::missing(format!("{} {} does not exist", self.label(), shown(name)))
            .with_detail(looked_for(&format!("the {}s", self.label()), role))
            .with_hint(self.way_out(name, known))
    }

    /// The name that was perhaps meant, or how to make one.
    pub fn way_out(&self, name: &str, known: &[String]) -> String {
        // A name that is there and cannot be used is no answer.
        let others = known.iter().map(String::as_str).filter(|other| *other != name);
        match suggest::nearest(name, others) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None if known.is_empty() => format!("Make it with automate.{}.", self.maker),
            None => format!(
                "Make it with automate.{}, or use one of those in automate.{}.",
                self.maker, self.word
            ),
        }
    }

    /// Says that an owner has a thing of that name already.
    pub fn duplicate(&self, owner: pg_sys::Oid, name: &str) -> Error {
        Error::refused(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("{} \"{name}\" already exists", self.label()),
        )
        .with_detail(format!(
            "Role {} owns it; each of its {}s has a name of its own.",
            role_label(owner),
            self.label()
        ))
    }
}

/// Where something was looked for, for a DETAIL: `what` is such as "the runs in automate.run".
pub fn looked_for(what: &str, role: pg_sys::Oid) -> String {
    let role = role_label(role);
    format!("Looked for among {what} of role {role} and of roles whose privileges it has.")
}

fn role_label(role: pg_sys::Oid) -> String {
    match pg::role_name(role) {
        Some(name) => format!("\"{name}\""),
        None => format!("with OID {}", role.to_u32()),
    }
}
