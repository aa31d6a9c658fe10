use super::*;
use serde_json::json;

fn measured(tasks: Value) -> Complexity {
    complexity(&json!({"do": tasks}), &Limits::default()).unwrap()
}

#[test]
fn a_line_of_tasks_has_one_way() {
    let found = measured(json!([{"a": {"set": {}}}, {"b": {"set": {}}}]));
    assert_eq!((found.tasks, found.depth, found.max_parallel, found.cyclomatic), (2, 1, 1, 1));
    assert!(found.within_limits);
}

#[test]
fn branches_multiply_within_and_add_up_beside_one_another() {
    let inner = json!({"fork": {"branches": [{"x": {"set": {}}}, {"y": {"set": {}}}]}});
    let turns = json!({"for": {"in": ".i"}, "metadata": {"maxParallel": 5}, "do": [{"in": inner}]});
    let found =
        measured(json!([{"f": {"fork": {"branches": [{"a": turns}, {"b": {"set": {}}}]}}}]));
    assert_eq!((found.max_parallel, found.depth), (11, 4));
}

#[test]
fn what_is_too_large_is_measured_and_said_to_be() {
    let tasks: Vec<Value> = (0..501).map(|i| json!({(format!("t{i}")): {"set": {}}})).collect();
    let document = json!({"do": tasks});
    assert!(Definition::parse(&document, &Limits::default()).is_err());
    let found = complexity(&document, &Limits::default()).unwrap();
    assert_eq!((found.nearest_limit, found.within_limits), ("maxSteps", false));
}

#[test]
fn every_decision_is_another_way() {
    let found = measured(json!([
        {"a": {"if": ".x", "set": {}}},
        {"s": {"switch": [{"p": {"when": ".y", "then": "end"}}, {"q": {"then": "end"}}]}},
        {"l": {"for": {"in": ".i"}, "while": ".z", "do": [{"n": {"set": {}}}]}},
    ]));
    assert_eq!(found.cyclomatic, 5);
}
