use super::*;
use serde_json::json;

fn unreached(tasks: Value) -> Vec<String> {
    define(json!({"do": tasks})).unreached().into_iter().map(|p| p.pointer).collect()
}

#[test]
fn after_an_end_nothing_comes() {
    let tasks = json!([{"a": {"set": {}, "then": "end"}}, {"b": {"do": [{"in": {"set": {}}}]}}, {"c": {"set": {}}}]);
    assert_eq!(unreached(tasks), ["/do/1/b", "/do/2/c"]);
}

#[test]
fn what_may_be_left_out_lets_the_next_come() {
    for first in [
        json!({"if": ".x", "set": {}, "then": "end"}),
        json!({"if": ".x", "raise": {"error": {"type": "t", "status": 500}}}),
        json!({"switch": [{"p": {"when": ".x", "then": "end"}}]}),
    ] {
        assert_eq!(unreached(json!([{"a": first}, {"b": {"set": {}}}])), [""; 0], "{first}");
    }
}

#[test]
fn a_jump_over_a_task_and_back_reaches_both() {
    let tasks = json!([
        {"a": {"set": {}, "then": "c"}}, {"b": {"set": {}, "then": "end"}}, {"c": {"set": {}, "then": "b"}}]);
    assert_eq!(unreached(tasks), [""; 0]);
}

#[test]
fn lists_within_are_looked_through() {
    let lost =
        json!([{"r": {"raise": {"error": {"type": "t", "status": 500}}}}, {"x": {"set": {}}}]);
    let tasks = json!([{"t": {"try": lost, "catch": {"do": [{"k": {"set": {}, "then": "exit"}}, {"m": {"set": {}}}]}}}]);
    assert_eq!(unreached(tasks), ["/do/0/t/try/1/x", "/do/0/t/catch/do/1/m"]);
}
