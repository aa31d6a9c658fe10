use super::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

fn holds(logic: Value, context: Value) -> Result<bool, String> {
    let logic = Logic::compile(&logic).map_err(|p| p[0].to_string())?;
    logic.holds(&Facts::read(&context.to_string())?)
}

/// The folder of the crate that evaluates, where cargo keeps the sources of dependencies.
fn sources() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        // Of this platform alone: what others need has perhaps never been fetched.
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it answers JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|p| p["name"] == "datalogic-rs").expect("the dependency");
    let manifest = package["manifest_path"].as_str().expect("its manifest");
    Path::new(manifest).parent().expect("its folder").to_owned()
}

/// The cases of jsonlogic.com/tests.json, as the dependency ships them.
#[test]
fn the_official_suite_passes() {
    let text = std::fs::read_to_string(sources().join("tests/suites/compatible.json"))
        .expect("the suite is among the dependency's sources");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("the suite is JSON");
    let (mut count, mut wrong) = (0, Vec::new());
    for case in cases.iter().filter(|case| case.is_object()) {
        count += 1;
        let logic = Logic::compile(&case["rule"]);
        let found = logic.map_err(|p| p[0].to_string()).and_then(|logic| {
            let facts = Facts::read(&case["data"].to_string())?;
            let arena = Bump::new();
            let value = engine().evaluate(&logic.compiled, facts.parsed.value(), &arena);
            let value = value.map_err(|e| e.to_string())?.to_string();
            // Numbers are compared as numbers: 1 and 1.0 are the same to JavaScript.
            let value: Value = serde_json::from_str(&value).map_err(|e| e.to_string())?;
            Ok((value, logic.holds(&facts)?))
        });
        let wanted = &case["result"];
        let same = |value: &Value| match (value.as_f64(), wanted.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => value == wanted,
        };
        match &found {
            Ok((value, truth)) if same(value) && *truth == is_true(wanted) => {}
            _ => wrong.push((case.clone(), found)),
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases: {wrong:#?}", wrong.len());
    assert!(count >= 275, "the suite has only {count} cases");
}

/// What JsonLogic takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(known) => *known,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

#[test]
fn lists_are_looked_through() {
    let logic = json!({">": [{"reduce": [{"map": [{"var": "items"}, {"*": [{"var": "price"}, {"var": "n"}]}]},
        {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}, 100]});
    let order = |n| json!({"items": [{"price": 30, "n": n}, {"price": 40.5, "n": 1}]});
    assert_eq!(holds(logic.clone(), order(2)), Ok(true));
    assert_eq!(holds(logic, order(1)), Ok(false));
    assert_eq!(
        holds(
            json!({"some": [{"var": "tags"}, {"==": [{"var": ""}, "x"]}]}),
            json!({"tags": ["y", "x"]})
        ),
        Ok(true)
    );
}

#[test]
fn what_is_unknown_is_refused_with_its_place() {
    let found =
        Logic::compile(&json!({"and": [{"fliter": [1, 2]}, {"a": 1, "b": 2}]})).err().unwrap();
    let places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
    assert_eq!(places, [("/and/0/fliter", "unsupported_operator"), ("/and/1", "one_operator")]);
    assert_eq!(found[0].hint.as_deref(), Some("Did you mean \"filter\"?"));
    let deep = (0..60).fold(json!(true), |inner, _| json!({"!": [inner]}));
    assert_eq!(Logic::compile(&deep).err().unwrap()[0].code, "too_deep");
}

#[test]
fn work_and_memory_have_bounds() {
    let doubling = json!({"reduce": [{"var": "n"}, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "x"]});
    let many: Vec<i32> = (0..60).collect();
    let error = holds(doubling, json!({"n": many})).unwrap_err();
    assert!(error.contains("memory"), "{error}");
    let nested = (0..5).fold(json!(false), |inner, _| json!({"some": [{"var": "n"}, inner]}));
    let error = holds(nested.clone(), json!({"n": many})).unwrap_err();
    assert!(error.contains("too long"), "{error}");
    assert_eq!(holds(nested, json!({"n": [1, 2]})), Ok(false));
    // Loops beside each other are not inside each other.
    let beside = json!({"and": [{"some": [{"var": "n"}, true]}, {"all": [{"var": "n"}, true]}]});
    assert_eq!(Logic::compile(&beside).unwrap().loops, 1);
}
