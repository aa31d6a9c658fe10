//! What the payload of an event must be like: JSON Schema, drafts 4 to 2020-12.
//!
//! A schema comes from a user and is looked at wherever an event is emitted, so it must neither reach
//! out nor run away: references stay within the document, patterns take linear time, and each
//! look has an allowance of steps and of stack (by a `format` of our own in each part of it).

use crate::object::{below, wrong_kind};
use crate::problem::Problem;
use boon::{Compiler, Draft, ErrorKind, Format, SchemaIndex, Schemas, ValidationError};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::HashSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Where the document stands for the compiler; nobody sees it.
const PLACE: &str = "json-schema:///event";
const METER: &str = "pg-automate-meter";
/// Most parts that a schema may have.
const MAX_PARTS: usize = 1_000;
/// Most parts looked at for one payload.
const STEPS: u32 = 500_000;
/// Most bytes of stack for it.
const STACK: usize = 1 << 20;
/// Most problems named of one payload.
const MAX_PROBLEMS: usize = 100;

/// Keywords whose value is a schema, or an array of schemas.
const ONE: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an object of schemas.
const MANY: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];

thread_local! {
    /// Steps that are left, and where the stack was at the beginning.
    static LEFT: Cell<(u32, usize)> = const { Cell::new((0, 0)) };
}

/// Why a look was given up.
struct Exhausted;

/// A schema, ready to look at payloads.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

/// Nothing is loaded.
struct Nowhere;

impl boon::UrlLoader for Nowhere {
    fn load(&self, _url: &str) -> Result<Value, Box<dyn Error>> {
        Err("references must stay within the schema".into())
    }
}

impl Schema {
    /// Reads a schema, or says all that is wrong with it.
    pub fn compile(document: &Value) -> Result<Schema, Vec<Problem>> {
        if !document.is_object() && !document.is_boolean() {
            let mut problems = Vec::new();
            wrong_kind(&mut problems, "", "an object", document);
            return Err(problems);
        }
        // As it was written first, so that problems stand where the author wrote.
        compile(document)?;
        let mut parts = Parts::default();
        let metered = parts.meter(document, "");
        parts.check()?;
        let (schemas, index) = compile(&metered)?;
        Ok(Schema { schemas, index })
    }

    /// All that is wrong with a payload; nothing: it fits.
    pub fn problems(&self, payload: &Value) -> Vec<Problem> {
        let here = 0u8;
        LEFT.set((STEPS, &raw const here as usize));
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let mut found = Vec::new();
            if let Err(error) = self.schemas.validate(payload, self.index) {
                flatten(&error, "does_not_fit", &mut found);
            }
            found
        }));
        match looked {
            Ok(found) => found,
            Err(reason) if reason.is::<Exhausted>() => {
                let message = "the schema takes too many steps for this payload";
                let hint =
                    "Let its parts refer to each other in fewer ways, or send a smaller payload.";
                vec![Problem::error("", "too_complex", message).with_hint(hint)]
            }
            Err(defect) => resume_unwind(defect),
        }
    }
}

/// Counts a step of a look, and ends it when the allowance is used up.
fn step(_value: &Value) -> Result<(), Box<dyn Error>> {
    let here = 0u8;
    let (left, base) = LEFT.get();
    if left == 0 || base.abs_diff(&raw const here as usize) > STACK {
        resume_unwind(Box::new(Exhausted));
    }
    LEFT.set((left - 1, base));
    Ok(())
}

fn compile(document: &Value) -> Result<(Schemas, SchemaIndex), Vec<Problem>> {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.use_loader(Box::new(Nowhere));
    compiler.set_default_draft(Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.register_format(Format { name: METER, func: step });
    let compiled = match compiler.add_resource(PLACE, document.clone()) {
        Ok(()) => compiler.compile(PLACE, &mut schemas),
        Err(error) => Err(error),
    };
    compiled.map(|index| (schemas, index)).map_err(|error| {
        let mut problems = Vec::new();
        if let boon::CompileError::ValidationError { src, .. } = &error {
            flatten(src, "bad_schema", &mut problems);
        }
        if problems.is_empty() {
            let reason = error.source().map(|s| format!(": {s}")).unwrap_or_default();
            let message = format!("{error}{reason}").replace(PLACE, "");
            problems.push(Problem::error("", "bad_schema", message));
        }
        problems
    })
}

/// The innermost errors, each with its place in the payload.
fn flatten(error: &ValidationError, code: &'static str, found: &mut Vec<Problem>) {
    if found.len() >= MAX_PROBLEMS {
        return;
    }
    // Of alternatives, the author of a payload wants to know that none fits, then why not.
    let tells = matches!(error.kind, ErrorKind::AnyOf | ErrorKind::OneOf(_) | ErrorKind::Not);
    if error.causes.is_empty() || tells {
        let message = match &error.kind {
            ErrorKind::AnyOf => "none of the alternatives of anyOf fits".to_owned(),
            ErrorKind::OneOf(None) => "none of the alternatives of oneOf fits".to_owned(),
            ErrorKind::OneOf(Some(_)) => "more than one alternative of oneOf fits".to_owned(),
            ErrorKind::Not => "it fits what the schema excludes".to_owned(),
            ErrorKind::FalseSchema => "nothing is allowed here".to_owned(),
            other => other.to_string(),
        };
        found.push(Problem::error(error.instance_location.to_string(), code, message));
    }
    error.causes.iter().for_each(|cause| flatten(cause, code, found));
}

/// The parts of a schema, by their pointers, and what refers to them.
#[derive(Default)]
struct Parts {
    known: HashSet<String>,
    references: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Parts {
    /// The same schema with the meter in each of its parts.
    fn meter(&mut self, schema: &Value, at: &str) -> Value {
        self.known.insert(at.to_owned());
        let Value::Object(keys) = schema else { return schema.clone() };
        let mut made = Map::new();
        for (key, value) in keys {
            let place = below(at, key);
            let value = match (key.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                    self.references.push((place, target.clone()));
                    value.clone()
                }
                ("$id" | "id", Value::String(_)) if !at.is_empty() => {
                    let message = format!("{key} is possible at the top only");
                    let hint = "Put the parts below $defs and refer to them by #/$defs/name.";
                    self.problems
                        .push(Problem::error(place, "not_supported", message).with_hint(hint));
                    value.clone()
                }
                (key, value) if ONE.contains(&key) => self.one(value, &place),
                (key, Value::Object(many)) if MANY.contains(&key) => {
                    let all = many
                        .iter()
                        .map(|(name, part)| (name.clone(), self.one(part, &below(&place, name))));
                    Value::Object(all.collect())
                }
                _ => value.clone(),
            };
            made.insert(key.clone(), value);
        }
        if made.contains_key("format") {
            let all = made.entry("allOf").or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(json!({ "format": METER }));
            }
        } else {
            made.insert("format".into(), METER.into());
        }
        Value::Object(made)
    }

    /// A schema or an array of them; what else stands there (names, as in `dependencies`) stays.
    fn one(&mut self, value: &Value, at: &str) -> Value {
        match value {
            Value::Object(_) => self.meter(value, at),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                Value::Array(items.map(|(i, item)| self.one(item, &below(at, i))).collect())
            }
            Value::Bool(_) => {
                self.known.insert(at.to_owned());
                value.clone()
            }
            other => other.clone(),
        }
    }

    /// Refuses what the meter would not see.
    fn check(mut self) -> Result<(), Vec<Problem>> {
        for (place, target) in &self.references {
            // A name instead of a pointer stands in a part that is known.
            let Some((_, pointer)) = target.split_once('#') else { continue };
            if pointer.is_empty() || !pointer.starts_with('/') || self.known.contains(pointer) {
                continue;
            }
            let message = format!("\"{target}\" is no part of the schema");
            let hint = "Refer to #, or to a part below $defs, such as #/$defs/name.";
            self.problems.push(Problem::error(place, "not_supported", message).with_hint(hint));
        }
        if self.known.len() > MAX_PARTS {
            let message = format!("it has {} parts, {MAX_PARTS} are possible", self.known.len());
            self.problems.push(Problem::error("", "too_complex", message));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(document: Value) -> Schema {
        Schema::compile(&document).unwrap_or_else(|p| panic!("{document}: {p:?}"))
    }

    fn places(schema: &Schema, payload: Value) -> Vec<String> {
        schema.problems(&payload).into_iter().map(|p| p.pointer).collect()
    }

    fn refused(document: Value) -> Vec<Problem> {
        match Schema::compile(&document) {
            Ok(_) => panic!("accepted: {document}"),
            Err(problems) => problems,
        }
    }

    #[test]
    fn every_problem_of_a_payload_is_named_with_its_place() {
        let order = schema(json!({
            "type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {
                "id": {"type": "integer", "minimum": 1},
                "mail": {"type": "string", "format": "email"},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
            "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"pattern": "^[A-Z]+$"}}}},
        }));
        assert!(order.problems(&json!({"id": 1, "lines": [{"sku": "A"}]})).is_empty());
        let found = places(
            &order,
            json!({"id": 0, "mail": "no", "lines": [{"sku": "A"}, {"sku": "a"}, {}], "x": 1}),
        );
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(sorted, ["", "/id", "/lines/1/sku", "/lines/2", "/mail"]);
        let missing = order.problems(&json!({}));
        assert_eq!(missing.len(), 1);
        assert!(missing[0].message.contains("id"), "{missing:?}");
    }

    #[test]
    fn a_schema_that_is_none_is_refused_with_the_place() {
        assert_eq!(
            refused(json!({"properties": {"a": {"type": "text"}}}))[0].pointer,
            "/properties/a/type"
        );
        assert_eq!(refused(json!([]))[0].code, "wrong_kind");
        assert!(!refused(json!({"pattern": "("})).is_empty());
        assert!(!refused(json!({"$schema": "https://example.com/mine"})).is_empty());
    }

    #[test]
    fn nothing_is_loaded_from_outside() {
        for target in [
            "https://example.com/x",
            "file:///etc/passwd",
            "other.json",
            "#/nowhere",
            "/etc/passwd",
        ] {
            let found = refused(json!({"$ref": target}));
            assert!(!found.is_empty(), "{target}");
        }
    }

    #[test]
    fn a_schema_may_refer_to_itself() {
        let tree = schema(json!({
            "type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "n": {"type": "number"}},
        }));
        assert!(tree.problems(&json!({"children": [{"children": [{"n": 1}]}]})).is_empty());
        assert_eq!(
            places(&tree, json!({"children": [{"children": [{"n": "1"}]}]})),
            ["/children/0/children/0/n"]
        );
        // Around in a circle without a step into the payload.
        let circle = schema(
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        );
        assert!(!circle.problems(&json!(1)).is_empty());
    }

    #[test]
    fn a_schema_that_doubles_with_every_part_ends() {
        let mut defs = Map::new();
        for i in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
            defs.insert(format!("d{i}"), json!({"allOf": [next, next]}));
        }
        defs.insert("d40".into(), json!({"type": "integer"}));
        let doubling = schema(json!({"$ref": "#/$defs/d0", "$defs": defs}));
        assert_eq!(doubling.problems(&json!(1))[0].code, "too_complex");
        // And the next payload has an allowance of its own.
        assert!(schema(json!({"type": "integer"})).problems(&json!(1)).is_empty());
    }

    #[test]
    fn parts_that_the_meter_would_not_see_are_refused() {
        assert_eq!(
            refused(json!({"$ref": "#/x", "x": {"anyOf": [true]}}))[0].code,
            "not_supported"
        );
        let inner = json!({"$defs": {"a": {"$id": "https://example.com/a", "x": {}}}});
        assert_eq!(refused(inner)[0].code, "not_supported");
        let many: Map<String, Value> = (0..1_001).map(|i| (format!("p{i}"), json!({}))).collect();
        assert_eq!(refused(json!({"properties": many}))[0].code, "too_complex");
    }

    #[test]
    fn a_deep_payload_does_not_use_up_the_stack() {
        let mut defs = Map::new();
        for i in 0..400 {
            defs.insert(format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}));
        }
        defs.insert("d400".into(), json!({"properties": {"a": {"$ref": "#/$defs/d0"}}}));
        let long = schema(json!({"$ref": "#/$defs/d0", "$defs": defs}));
        let deep = (0..99).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert_eq!(long.problems(&deep)[0].code, "too_complex");
    }
}
