use super::*;
use serde_json::json;

fn later(ms: i64) -> String {
    let at =
        chrono::DateTime::parse_from_rfc3339(NOW).unwrap() + chrono::Duration::milliseconds(ms);
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn at(definition: &Definition, state: State, event: Event, ms: i64) -> Advanced {
    advance(definition, &runtime(), Some(state), event, &later(ms)).unwrap()
}

fn timers(advanced: &Advanced) -> Vec<(&str, Option<(u64, Why)>)> {
    let timer = |c| match c {
        &Command::SetTimer { ref step, for_ms, why, .. } => {
            Some((step.as_str(), Some((for_ms, why))))
        }
        Command::ClearTimer { step } => Some((step.as_str(), None)),
        _ => None,
    };
    advanced.commands.iter().filter_map(timer).collect()
}

#[test]
fn the_first_of_all_times_is_the_timer() {
    let definition = define(json!({"do": [{"o": {"timeout": {"after": "PT10S"}, "do": [
        {"w": {"wait": "PT4S"}}, {"x": {"wait": "PT30S"}}]}}, {"z": sql("z")}]}));
    let (o, w) = ("/do/0/o", "/do/0/o/do/0/w");
    let begun = start(&definition, json!({}));
    assert_eq!(timers(&begun), [(w, Some((4_000, Why::Wait)))]);
    let now = at(&definition, begun.state, fired(w), 4_000);
    assert_eq!(timers(&now), [(o, Some((6_000, Why::Timeout)))]);
    let stale = at(&definition, now.state.clone(), fired(w), 5_000);
    assert_eq!(stale.ignored, Some(Ignored::NotAwaited));
    let end = at(&definition, now.state, fired(o), 10_000);
    assert_eq!(faulted(&end).instance.as_deref(), Some(o));
    assert_eq!(faulted(&end).status, 408);
    assert_eq!(records(&end), [("/do/0/o/do/1/x", "cancelled"), (o, "faulted")]);
}

#[test]
fn the_timer_of_a_task_that_is_through_is_cleared() {
    let definition = define(json!({"do": [
        {"o": {"timeout": {"after": "PT10S"}, "do": [{"q": sql("q")}]}}, {"z": sql("z")}]}));
    let begun = start(&definition, json!({}));
    assert_eq!(timers(&begun), [("/do/0/o", Some((10_000, Why::Timeout)))]);
    let now = step(&definition, Some(begun.state), done("/do/0/o/do/0/q", json!(1)));
    assert_eq!(timers(&now), [("/do/0/o", None)]);
    let late = step(&definition, Some(now.state), fired("/do/0/o"));
    assert_eq!(late.ignored, Some(Ignored::NotAwaited));
}

#[test]
fn a_timeout_is_an_error_for_who_is_around_the_task() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"in": {"timeout": {"after": "PT1S"}, "try": [{"f": {"fork": {"branches": [
            {"a": sql("a")}, {"b": {"wait": "PT1H"}}]}}}], "catch": {}}}],
        "catch": {"errors": {"with": {"type": "https://serverlessworkflow.io/spec/1.0.0/errors/timeout"}},
                  "do": [{"h": {"set": {"late": "${ $error.instance }"}}}]}}}]}));
    let inner = "/do/0/t/try/0/in";
    let begun = start(&definition, json!({}));
    let end = step(&definition, Some(begun.state), fired(inner));
    // Its own catch clause is a part of what took too long.
    assert_eq!(completed(&end), &json!({"late": inner}));
}

#[test]
fn an_attempt_has_a_time_of_its_own() {
    let definition = define(json!({"do": [{"t": {"try": [{"q": sql("q")}], "catch": {
        "retry": {"delay": "PT1S", "limit": {"attempt": {"count": 1, "duration": "PT5S"}}},
        "do": [{"h": {"set": {"gave": "up"}}}]}}}]}));
    let (t, q) = ("/do/0/t", "/do/0/t/try/0/q");
    let begun = start(&definition, json!({}));
    assert_eq!(timers(&begun), [(t, Some((5_000, Why::AttemptTimeout)))]);
    let now = at(&definition, begun.state, fired(t), 5_000);
    assert_eq!(timers(&now), [(t, Some((1_000, Why::Retry)))]);
    assert!(now.commands.contains(&Command::Withdraw { step: q.into() }));
    let now = at(&definition, now.state, fired(t), 6_000);
    assert_eq!(
        (timers(&now), asked(&now)),
        (vec![(t, Some((5_000, Why::AttemptTimeout)))], vec![q])
    );
    let end = at(&definition, now.state, fired(t), 11_000);
    assert_eq!(completed(&end), &json!({"gave": "up"}));
}

#[test]
fn a_suspended_run_begins_nothing_and_loses_nothing() {
    let definition = define(json!({"do": [{"f": {"fork": {"branches": [
        {"a": {"do": [{"x": sql("x")}, {"y": sql("y")}]}}, {"b": {"wait": "PT1S"}},
        {"l": {"listen": {"to": {"one": {"with": {"type": "t"}}}}}}]}}}]}));
    let x = "/do/0/f/fork/branches/0/a/do/0/x";
    let (w, l) = ("/do/0/f/fork/branches/1/b", "/do/0/f/fork/branches/2/l");
    let begun = start(&definition, json!({}));
    let now = step(&definition, Some(begun.state), Event::Suspended);
    assert_eq!((now.state.status, &now.commands[..]), (Status::Suspended, &[][..]));
    let twice = step(&definition, Some(now.state.clone()), Event::Suspended);
    assert_eq!(twice.ignored, Some(Ignored::Suspended));
    let heard = Event::Heard { step: l.into(), event: json!({"type": "t", "data": 1}) };
    let now = step(&definition, Some(now.state), done(x, json!(1)));
    assert_eq!((now.ignored, now.commands.len()), (Some(Ignored::Parked), 0));
    let now = step(&definition, Some(now.state), fired(w));
    let again = step(&definition, Some(now.state.clone()), done(x, json!(2)));
    assert_eq!(again.ignored, Some(Ignored::NotAwaited));
    let same = step(&definition, Some(now.state.clone()), heard.clone());
    assert_eq!((same.ignored, &same.state), (Some(Ignored::Suspended), &now.state));
    let now = step(&definition, Some(now.state), Event::Resumed);
    assert_eq!(asked(&now), ["/do/0/f/fork/branches/0/a/do/1/y"]);
    assert_eq!(
        step(&definition, Some(now.state.clone()), Event::Resumed).ignored,
        Some(Ignored::NotSuspended)
    );
    let now = step(&definition, Some(now.state), heard);
    let end =
        step(&definition, Some(now.state), done("/do/0/f/fork/branches/0/a/do/1/y", json!(3)));
    assert_eq!(completed(&end), &json!([3, {}, [1]]));
}

#[test]
fn a_suspended_run_can_be_cancelled() {
    let definition = define(json!({"do": [{"q": sql("q")}]}));
    let now = after_events(&definition, json!({}), vec![Event::Suspended]);
    let end = step(&definition, Some(now.state), Event::Cancelled { compensate: true });
    assert_eq!(end.commands, [Command::Cancel]);
}

#[test]
fn a_timer_that_is_told_again_has_what_is_left() {
    let definition = define(json!({"do": [{"w": {"wait": "PT10S"}}]}));
    let begun = start(&definition, json!({}));
    let again: Vec<Command> =
        pending_commands(&definition, &runtime(), &begun.state, &later(4_000)).unwrap();
    assert!(matches!(again[..], [Command::SetTimer { for_ms: 6_000, .. }]), "{again:?}");
    let past = pending_commands(&definition, &runtime(), &begun.state, &later(60_000)).unwrap();
    assert!(matches!(past[..], [Command::SetTimer { for_ms: 0, .. }]), "{past:?}");
}
