//! A compiled template and the message it renders to.

use std::collections::BTreeSet;
use std::io;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::error::{TemplateError, explain};
use super::{
    MAX_OUTPUT, MAX_SOURCE, MAX_STRING, MAX_SUBJECT, Part, RECURSION, check, check_header_value,
    names,
};
use crate::json::MAX_DEPTH;
use crate::problem::Problem;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line without control characters.
    pub subject: String,
    pub body: String,
    /// Escaped where it came from the data.
    pub html: Option<String>,
}

/// A template, compiled once and rendered often.
#[derive(Clone, Debug)]
pub struct MessageTemplate {
    /// One environment a part, since each has its own budget.
    parts: Vec<(Part, Environment<'static>)>,
}

impl MessageTemplate {
    /// Compiles the parts; on failure, all that is wrong with them.
    pub fn parse(
        subject: &str,
        body: &str,
        html: Option<&str>,
    ) -> Result<MessageTemplate, Vec<Problem>> {
        let sources = [Some(subject), Some(body), html];
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        for (part, source) in Part::ALL.into_iter().zip(sources) {
            let Some(source) = source else { continue };
            match compile(part, source) {
                Ok(environment) => {
                    problems.extend(check::names_used(part, source));
                    parts.push((part, environment));
                }
                Err(error) => problems.push(error),
            }
        }
        if problems.is_empty() {
            Ok(MessageTemplate { parts })
        } else {
            Err(problems.into_iter().map(TemplateError::into_problem).collect())
        }
    }

    /// Fills in `data`, an object whose keys are the template's variables.
    pub fn render(&self, data: &serde_json::Value) -> Result<Message, TemplateError> {
        check_data(data)?;
        let value = Value::from(Serde(data));
        let mut room = MAX_OUTPUT;
        let mut message = Message { subject: String::new(), body: String::new(), html: None };
        for (part, environment) in &self.parts {
            let text = render_part(*part, environment, value.clone(), room)?;
            room = room.saturating_sub(text.len());
            match part {
                Part::Subject => message.subject = check_subject(text)?,
                Part::Body => message.body = text,
                Part::Html => message.html = Some(text),
            }
        }
        Ok(message)
    }

    /// The variables the template looks up, with their paths (`order.id`) where they are plain;
    /// also those in branches that a rendering may not reach.
    pub fn variables(&self) -> BTreeSet<String> {
        self.parts
            .iter()
            .filter_map(|(part, environment)| environment.get_template(part.name()).ok())
            .flat_map(|template| template.undeclared_variables(true))
            .filter(|name| !names::FUNCTIONS.contains(&name.as_str()))
            .collect()
    }
}

fn compile(part: Part, source: &str) -> Result<Environment<'static>, TemplateError> {
    if source.len() > MAX_SOURCE {
        return Err(TemplateError::new(
            part.name(),
            format!(
                "template {} of {} bytes is longer than the {MAX_SOURCE} bytes allowed",
                part.name(),
                source.len()
            ),
        ));
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(part.fuel()));
    environment.set_recursion_limit(RECURSION);
    // Errors know the place in the source only so.
    environment.set_debug(true);
    // It prints all there is, past the budget.
    environment.remove_global("debug");
    environment.set_auto_escape_callback(|name| match name == Part::Html.name() {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    environment
        .add_template_owned(part.name(), source.to_string())
        .map_err(|error| explain(part, source, &error))?;
    Ok(environment)
}

fn render_part(
    part: Part,
    environment: &Environment<'static>,
    value: Value,
    room: usize,
) -> Result<String, TemplateError> {
    let template =
        environment.get_template(part.name()).map_err(|error| explain(part, "", &error))?;
    let mut sink = Sink { bytes: Vec::new(), room };
    template
        .render_captured_to(value, &mut sink)
        .map_err(|error| explain(part, template.source(), &error))?;
    String::from_utf8(sink.bytes)
        .map_err(|_| TemplateError::new(part.name(), "message is not valid UTF-8"))
}

/// Takes the output until there is no room for more.
struct Sink {
    bytes: Vec<u8>,
    room: usize,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.room {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check_subject(text: String) -> Result<String, TemplateError> {
    let part = Part::Subject.name();
    if let Err(error) = check_header_value(&text) {
        return Err(TemplateError::new(part, format!("subject holds a {}", error.message))
            .with_hint(
                "A subject is a single line; in the template, {%- ... -%} takes away the line \
                 breaks around a statement.",
            ));
    }
    if text.chars().count() > MAX_SUBJECT {
        return Err(TemplateError::new(
            part,
            format!("subject is longer than the {MAX_SUBJECT} characters allowed"),
        )
        .with_hint("Cut a long value in the template: {{ name[:100] }}."));
    }
    Ok(text)
}

/// Refuses strings that are too long, and nesting that is too deep: conversion and printing of
/// the data recurse, this does not.
fn check_data(data: &serde_json::Value) -> Result<(), TemplateError> {
    let mut level: Vec<&serde_json::Value> = vec![data];
    for _ in 0..=MAX_DEPTH {
        let mut below = Vec::new();
        for value in level {
            match value {
                serde_json::Value::Array(items) => below.extend(items),
                serde_json::Value::Object(items) => below.extend(items.values()),
                serde_json::Value::String(text) if text.len() > MAX_STRING => {
                    return Err(TemplateError::new(
                        "",
                        format!(
                            "data of a message holds a string of {} bytes, longer than the \
                             {MAX_STRING} allowed",
                            text.len()
                        ),
                    )
                    .with_hint("Send long content as an attachment or a link."));
                }
                _ => {}
            }
        }
        if below.is_empty() {
            return match data {
                serde_json::Value::Object(_) | serde_json::Value::Null => Ok(()),
                _ => Err(TemplateError::new("", "data of a message is not a JSON object")
                    .with_hint("Its keys are the template's variables.")),
            };
        }
        level = below;
    }
    Err(TemplateError::new(
        "",
        format!("data of a message is nested deeper than the {MAX_DEPTH} levels allowed"),
    ))
}
