use super::*;
use serde_json::{Value, json};

fn undoable(query: &str, undo: &str) -> Value {
    let mut task = sql(query);
    task["metadata"] = json!({"compensate": [{"undo": {"call": "sql",
        "with": {"query": undo, "params": ["${ . }"]}}}]});
    task
}

fn booking() -> Definition {
    define(json!({"do": [
        {"hotel": undoable("book hotel", "free hotel")},
        {"flight": undoable("book flight", "free flight")},
        {"pay": sql("pay")}
    ]}))
}

const HOTEL: &str = "/do/0/hotel/metadata/compensate/0/undo";
const FLIGHT: &str = "/do/1/flight/metadata/compensate/0/undo";

/// A run that has booked both and cannot pay.
fn unpaid() -> Advanced {
    let events = vec![
        done("/do/0/hotel", json!("h")),
        done("/do/1/flight", json!("f")),
        failed("/do/2/pay", "communication"),
    ];
    after_events(&booking(), json!({}), events)
}

#[test]
fn what_was_done_is_undone_backwards_with_what_it_gave() {
    let now = unpaid();
    assert!(now.state.is_compensating() && !now.state.is_terminal());
    match &now.commands[..] {
        [Command::Sql { step, statement, params, .. }] => {
            assert_eq!((step.as_str(), statement.as_str()), (FLIGHT, "free flight"));
            assert_eq!(params, &[json!("f")]);
        }
        other => panic!("{other:?}"),
    }
    let now = step(&booking(), Some(now.state), done(FLIGHT, json!(null)));
    assert_eq!(asked(&now), [HOTEL]);
    let end = step(&booking(), Some(now.state), done(HOTEL, json!(null)));
    let error = faulted(&end);
    assert_eq!(error.instance.as_deref(), Some("/do/2/pay"));
    assert!(error.uncompensated.is_empty());
}

#[test]
fn a_run_that_completes_undoes_nothing() {
    let events = vec![
        done("/do/0/hotel", json!("h")),
        done("/do/1/flight", json!("f")),
        done("/do/2/pay", json!("paid")),
    ];
    let end = after_events(&booking(), json!({}), events);
    assert_eq!(completed(&end), &json!("paid"));
}

#[test]
fn undoing_is_tried_again_and_a_dead_end_is_told() {
    let definition = booking();
    let mut now = unpaid();
    let mut delays = Vec::new();
    let step_id = "/do/1/flight/metadata/compensate";
    for attempt in 1..=6u32 {
        let given = now.commands.iter().find_map(|c| match c {
            Command::Sql { step, attempt, .. } if step == FLIGHT => Some(*attempt),
            _ => None,
        });
        assert_eq!(given, Some(attempt));
        now = step(&definition, Some(now.state), failed(FLIGHT, "communication"));
        if let [Command::SetTimer { step: id, for_ms, why, name }] = &now.commands[..] {
            assert_eq!((id.as_str(), *why, name.as_str()), (step_id, Why::Retry, "flight"));
            delays.push(*for_ms);
            now = step(&definition, Some(now.state), fired(step_id));
        }
    }
    assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 16_000]);
    assert!(records(&now).contains(&(step_id, "faulted")));
    assert_eq!(asked(&now), [HOTEL]);
    let end = step(&definition, Some(now.state), done(HOTEL, json!(null)));
    assert_eq!(*faulted(&end).uncompensated, ["/do/1/flight"]);
    assert_eq!(faulted(&end).to_value()["uncompensated"], json!(["/do/1/flight"]));
}

#[test]
fn a_cancelled_run_may_be_undone_or_not() {
    let definition = booking();
    let begun = after_events(&definition, json!({}), vec![done("/do/0/hotel", json!("h"))]);
    let left = step(&definition, Some(begun.state.clone()), Event::Cancelled { compensate: false });
    assert_eq!(left.commands, [Command::Cancel]);
    let now = step(&definition, Some(begun.state), Event::Cancelled { compensate: true });
    assert_eq!(asked(&now), [HOTEL]);
    assert!(now.commands.contains(&Command::Withdraw { step: "/do/1/flight".into() }));
    let twice = step(&definition, Some(now.state.clone()), Event::Cancelled { compensate: true });
    assert_eq!(twice.ignored, Some(Ignored::NotAwaited));
    let end = step(&definition, Some(now.state.clone()), done(HOTEL, json!(1)));
    assert_eq!((&end.commands[..], end.state.status), (&[Command::Cancel][..], Status::Cancelled));
    // Who has no time for that ends it, and is told what stays.
    let end = step(&definition, Some(now.state), Event::Cancelled { compensate: false });
    assert_eq!(*faulted(&end).uncompensated, ["/do/0/hotel"]);
}

#[test]
fn a_run_whose_time_is_over_is_undone() {
    let begun = after_events(&booking(), json!({}), vec![done("/do/0/hotel", json!("h"))]);
    let now = step(&booking(), Some(begun.state), Event::TimedOut);
    assert_eq!(asked(&now), [HOTEL]);
    let end = step(&booking(), Some(now.state), done(HOTEL, json!(1)));
    assert!(faulted(&end).kind.ends_with("timeout"));
}

#[test]
fn an_error_that_is_caught_undoes_nothing() {
    let definition = define(json!({"do": [
        {"t": {"try": [{"a": undoable("a", "u")}, {"b": sql("b")}], "catch": {}}},
        {"c": sql("c")}]}));
    let a = "/do/0/t/try/0/a";
    let events = vec![done(a, json!(1)), failed("/do/0/t/try/1/b", "runtime")];
    let now = after_events(&definition, json!({}), events);
    assert_eq!(asked(&now), ["/do/1/c"]);
    let now = step(&definition, Some(now.state), failed("/do/1/c", "runtime"));
    assert_eq!(asked(&now), ["/do/0/t/try/0/a/metadata/compensate/0/undo"]);
}

#[test]
fn turns_and_attempts_are_undone_each_with_ids_and_variables_of_their_own() {
    let definition = define(json!({"do": [
        {"l": {"for": {"each": "x", "in": "[7, 8]"}, "do": [{"a": {
            "call": "sql", "with": {"query": "a"}, "metadata": {"compensate": [{"u": {
                "call": "sql", "with": {"query": "u", "params": ["${ $x }"]}}}]}}}]}},
        {"t": {"try": [{"b": undoable("b", "u")}, {"c": sql("c")}],
               "catch": {"retry": {"limit": {"attempt": {"count": 1}}}}}}]}));
    let (b, c) = ("/do/1/t/try/0/b", "/do/1/t/try/1/c");
    let mut events = vec![done("/do/0/l/do/0/a#0", json!(0)), done("/do/0/l/do/0/a#1", json!(1))];
    for n in [2, 3] {
        events.extend([done(b, json!(n)), failed(c, "runtime")]);
    }
    let mut now = after_events(&definition, json!({}), events);
    let mut seen = Vec::new();
    while let [Command::Sql { step: id, params, .. }] = &now.commands[..] {
        seen.push((id.clone(), params[0].clone()));
        let id = id.clone();
        now = step(&definition, Some(now.state), done(&id, json!(null)));
    }
    let undo = "/do/1/t/try/0/b/metadata/compensate/0/undo";
    let turns = "/do/0/l/do/0/a/metadata/compensate/0/u";
    let wanted = [
        (format!("{undo}^2"), json!(3)),
        (undo.to_owned(), json!(2)),
        (format!("{turns}#1"), json!(8)),
        (format!("{turns}#0"), json!(7)),
    ];
    assert_eq!(seen, wanted);
    assert!(now.state.is_terminal());
}

#[test]
fn a_step_whose_output_is_of_no_use_is_undone_too() {
    let mut task = undoable("a", "u");
    task["output"] = json!({"as": "error(\"no\")"});
    let definition = define(json!({"do": [{"a": task}]}));
    let now = after_events(&definition, json!({}), vec![done("/do/0/a", json!("raw"))]);
    match &now.commands[..] {
        [Command::Sql { params, .. }] => assert_eq!(params, &[json!("raw")]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_compensation_without_an_end_is_given_up() {
    let limits = Limits { max_executed: 50, ..Limits::default() };
    let document = json!({"do": [
        {"a": {"set": {"n": 1}, "metadata": {"compensate": [{"x": {"set": {}, "then": "x"}}]}}},
        {"b": {"raise": {"error": {"type": "https://e.org", "status": 500}}}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let end = start(&definition, json!({}));
    assert_eq!(faulted(&end).kind, "https://e.org");
    assert_eq!(*faulted(&end).uncompensated, ["/do/0/a"]);
}

#[test]
fn more_than_can_be_undone_is_refused() {
    let limits = Limits { max_compensations: 2, ..Limits::default() };
    let document = json!({"do": [{"l": {"for": {"in": "[1, 2, 3]"}, "do": [{"a": {
        "set": {}, "metadata": {"compensate": [{"x": {"set": {}}}]}}}]}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let end = start(&definition, json!({}));
    assert_eq!(faulted(&end).title.as_deref(), Some("Too many compensations"));
}
