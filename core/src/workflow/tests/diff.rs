use super::super::diff::{Difference, diff};
use super::random::{Dice, mutate, sample};
use super::*;
use serde_json::json;

fn ops(from: Value, to: Value) -> Vec<(String, &'static str)> {
    diff(&json!({"do": from}), &json!({"do": to})).into_iter().map(|d| (d.pointer, d.op)).collect()
}

#[test]
fn tasks_are_compared_by_their_names() {
    let from = json!([{"a": {"set": {"x": 1}}}, {"b": {"set": {"y": 1}}}]);
    let to =
        json!([{"new": {"set": {"z": 1}}}, {"a": {"set": {"x": 2}}}, {"b": {"set": {"y": 1}}}]);
    let found = ops(from, to);
    assert_eq!(found, [("/do/new".into(), "add"), ("/do/a/set/x".into(), "replace")]);
}

#[test]
fn a_task_that_only_moves_is_not_gone() {
    let task = |name: &str| json!({name: {"set": {"n": name}}});
    let from = json!([task("a"), task("b"), task("c"), task("d")]);
    let to = json!([task("d"), task("a"), task("b"), task("c")]);
    assert_eq!(ops(from, to), [("/do/d".into(), "move")]);
}

#[test]
fn a_task_that_is_the_same_under_another_name_is_renamed() {
    let from = json!([{"a": {"set": {"x": 1}}}]);
    let found = diff(&from, &json!([{"b": {"set": {"x": 1}}}]));
    let (old, new) = (Some(json!("a")), Some(json!("b")));
    assert_eq!(found, [Difference { pointer: "/b".into(), op: "rename", old, new }]);
}

#[test]
fn other_arrays_go_by_places() {
    let found = ops(
        json!([{"a": {"with": {"params": [1, 2]}}}]),
        json!([{"a": {"with": {"params": [1]}}}]),
    );
    assert_eq!(found, [("/do/a/with/params/1".into(), "remove")]);
}

#[test]
fn nothing_is_different_from_itself_and_anything_else_is() {
    let mut dice = Dice(99);
    for _ in 0..200 {
        let mut other = sample();
        mutate(&mut other, &mut dice);
        assert_eq!(diff(&other, &other), []);
        assert_eq!(diff(&sample(), &other).is_empty(), sample() == other);
    }
}
