//! Templates: versions that never change, the newest is used.

use super::channel::{of_pg, to_pg};
use crate::access;
use crate::error::{Error, Result, shown};
use crate::noun::TEMPLATE;
use crate::spi::{Own, as_extension};
use automate_core::template::{Message, MessageTemplate, TemplateError};
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::RefCell;
use std::rc::Rc;
use uuid::Uuid;

/// Compiled templates that a session keeps.
const KEPT: usize = 32;

thread_local! {
    /// By the id of their version, which never changes; the oldest first.
    static COMPILED: RefCell<Vec<(Uuid, Rc<MessageTemplate>)>> = const { RefCell::new(Vec::new()) };
}

/// A template to be.
pub struct NewTemplate<'a> {
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub subject: &'a str,
    pub body: &'a str,
    pub html: Option<&'a str>,
    pub description: Option<&'a str>,
}

/// A version in use.
pub struct Template {
    pub name: String,
    pub version: i32,
    compiled: Rc<MessageTemplate>,
}

impl Template {
    /// One that is nobody's.
    pub fn built_in(name: &str, subject: &str, body: &str) -> Result<Template> {
        let compiled = MessageTemplate::parse(subject, body, None)
            .map_err(|p| Error::problems(&format!("template \"{name}\""), &p, TEMPLATE.help))?;
        Ok(Template { name: name.to_owned(), version: 0, compiled: Rc::new(compiled) })
    }

    /// Fills in the data.
    pub fn render(&self, data: &Value) -> Result<Message> {
        self.compiled.render(data).map_err(|e| cannot_render(self, data, e))
    }
}

/// Makes a template, or the next version of it; returns the version.
pub fn create(new: &NewTemplate) -> Result<i32> {
    if new.name.trim().is_empty() || new.name.len() > 200 || new.name.contains(char::is_control) {
        return Err(Error::invalid(format!("template name {} is not acceptable", shown(new.name)))
            .with_detail(access::given(new.name))
            .with_hint("It has 1 to 200 bytes and no control characters."));
    }
    if let Err(problems) = MessageTemplate::parse(new.subject, new.body, new.html) {
        let what = format!("template \"{}\"", new.name);
        return Err(Error::problems(&what, &problems, TEMPLATE.help));
    }
    as_extension(|own| {
        // Two who make a version at the same time take turns; the name's lock ends with them.
        own.run(
            "SELECT pg_advisory_xact_lock(1635017060, hashtext($1::text || ':' || $2))",
            &[new.owner.into(), new.name.into()],
        )?;
        let version: Option<i32> = own.one(
            "INSERT INTO automate.template (id, name, owner, version, subject, body, html, description)
             SELECT $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6,
                    coalesce($7, (array_agg(description ORDER BY version DESC))[1])
             FROM automate.template WHERE owner = $3 AND name = $2
             RETURNING version",
            &[
                to_pg(Uuid::now_v7()).into(),
                new.name.into(),
                new.owner.into(),
                new.subject.into(),
                new.body.into(),
                new.html.into(),
                new.description.into(),
            ],
        )?;
        version.ok_or_else(|| Error::Internal("a template was not stored".into()))
    })
}

/// Removes a template with all its versions.
pub fn drop(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let gone = own.run(
            "DELETE FROM automate.template
             WHERE name = $1 AND owner = (SELECT owner FROM automate.template
                 WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
                 ORDER BY owner = $2 DESC, owner LIMIT 1)",
            &[name.into(), user.into()],
        )?;
        match gone.processed {
            0 => Err(TEMPLATE.missing(own, user, name)),
            _ => Ok(()),
        }
    })
}

/// The newest version of a template that a role may use.
pub fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Template> {
    let rows = own.run(
        "SELECT id, version, subject, body, html FROM automate.template
         WHERE name = $1 AND pg_has_role($2, owner, 'USAGE') AND status = 'active'
         ORDER BY owner = $2 DESC, owner, version DESC LIMIT 1",
        &[name.into(), user.into()],
    )?;
    let Some(id) = rows.get::<pgrx::Uuid>(0, 1).map(of_pg) else {
        return Err(TEMPLATE.missing(own, user, name));
    };
    let text = |column| rows.get::<String>(0, column);
    let compiled = match kept(id) {
        Some(compiled) => compiled,
        None => {
            let (subject, body) = (text(3).unwrap_or_default(), text(4).unwrap_or_default());
            let compiled = MessageTemplate::parse(&subject, &body, text(5).as_deref())
                .map_err(|p| Error::problems(&format!("template \"{name}\""), &p, TEMPLATE.help))?;
            keep(id, Rc::new(compiled))
        }
    };
    Ok(Template { name: name.to_owned(), version: rows.get(0, 2).unwrap_or(1), compiled })
}

fn kept(id: Uuid) -> Option<Rc<MessageTemplate>> {
    COMPILED.with_borrow(|kept| kept.iter().find(|(key, _)| *key == id).map(|(_, t)| t.clone()))
}

fn keep(id: Uuid, compiled: Rc<MessageTemplate>) -> Rc<MessageTemplate> {
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((id, compiled.clone()));
    });
    compiled
}

fn cannot_render(template: &Template, data: &Value, e: TemplateError) -> Error {
    let place = match (e.part, e.line) {
        ("", _) => String::new(),
        (part, None) => format!(" ({part})"),
        (part, Some(line)) => format!(" ({part}, line {line})"),
    };
    // The keys only: values may be secret to whoever reads the log.
    let keys: Vec<&str> =
        data.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let data = match keys.is_empty() {
        true => "no data".into(),
        false => format!("data of the keys {}", shown(&keys.join(", "))),
    };
    Error::invalid(format!("template \"{}\"{place}: {}", template.name, e.message))
        .with_detail(format!("Version {} was rendered with {data}.", template.version))
        .with_hint(e.hint.unwrap_or_else(|| {
            "Try it with automate.preview_template(), which sends nothing.".into()
        }))
}
