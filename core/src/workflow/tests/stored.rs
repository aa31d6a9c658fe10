use super::*;
use serde_json::{Value, json};

fn load(state: Value) -> State {
    serde_json::from_value(state).unwrap()
}

#[test]
fn a_state_from_before_branches_goes_on() {
    let definition = define(json!({"do": [
        {"l": {"for": {"each": "x", "in": "[1, 2]"}, "do": [
            {"q": {"call": "sql", "with": {"query": "q", "params": ["${ $x }"]}}}]}},
        {"w": {"wait": "PT5S"}}]}));
    let old = load(json!({
        "status": "running", "input": {"a": 1}, "context": {"a": 1}, "executed": 2,
        "frames": [
            {"list": 0, "index": 0, "data": null, "input": null, "round": 0, "retries": 0, "began_ms": 0},
            {"list": 1, "owner": 0, "index": 0, "data": null, "input": {"a": 1}, "round": 0,
             "turn": {"items": [1, 2], "at": 0}, "retries": 0, "began_ms": 1767323045000i64}],
        "pending": {"step": "/do/0/l/do/0/q#0", "waits_for": "result", "attempt": 1, "input": {"a": 1}}
    }));
    assert_eq!(old.pending_step(), Some("/do/0/l/do/0/q#0"));
    let again = pending_commands(&definition, &runtime(), &old, NOW).unwrap();
    assert!(matches!(&again[..], [Command::Sql { params, .. }] if params == &[json!(1)]));
    let now = step(&definition, Some(old), done("/do/0/l/do/0/q#0", json!(1)));
    assert_eq!(asked(&now), ["/do/0/l/do/0/q#1"]);
    let now = step(&definition, Some(now.state), done("/do/0/l/do/0/q#1", json!(2)));
    assert!(matches!(now.commands[..], [Command::SetTimer { for_ms: 5_000, .. }]));
}

#[test]
fn waits_from_before_timers_were_noted_end_too() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"w": {"wait": "PT5S"}}, {"q": sql("q")}],
        "catch": {"retry": {"delay": "PT1S", "limit": {"attempt": {"count": 9}}}}}}]}));
    let stored = |pending: Value, index: usize| {
        load(json!({"status": "waiting", "executed": 2, "attempts": {"/do/0/t/try/1/q": 3},
            "frames": [{"list": 0}, {"list": 1, "owner": 0, "index": index, "retries": 2}],
            "pending": pending}))
    };
    let wait = stored(json!({"step": "/do/0/t/try/0/w", "waits_for": "timer", "attempt": 1}), 0);
    let again = pending_commands(&definition, &runtime(), &wait, NOW).unwrap();
    assert!(matches!(again[..], [Command::SetTimer { for_ms: 5_000, .. }]), "{again:?}");
    let now = step(&definition, Some(wait), fired("/do/0/t/try/0/w"));
    // Attempts go on above those there were.
    assert!(matches!(now.commands[..], [Command::Sql { attempt: 3, .. }]), "{:?}", now.commands);
    let retry = stored(json!({"step": "/do/0/t", "waits_for": "retry", "attempt": 1}), 1);
    let now = step(&definition, Some(retry), fired("/do/0/t"));
    assert!(matches!(now.commands[..], [Command::SetTimer { for_ms: 5_000, .. }]));
}

#[test]
fn a_state_of_another_definition_is_told_and_nothing_panics() {
    let definition = define(json!({"do": [{"q": sql("q")}]}));
    for branches in [
        json!([{"frames": [{"list": 7}]}]),
        json!([{"frames": []}]),
        json!([{"id": 3, "parent": 2, "frames": [{"list": 0, "index": 5}]}]),
        json!([{"id": 1, "parent": 1, "frames": [{"list": 0}]}]),
        json!([{"frames": [{"list": 0, "owner": 9}],
                "pending": {"step": "/do/0/q", "waits_for": "branches", "attempt": 1,
                            "join": {"open": 1, "total": 2, "asked": true}}}]),
        json!([{"frames": [{"list": 0, "index": 9}],
                "pending": {"step": "/do/0/q", "waits_for": "page", "attempt": 1}}]),
    ] {
        let state = load(json!({"status": "running", "branches": branches,
            "saga": [{"task": 9}, {"task": 0}]}));
        for event in [
            done("/do/0/q", json!(1)),
            fired("/do/0/q"),
            Event::Page { step: "/do/0/q".into(), from: 0, items: vec![] },
            Event::Heard { step: "/do/0/q".into(), event: json!({}) },
            Event::Cancelled { compensate: true },
            Event::TimedOut,
        ] {
            let _ = advance(&definition, &runtime(), Some(state.clone()), event, NOW);
        }
        let _ = pending_commands(&definition, &runtime(), &state, NOW);
    }
}
