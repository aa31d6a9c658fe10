use super::*;
use serde_json::json;

#[test]
fn set_replaces_and_data_flows() {
    let tasks = json!([
        {"a": {"set": {"x": "${ .n + 1 }", "keep": true}, "export": {"as": "{saved: .x}"}}},
        {"b": {"input": {"from": ".x"}, "set": {"y": "${ . }", "in": "${ $input }"},
               "output": {"as": {"z": "${ .y + $context.saved }", "raw": "${ $task.output.in }"}}}}
    ]);
    assert_eq!(output(tasks, json!({"n": 1})), json!({"z": 4, "raw": 2}));
}

#[test]
fn root_input_and_output_are_transformed() {
    let definition = define(json!({
        "input": {"from": ".order"}, "output": {"as": "{id: .id, raw: $workflow.input.order.id}"},
        "do": [{"a": {"set": {"id": "${ .id }"}}}]
    }));
    let done = start(&definition, json!({"order": {"id": 9}}));
    assert_eq!(done.commands, [Command::Complete { output: json!({"id": 9, "raw": 9}) }]);
    assert!(done.state.is_terminal());
}

#[test]
fn if_skips_and_keeps_the_data() {
    let tasks = json!([{"a": {"if": ".n > 5", "set": {"n": 0}, "then": "end"}},
                       {"b": {"set": {"m": "${ .n }"}}}]);
    assert_eq!(output(tasks.clone(), json!({"n": 1})), json!({"m": 1}));
    assert_eq!(output(tasks, json!({"n": 6})), json!({"n": 0}));
}

#[test]
fn switch_jumps_and_falls_through() {
    let tasks = json!([
        {"s": {"switch": [{"big": {"when": ".n > 9", "then": "big"}},
                          {"gone": {"when": ".n < 0", "then": "exit"}}]}},
        {"small": {"set": {"r": "small"}, "then": "end"}},
        {"big": {"set": {"r": "big"}}}
    ]);
    assert_eq!(output(tasks.clone(), json!({"n": 10})), json!({"r": "big"}));
    assert_eq!(output(tasks.clone(), json!({"n": 5})), json!({"r": "small"}));
    assert_eq!(output(tasks, json!({"n": -1})), json!({"n": -1}));
}

#[test]
fn exit_leaves_only_its_own_list() {
    let tasks = json!([
        {"inner": {"do": [{"a": {"set": {"v": 1}, "then": "exit"}}, {"b": {"set": {"v": 2}}}]}},
        {"after": {"set": {"w": "${ .v }"}}}
    ]);
    assert_eq!(output(tasks, json!({})), json!({"w": 1}));
}

#[test]
fn for_goes_over_items_with_while() {
    let tasks = json!([{"loop": {"for": {"each": "c", "at": "i", "in": ".list"}, "while": "$i < 2",
        "do": [{"add": {"set": {"list": "${ .list }",
                "got": "${ (.got // []) + [$c + ($i | tostring)] }"}}}]}}]);
    let out = output(tasks.clone(), json!({"list": ["a", "b", "c"]}));
    assert_eq!(out["got"], json!(["a0", "b1"]));
    assert_eq!(output(tasks.clone(), json!({"list": []})), json!({"list": []}));
    let error = fault(tasks, json!({"list": 5}));
    assert!(error.kind.ends_with("/expression") && error.instance.as_deref() == Some("/do/0/loop"));
}

#[test]
fn ids_inside_loops_and_after_jumps_are_unique() {
    let definition = define(json!({"do": [
        {"loop": {"for": {"in": "[1, 2]"}, "do": [{"q": {"call": "sql", "with": {"query": "x"}}}]}},
        {"again": {"switch": [{"more": {"when": ". != 7", "then": "loop"}}]}}
    ]}));
    let mut advanced = start(&definition, json!(0));
    let mut seen = Vec::new();
    while let Some(id) = advanced.state.pending_step().map(str::to_owned) {
        let answer = if seen.len() == 3 { json!(7) } else { json!(0) };
        advanced = step(&definition, Some(advanced.state), done(&id, answer));
        seen.push(id);
    }
    assert_eq!(
        seen,
        [
            "/do/0/loop/do/0/q#0",
            "/do/0/loop/do/0/q#1",
            "/do/0/loop/do/0/q@1#0",
            "/do/0/loop/do/0/q@1#1"
        ]
    );
}
