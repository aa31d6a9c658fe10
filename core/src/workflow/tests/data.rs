use super::*;
use serde_json::json;

#[test]
fn schemas_are_checked_before_and_after() {
    let number = json!({"document": {"type": "object", "properties": {"n": {"type": "integer"}},
        "required": ["n"]}});
    let definition = define(json!({"input": {"schema": number}, "output": {"schema": number},
        "do": [{"a": {"set": {"n": "${ .to }"}}}]}));
    let good = start(&definition, json!({"n": 1, "to": 2}));
    assert_eq!(completed(&good), &json!({"n": 2}));
    for (input, what) in [(json!({"n": "x"}), "input"), (json!({"n": 1, "to": "y"}), "output")] {
        let end = start(&definition, input);
        let error = faulted(&end);
        assert!(error.kind.ends_with("/validation") && error.status == 400);
        assert!(error.detail.as_ref().is_some_and(|d| d.contains(what) && d.contains("/n")));
    }
}

#[test]
fn a_task_and_the_context_have_schemas_too() {
    let text = json!({"format": "json", "document": {"type": "string"}});
    for (key, value, input) in [
        ("input", json!({"schema": text, "from": "{}"}), json!(1)),
        ("output", json!({"schema": text}), json!(1)),
        ("export", json!({"schema": text, "as": "5"}), json!("x")),
    ] {
        let mut task = json!({"set": "${ . }"});
        task[key] = value;
        let error = fault(json!([{"a": task}]), input);
        assert!(error.kind.ends_with("/validation"), "{key}: {error}");
        assert_eq!(error.instance.as_deref(), Some("/do/0/a"));
    }
}

#[test]
fn wrong_schemas_are_refused_where_they_are_wrong() {
    let found = problems(json!({"do": [{"a": {"set": {}, "input": {"schema":
        {"document": {"type": "nonsense"}}}, "output": {"schema": {"format": "avro", "document": {}}},
        "export": {"schema": {"resource": {"endpoint": "https://x.org"}}}}}]}));
    let places: Vec<(&str, &str)> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert!(places[0].0.starts_with("/do/0/a/input/schema/document"), "{places:?}");
    assert!(places.contains(&("/do/0/a/output/schema/format", "unsupported_task")));
    assert!(places.contains(&("/do/0/a/export/schema/resource", "unsupported_task")));
}

#[test]
fn expressions_may_see_the_document() {
    let document = json!({"document": {"dsl": "1.0.3", "namespace": "n", "name": "w", "version": "1.0.0"},
        "do": [{"a": {"set": {"v": "${ $workflow.definition.document.version }",
                              "k": "${ $task.definition | keys[0] }",
                              "s": "${ $task.startedAt.epoch.seconds }"}}}]});
    let end = start(&define(document), json!({}));
    assert_eq!(completed(&end), &json!({"v": "1.0.0", "k": "set", "s": 1_767_323_045}));
}

#[test]
fn documents_may_lower_the_limits_and_not_raise_them() {
    let with = |limits| {
        json!({"document": {"metadata": {"limits": limits}}, "do": [
            {"a": {"set": {}}}, {"b": {"set": {}, "then": "a"}}]})
    };
    let end = start(&define(with(json!({"maxExecuted": 10}))), json!({}));
    assert!(faulted(&end).detail.as_ref().is_some_and(|d| d.contains("10 tasks")));
    let codes = |limits| -> Vec<&str> { problems(with(limits)).iter().map(|p| p.1).collect() };
    assert_eq!(codes(json!({"maxSteps": 1})), ["too_many_steps"]);
    assert_eq!(codes(json!({"maxSteps": 1_000_000})), ["limit_too_high"]);
    assert_eq!(codes(json!({"maxStep": 10})), ["unknown_key"]);
}
