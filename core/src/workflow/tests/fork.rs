use super::*;
use serde_json::json;

fn two() -> Definition {
    define(json!({"do": [
        {"f": {"fork": {"branches": [{"a": sql("a")}, {"b": sql("b")}]}}},
        {"after": {"set": {"got": "${ . }"}}}
    ]}))
}

const A: &str = "/do/0/f/fork/branches/0/a";
const B: &str = "/do/0/f/fork/branches/1/b";

#[test]
fn branches_join_in_their_order_whoever_is_first() {
    for order in [[(A, 1), (B, 2)], [(B, 2), (A, 1)]] {
        let definition = two();
        let begun = start(&definition, json!({"x": 1}));
        assert_eq!(asked(&begun), [A, B]);
        assert_eq!(begun.state.branches(), 3);
        let events = order.map(|(id, n)| done(id, json!(n)));
        let end = after_events(&definition, json!({"x": 1}), events.into());
        assert_eq!(completed(&end), &json!({"got": [1, 2]}));
    }
}

#[test]
fn the_first_to_complete_wins_and_the_others_are_withdrawn() {
    let definition = define(json!({"do": [{"f": {"fork": {"compete": true, "branches": [
        {"a": sql("a")}, {"b": {"do": [{"w": {"wait": "PT1M"}}]}}, {"c": sql("c")}]}}},
        {"last": sql("l")}]}));
    let begun = start(&definition, json!({}));
    let c = "/do/0/f/fork/branches/2/c";
    let won = step(&definition, Some(begun.state), done(c, json!("won")));
    let wait = "/do/0/f/fork/branches/1/b/do/0/w";
    let cleared = Command::ClearTimer { step: wait.into() };
    assert!(won.commands.contains(&cleared), "{:?}", won.commands);
    assert!(won.commands.contains(&Command::Withdraw { step: A.into() }));
    assert!(records(&won).contains(&(wait, "cancelled")));
    assert_eq!(asked(&won), ["/do/1/last"]);
    let late = step(&definition, Some(won.state), done(A, json!("late")));
    assert_eq!(late.ignored, Some(Ignored::NotAwaited));
}

#[test]
fn a_winner_that_needs_nothing_leaves_no_request_behind() {
    let definition = define(json!({"do": [{"f": {"fork": {"compete": true, "branches": [
        {"a": sql("a")}, {"b": {"set": {"n": 1}}}]}}}, {"w": sql("w")}]}));
    let begun = start(&definition, json!({}));
    assert_eq!(asked(&begun), ["/do/1/w"]);
    assert!(!begun.commands.iter().any(|c| matches!(c, Command::Withdraw { .. })));
}

#[test]
fn a_failing_branch_fails_the_fork_and_stops_its_brothers() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"f": {"fork": {"branches": [{"a": sql("a")}, {"b": sql("b")}]}}}],
        "catch": {"do": [{"h": {"set": {"where": "${ $error.instance }"}}}]}}}]}));
    let (a, b) = ("/do/0/t/try/0/f/fork/branches/0/a", "/do/0/t/try/0/f/fork/branches/1/b");
    let begun = start(&definition, json!({}));
    assert_eq!(asked(&begun), [a, b]);
    let end = step(&definition, Some(begun.state), failed(b, "communication"));
    assert_eq!(completed(&end), &json!({"where": b}));
    let seen = records(&end);
    assert!(seen.contains(&(a, "cancelled")) && seen.contains(&(b, "faulted")), "{seen:?}");
    assert!(seen.contains(&("/do/0/t/try/0/f", "faulted")), "{seen:?}");
}

#[test]
fn of_competing_branches_all_must_fail() {
    let definition = define(json!({"do": [{"f": {"fork": {"compete": true, "branches": [
        {"a": sql("a")}, {"b": sql("b")}]}}}]}));
    let begun = start(&definition, json!({}));
    let one = step(&definition, Some(begun.state), failed(A, "runtime"));
    assert!(!one.state.is_terminal());
    let won = step(&definition, Some(one.state.clone()), done(B, json!(2)));
    assert_eq!(completed(&won), &json!(2));
    let lost = step(&definition, Some(one.state), failed(B, "timeout"));
    assert!(faulted(&lost).kind.ends_with("timeout"));
}

#[test]
fn attempts_go_on_over_branches_that_are_tried_again() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"f": {"fork": {"branches": [{"a": sql("a")}, {"b": {
            "try": [{"c": sql("c")}], "catch": {"retry": {"limit": {"attempt": {"count": 1}}}}}}]}}}],
        "catch": {"retry": {"limit": {"attempt": {"count": 3}}}}}}]}));
    let c = "/do/0/t/try/0/f/fork/branches/1/b/try/0/c";
    let attempt = |now: &Advanced| {
        now.commands.iter().find_map(|command| match command {
            Command::Sql { step, attempt, .. } if step == c => Some(*attempt),
            _ => None,
        })
    };
    let mut now = start(&definition, json!({}));
    let mut seen = vec![attempt(&now)];
    for _ in 0..5 {
        now = step(&definition, Some(now.state), failed(c, "runtime"));
        seen.push(attempt(&now));
    }
    assert_eq!(seen, [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)]);
}

#[test]
fn branches_see_the_variables_around_them_and_have_ids_of_their_own() {
    let definition = define(json!({"do": [{"l": {
        "for": {"each": "x", "at": "i", "in": "[7, 8]"},
        "do": [{"f": {"fork": {"branches": [
            {"a": {"call": "sql", "with": {"query": "q", "params": ["${ $x + $i }"]}}},
            {"b": {"set": "${ $x }"}}]}}}]}}]}));
    let mut now = start(&definition, json!({}));
    for (turn, param) in [(0, 7), (1, 9)] {
        let id = format!("/do/0/l/do/0/f/fork/branches/0/a#{turn}");
        assert_eq!(asked(&now), [id.as_str()]);
        assert!(
            matches!(&now.commands[0], Command::Sql { params, .. } if params == &[json!(param)])
        );
        now = step(&definition, Some(now.state), done(&id, json!(0)));
    }
    assert_eq!(completed(&now), &json!([0, 8]));
}

#[test]
fn the_end_in_a_branch_is_the_end_of_the_run() {
    let definition = define(json!({"do": [{"o": {"do": [{"f": {"fork": {"branches": [
        {"a": sql("a")}, {"b": {"do": [{"x": sql("x")}, {"y": {"set": {"n": 1}, "then": "end"}}]}}]
        }}}, {"never": {"set": {}}}]}}]}));
    let x = "/do/0/o/do/0/f/fork/branches/1/b/do/0/x";
    let end = after_events(&definition, json!({}), vec![done(x, json!(1))]);
    assert_eq!(completed(&end), &json!({"n": 1}));
    assert_eq!(end.commands.len(), 1, "{:?}", end.commands);
    let seen = records(&end);
    assert!(seen.contains(&("/do/0/o/do/0/f", "completed")), "{seen:?}");
    assert!(seen.contains(&("/do/0/o/do/0/f/fork/branches/0/a", "cancelled")), "{seen:?}");
    assert!(seen.contains(&("/do/0/o", "completed")), "{seen:?}");
}
