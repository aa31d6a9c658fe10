//! Runs the conformance kit of the Open Workflow Specification against the interpreter.
//!
//! `OWS_DIR` names a folder that holds the kit's feature files in `ctk` and the examples in
//! `examples`; without it nothing is tested, and that is said. The world outside is a table of
//! made-up answers, so no network is needed.

// Helpers of a test; clippy allows these only in the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "ctk/gherkin.rs"]
mod gherkin;
#[path = "ctk/world.rs"]
mod world;

use automate_core::workflow::{Definition, Limits};
use gherkin::{Scenario, Step};
use serde_json::Value;
use std::path::{Path, PathBuf};
use world::{End, Outcome};

/// Scenarios that must pass, so that an empty folder cannot.
const LEAST_PASSED: usize = 11;
/// Example documents that must be accepted.
const LEAST_ACCEPTED: usize = 14;

fn folder(name: &str) -> Option<PathBuf> {
    match std::env::var_os("OWS_DIR") {
        Some(dir) => Some(Path::new(&dir).join(name)),
        None => {
            println!("SKIPPED: set OWS_DIR to the folder of the specification to test conformance");
            None
        }
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

#[test]
fn conformance_kit() {
    let Some(folder) = folder("ctk") else { return };
    let (mut passed, mut failures, mut skipped) = (0, Vec::new(), Vec::new());
    for file in files(&folder, "feature") {
        let text = std::fs::read_to_string(&file).unwrap();
        for scenario in gherkin::scenarios(&text) {
            match run(&scenario) {
                Ok(()) => passed += 1,
                Err(Verdict::Skipped(why)) => skipped.push(format!("{}: {why}", scenario.name)),
                Err(Verdict::Failed(why)) => failures.push(format!("{}: {why}", scenario.name)),
            }
        }
    }
    println!("{passed} passed, {} skipped, {} failed", skipped.len(), failures.len());
    skipped.iter().for_each(|line| println!("skipped {line}"));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(passed >= LEAST_PASSED, "only {passed} scenarios passed");
}

#[test]
fn examples_are_accepted_or_refused_by_name() {
    let Some(folder) = folder("examples") else { return };
    let (mut accepted, mut refused) = (0, 0);
    for file in files(&folder, "yaml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let document: Value = match serde_norway::from_str(&text) {
            Ok(document) => document,
            Err(e) => {
                println!("{file:?} is not YAML: {e}");
                continue;
            }
        };
        match Definition::parse(&document, &Limits::default()) {
            Ok(_) => accepted += 1,
            Err(problems) => {
                refused += 1;
                let codes: Vec<String> =
                    problems.iter().map(|p| format!("{p} [{}]", p.code)).collect();
                println!("{:?} refused: {}", file.file_name().unwrap(), codes.join("; "));
            }
        }
    }
    println!("{accepted} examples accepted, {refused} refused");
    assert!(accepted >= LEAST_ACCEPTED, "only {accepted} examples accepted");
}

/// Why a scenario did not pass.
enum Verdict {
    Skipped(String),
    Failed(String),
}

fn run(scenario: &Scenario) -> Result<(), Verdict> {
    let mut definition = Value::Null;
    let mut input = Value::Object(serde_json::Map::new());
    let mut outcome: Option<Outcome> = None;
    for step in &scenario.steps {
        let text = step.text.as_str();
        if text.starts_with("a workflow with definition") {
            definition = step.yaml();
        } else if text.starts_with("given the workflow input is")
            || text.starts_with("the workflow input is")
        {
            input = step.yaml();
        } else if text.starts_with("the workflow is executed") {
            let built = Definition::parse(&definition, &Limits::default()).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                match problems.iter().all(|p| p.code == "unsupported_task") {
                    true => Verdict::Skipped(lines.join("; ")),
                    false => Verdict::Failed(lines.join("; ")),
                }
            })?;
            outcome = Some(world::execute(&built, input.clone()));
        } else {
            let outcome = outcome.as_ref().ok_or(Verdict::Failed("not executed".into()))?;
            check(step, outcome).map_err(|why| Verdict::Failed(format!("{text}: {why}")))?;
        }
    }
    outcome.map(|_| ()).ok_or(Verdict::Failed("nothing was executed".into()))
}

fn check(step: &Step, outcome: &Outcome) -> Result<(), String> {
    let text = step.text.trim_end_matches(':');
    let quoted = step.quoted();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["the", "workflow", "should", "complete"] => outcome.output().map(|_| ()),
        ["the", "workflow", "should", "complete", "with", "output"] => {
            same(outcome.output()?, &step.yaml())
        }
        ["the", "workflow", "should", "fault"] => outcome.error().map(|_| ()),
        ["the", "workflow", "should", "fault", "with", "error"] => {
            same_error(outcome.error()?, &step.yaml())
        }
        ["the", "workflow", "output", "should", "have", "properties", ..] => {
            let output = outcome.output()?;
            quoted.iter().try_for_each(|path| property(output, path).map(|_| ()))
        }
        ["the", "workflow", "output", "should", "have", "a", _, "property", "with", "value"] => {
            same(property(outcome.output()?, first(&quoted)?)?, &step.yaml())
        }
        ["the", "workflow", "output", "should", "have", "a", _, "property", "containing", n, _] => {
            let found = property(outcome.output()?, first(&quoted)?)?.as_array().map(Vec::len);
            match found == n.parse().ok() {
                true => Ok(()),
                false => Err(format!("{found:?} items")),
            }
        }
        [task, "should", "run", "first"] => ran(outcome.started.first(), task),
        [task, "should", "run", "last"] => ran(outcome.started.last(), task),
        _ => Err("the runner does not know this step".into()),
    }
}

fn ran(found: Option<&String>, task: &str) -> Result<(), String> {
    match found.is_some_and(|name| name == task) {
        true => Ok(()),
        false => Err(format!("it was {found:?}")),
    }
}

fn first(quoted: &[String]) -> Result<&str, String> {
    quoted.first().map(String::as_str).ok_or_else(|| "no property is named".into())
}

fn property<'v>(value: &'v Value, path: &str) -> Result<&'v Value, String> {
    path.split('.').try_fold(value, |v, key| {
        v.get(key).ok_or_else(|| format!("no property {path} in {value}"))
    })
}

fn same(found: &Value, wanted: &Value) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{found} instead of {wanted}")),
    }
}

/// Every field that is asked for, and no other field of its own.
fn same_error(found: &Value, wanted: &Value) -> Result<(), String> {
    let fields = wanted.as_object().ok_or("the error asked for is not an object")?;
    for (key, value) in fields {
        same(found.get(key).unwrap_or(&Value::Null), value)?;
    }
    Ok(())
}

impl Outcome {
    fn output(&self) -> Result<&Value, String> {
        match &self.end {
            End::Completed(output) => Ok(output),
            End::Faulted(error) => Err(format!("it faulted: {error}")),
        }
    }

    fn error(&self) -> Result<&Value, String> {
        match &self.end {
            End::Faulted(error) => Ok(error),
            End::Completed(output) => Err(format!("it completed: {output}")),
        }
    }
}
