use super::*;
use serde_json::{Value, json};

const NOW_MS: i64 = 1_767_323_045_000;

/// The run goes on with what it stood before when it ended.
fn again(
    definition: &Definition,
    state: State,
    from: Option<(&str, Value)>,
    patch: Option<Value>,
) -> Advanced {
    let text = serde_json::to_string(&state).unwrap();
    let state: State = serde_json::from_str(&text).unwrap();
    let state = state.retry(definition, from, patch.as_ref(), NOW_MS).unwrap();
    step(definition, Some(state), Event::Resumed)
}

fn params(advanced: &Advanced) -> Vec<(String, u32, Value)> {
    let one = |c: &Command| match c {
        Command::Sql { step, attempt, params, .. } => {
            Some((step.clone(), *attempt, params.first().cloned().unwrap_or_default()))
        }
        _ => None,
    };
    advanced.commands.iter().filter_map(one).collect()
}

fn given(query: &str) -> Value {
    json!({"call": "sql", "with": {"query": query, "params": ["${ . }"]}})
}

#[test]
fn the_failed_step_is_tried_again_with_its_input_patched() {
    let definition = define(json!({"do": [
        {"a": given("a")},
        {"in": {"do": [{"b": given("b")}, {"c": given("c")}], "input": {"from": "{x: .n, y: 1}"}}}
    ]}));
    let events = vec![
        done("/do/0/a", json!({"n": 1})),
        done("/do/1/in/do/0/b", json!({"k": 2, "l": 3})),
        failed("/do/1/in/do/1/c", "runtime"),
    ];
    let ended = after_events(&definition, json!({}), events);
    assert!(ended.state.is_terminal() && ended.state.may_retry());
    let now = again(&definition, ended.state.clone(), None, Some(json!({"k": null, "m": 4})));
    let c = "/do/1/in/do/1/c".to_owned();
    assert_eq!(params(&now), [(c.clone(), 2, json!({"l": 3, "m": 4}))]);
    let ended = step(&definition, Some(now.state), done(&c, json!(7)));
    assert_eq!(ended.commands, [Command::Complete { output: json!(7) }]);
    assert!(!ended.state.may_retry());
}

#[test]
fn an_earlier_step_is_gone_back_to() {
    let definition = define(json!({"do": [{"a": given("a")}, {"b": given("b")}]}));
    let events = vec![done("/do/0/a", json!(1)), failed("/do/1/b", "runtime")];
    let ended = after_events(&definition, json!({}), events);
    let now = again(&definition, ended.state.clone(), Some(("a", json!({"n": 5}))), None);
    assert_eq!(params(&now), [("/do/0/a".to_owned(), 2, json!({"n": 5}))]);
    let none = ended.state.retry(&definition, Some(("z", json!(1))), None, NOW_MS);
    assert_eq!(none.unwrap_err(), NoRetry::NoSuchStep);
}

#[test]
fn what_other_branches_waited_for_begins_anew() {
    let definition = define(json!({"do": [{"f": {"fork": {"branches": [
        {"x": given("x")}, {"y": given("y")}, {"z": given("z")}]}}}]}));
    let at = |n: usize, name: &str| format!("/do/0/f/fork/branches/{n}/{name}");
    let events = vec![done(&at(0, "x"), json!("x")), failed(&at(1, "y"), "runtime")];
    let ended = after_events(&definition, json!({}), events);
    let now = again(&definition, ended.state, None, None);
    let asked: Vec<(String, u32)> = params(&now).into_iter().map(|(s, n, _)| (s, n)).collect();
    assert_eq!(asked, [(at(1, "y"), 2), (at(2, "z"), 2)]);
    let now = step(&definition, Some(now.state), done(&at(1, "y"), json!("y")));
    let ended = step(&definition, Some(now.state), done(&at(2, "z"), json!("z")));
    assert_eq!(ended.commands, [Command::Complete { output: json!(["x", "y", "z"]) }]);
}

#[test]
fn a_cancelled_run_goes_on_where_it_stood() {
    let definition = define(json!({"do": [{"w": {"wait": {"hours": 1}}}, {"a": given("a")}]}));
    let begun = start(&definition, json!({"n": 1}));
    let ended = step(&definition, Some(begun.state), Event::Cancelled { compensate: false });
    assert!(ended.state.may_retry());
    let now = again(&definition, ended.state, None, None);
    assert!(matches!(&now.commands[..], [Command::SetTimer { for_ms: 3_600_000, .. }]));
}

#[test]
fn what_was_undone_is_not_tried_again() {
    let mut a = given("a");
    a["metadata"] = json!({"compensate": [{"undo": given("undo")}]});
    let definition = define(json!({"do": [{"a": a}, {"b": given("b")}]}));
    let events = vec![
        done("/do/0/a", json!(1)),
        failed("/do/1/b", "runtime"),
        done("/do/0/a/metadata/compensate/0/undo", json!(1)),
    ];
    let ended = after_events(&definition, json!({}), events);
    assert!(ended.state.is_terminal() && !ended.state.may_retry());
    assert_eq!(ended.state.retry(&definition, None, None, NOW_MS).unwrap_err(), NoRetry::NotKept);
}
