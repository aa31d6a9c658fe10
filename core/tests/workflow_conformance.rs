//! Runs the conformance kit of the Open Workflow Specification against the interpreter, and
//! scenarios of our own, written like it, for what the kit leaves out.
//!
//! `OWS_DIR` names a folder that holds the kit's feature files in `ctk` and the examples in
//! `examples`; without it neither is tested, and that is said. The world outside is a table of
//! made-up answers, so no network is needed.

// Helpers of a test; clippy allows these only in the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "ctk/gherkin.rs"]
mod gherkin;
#[path = "ctk/steps.rs"]
mod steps;
#[path = "ctk/world.rs"]
mod world;

use automate_core::problem::Problem;
use automate_core::workflow::{Definition, Limits};
use serde_json::Value;
use std::path::{Path, PathBuf};
use steps::Verdict;

/// Scenarios of the kit that must pass, so that an empty folder cannot.
const LEAST_PASSED: usize = 13;
/// Examples that must be accepted, so that an empty folder cannot.
const LEAST_ACCEPTED: usize = 32;
/// Scenarios of our own.
const OWN: usize = 26;

/// Examples of the specification that are refused, each with the place of what is not supported.
/// The rest is accepted.
const REFUSED: [(&str, &str); 19] = [
    ("accumulate-room-readings", "/do/1/logReading/do/0/callOrderService/call"),
    ("authentication-oidc-secret", "/do/0/getPet/with/endpoint/authentication/oidc"),
    ("authentication-oidc", "/do/0/getPet/with/endpoint/authentication/oidc"),
    ("call-asyncapi-publish", "/do/0/findPet/call"),
    ("call-asyncapi-subscribe-consume-amount", "/do/0/getNotifications/call"),
    ("call-asyncapi-subscribe-consume-forever-foreach", "/do/0/getNotifications/call"),
    ("call-asyncapi-subscribe-consume-while", "/do/0/getNotifications/call"),
    ("call-custom-function-cataloged", "/do/0/log/call"),
    ("call-mcp", "/do/0/publishMessageToSlack/call"),
    ("call-openapi-redirect", "/do/0/findPet/call"),
    ("run-container-cleanup-always", "/do/0/runContainer/run/container"),
    ("run-container-stdin-and-arguments", "/do/1/runContainer/run/container"),
    ("run-container-with-name", "/do/0/runContainer/run/container"),
    ("run-container-with-pull-policy", "/do/0/runContainer/run/container"),
    ("run-return-all", "/do/0/runContainer/run/container"),
    ("run-return-code", "/do/0/runContainer/run/container"),
    ("run-return-none", "/do/0/runContainer/run/container"),
    ("run-script-with-stdin-and-arguments", "/do/0/runScript/run/script"),
    ("run-shell-stdin-and-arguments", "/do/1/runShell/run/shell"),
];

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

/// Runs every scenario of the folder; how many passed and were skipped.
fn run_all(folder: &Path) -> (usize, usize) {
    let (mut passed, mut failures, mut skipped) = (0, Vec::new(), Vec::new());
    for file in files(folder, "feature") {
        let text = std::fs::read_to_string(&file).unwrap();
        for scenario in gherkin::scenarios(&text) {
            match steps::run(&scenario) {
                Ok(()) => passed += 1,
                Err(Verdict::Skipped(why)) => skipped.push(format!("{}: {why}", scenario.name)),
                Err(Verdict::Failed(why)) => failures.push(format!("{}: {why}", scenario.name)),
            }
        }
    }
    println!("{passed} passed, {} skipped, {} failed", skipped.len(), failures.len());
    skipped.iter().for_each(|line| println!("skipped {line}"));
    assert!(failures.is_empty(), "{failures:#?}");
    (passed, skipped.len())
}

#[test]
fn conformance_kit() {
    let Some(folder) = folder("ctk") else { return };
    let (passed, _) = run_all(&folder);
    assert!(passed >= LEAST_PASSED, "only {passed} scenarios passed");
}

#[test]
fn scenarios_that_the_kit_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ctk/features");
    assert_eq!(run_all(&folder), (OWN, 0));
}

#[test]
fn examples_are_accepted_or_refused_by_name() {
    let Some(folder) = folder("examples") else { return };
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for file in files(&folder, "yaml") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let document: Value = serde_norway::from_str(&text).unwrap();
        let known = REFUSED.iter().find(|(other, ..)| *other == name);
        match (Definition::parse(&document, &Limits::default()), known) {
            (Ok(_), None) => accepted += 1,
            (Ok(_), Some(_)) => wrong.push(format!("{name} is accepted")),
            (Err(problems), Some((_, at))) => {
                refused += 1;
                let fits = |p: &&Problem| p.pointer == *at && p.code == "unsupported_task";
                if problems.iter().find(fits).is_none_or(|p| p.hint.is_none()) {
                    wrong.push(format!("{name}: {problems:?}"));
                }
            }
            (Err(problems), None) => wrong.push(format!("{name}: {problems:?}")),
        }
    }
    println!("{accepted} examples accepted, {refused} refused");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(accepted >= LEAST_ACCEPTED && refused == REFUSED.len(), "{accepted}, {refused}");
}
