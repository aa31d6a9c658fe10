use super::*;
use serde_json::{Value, json};

const L: &str = "/do/0/l";

fn listening(to: Value, more: Value) -> Definition {
    let mut task = json!({"listen": {"to": to}});
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    define(json!({"do": [{"l": task}]}))
}

fn heard(kind: &str, data: Value) -> Event {
    let event = json!({"type": kind, "source": "urn:s", "id": "1", "data": data});
    Event::Heard { step: L.into(), event }
}

#[test]
fn one_event_that_fits_ends_it() {
    let to =
        json!({"one": {"with": {"type": "paid", "data": "${ .order == $workflow.input.id }"}}});
    let definition = listening(to, json!({}));
    let begun = start(&definition, json!({"id": 5}));
    match &begun.commands[..] {
        [Command::Listen { wants, .. }] => assert_eq!(wants[0].event_type.as_deref(), Some("paid")),
        other => panic!("{other:?}"),
    }
    assert_eq!(begun.state.status, Status::Waiting);
    for other in [heard("sent", json!({"order": 5})), heard("paid", json!({"order": 6}))] {
        let same = step(&definition, Some(begun.state.clone()), other);
        assert_eq!((same.ignored, &same.state), (Some(Ignored::NotWanted), &begun.state));
    }
    let end = step(&definition, Some(begun.state), heard("paid", json!({"order": 5})));
    assert_eq!((completed(&end), end.ignored), (&json!([{"order": 5}]), None));
}

#[test]
fn odd_events_are_not_wanted_rather_than_errors() {
    let to = json!({"one": {"with": {"data": "${ .a.b > 1 }"},
        "correlate": {"k": {"from": ".data | keys"}}}});
    let definition = listening(to, json!({}));
    let begun = start(&definition, json!({}));
    for data in [json!("text"), json!([1]), json!(null)] {
        let same = step(&definition, Some(begun.state.clone()), heard("x", data));
        assert_eq!(same.ignored, Some(Ignored::NotWanted));
    }
}

#[test]
fn names_may_be_patterns_and_dots_are_dots() {
    let begin = |kind: &str| listening(json!({"one": {"with": {"type": kind}}}), json!({}));
    for (pattern, kind, fits) in [
        ("order.paid", "order.paid", true),
        ("order.paid", "orderXpaid", false),
        ("order\\..*", "order.paid", true),
        ("order\\..*", "reorder.paid", false),
        ("a+b(", "a+b(", true),
        ("a+b(", "aab", false),
    ] {
        let definition = begin(pattern);
        let begun = start(&definition, json!({}));
        let next = step(&definition, Some(begun.state), heard(kind, json!({})));
        assert_eq!(next.ignored.is_none(), fits, "{pattern} {kind}");
    }
}

#[test]
fn all_need_an_event_each_and_share_what_correlates() {
    let filter =
        |kind: &str| json!({"with": {"type": kind}, "correlate": {"room": {"from": ".data.room"}}});
    let definition = listening(json!({"all": [filter("a"), filter("b")]}), json!({}));
    let begun = start(&definition, json!({}));
    let now = step(&definition, Some(begun.state), heard("b", json!({"room": 7, "n": 1})));
    assert!(!now.state.is_terminal());
    for stray in
        [heard("b", json!({"room": 7})), heard("a", json!({"room": 8})), heard("a", json!({}))]
    {
        let same = step(&definition, Some(now.state.clone()), stray);
        assert_eq!(same.ignored, Some(Ignored::NotWanted));
    }
    let end = step(&definition, Some(now.state), heard("a", json!({"room": 7})));
    assert_eq!(completed(&end), &json!([{"room": 7, "n": 1}, {"room": 7}]));
}

#[test]
fn what_is_expected_is_told_beforehand() {
    let to = json!({"any": [{"with": {"type": "a"}, "correlate":
        {"id": {"from": ".data.id", "expect": "${ .order }"}}}]});
    let definition = listening(to, json!({}));
    let begun = start(&definition, json!({"order": 5}));
    match &begun.commands[..] {
        [Command::Listen { wants, .. }] => {
            assert_eq!(wants[0].correlate, [("id".to_owned(), json!(5))]);
        }
        other => panic!("{other:?}"),
    }
    let same = step(&definition, Some(begun.state.clone()), heard("a", json!({"id": 6})));
    assert_eq!(same.ignored, Some(Ignored::NotWanted));
    let end = step(&definition, Some(begun.state), heard("a", json!({"id": 5})));
    assert_eq!(completed(&end), &json!([{"id": 5}]));
}

#[test]
fn any_goes_on_until_a_condition_or_an_event() {
    let any = json!([{"with": {"type": "t"}}]);
    let counted = listening(json!({"any": any, "until": "(. | length) == 2"}), json!({}));
    let events = vec![heard("t", json!(1)), heard("t", json!(2))];
    assert_eq!(completed(&after_events(&counted, json!({}), events)), &json!([1, 2]));
    let stopped =
        listening(json!({"any": any, "until": {"one": {"with": {"type": "stop"}}}}), json!({}));
    let events = vec![heard("t", json!(1)), heard("t", json!(2)), heard("stop", json!(3))];
    assert_eq!(completed(&after_events(&stopped, json!({}), events)), &json!([1, 2]));
}

#[test]
fn each_event_is_handled_after_the_one_before() {
    let each = json!({"foreach": {"item": "e", "at": "i", "output": {"as": "{got: ., i: $i}"},
        "export": {"as": "{last: $e}"},
        "do": [{"q": {"call": "sql", "with": {"query": "q", "params": ["${ $e }"]}}}]}});
    let definition = listening(json!({"any": [], "until": "(. | length) == 2"}), each);
    let begun = start(&definition, json!({}));
    let one = step(&definition, Some(begun.state), heard("x", json!("first")));
    let q = |n| format!("/do/0/l/foreach/do/0/q#{n}");
    assert_eq!(asked(&one), [q(0)]);
    let two = step(&definition, Some(one.state), heard("y", json!("second")));
    assert_eq!((asked(&two).len(), two.ignored), (0, None));
    let more = step(&definition, Some(two.state.clone()), heard("z", json!("third")));
    assert_eq!(more.ignored, Some(Ignored::NotWanted));
    let two = step(&definition, Some(two.state), done(&q(0), json!("A")));
    assert_eq!(asked(&two), [q(1)]);
    let end = step(&definition, Some(two.state), done(&q(1), json!("B")));
    assert_eq!(completed(&end), &json!([{"got": "A", "i": 0}, {"got": "B", "i": 1}]));
}

#[test]
fn listening_for_ever_grows_nothing() {
    let each = json!({"foreach": {"do": [{"s": {"set": "${ $item }"}}]}});
    let definition = listening(json!({"any": [], "until": "${ false }"}), each);
    let mut now = start(&definition, json!({}));
    let mut sizes = Vec::new();
    for _ in 0..120 {
        now = step(&definition, Some(now.state), heard("x", json!("some text")));
        assert_eq!(now.ignored, None);
        sizes.push(serde_json::to_string(&now.state).unwrap().len());
    }
    assert!(sizes[119] <= sizes[9] + 8, "{sizes:?}");
}

#[test]
fn listening_ends_with_its_time_and_says_so() {
    let to = json!({"one": {"with": {"type": "t"}}});
    let definition = listening(to, json!({"timeout": {"after": "PT1M"}}));
    let begun = start(&definition, json!({}));
    assert!(matches!(
        begun.commands[1],
        Command::SetTimer { for_ms: 60_000, why: Why::Timeout, .. }
    ));
    let again = pending_commands(&definition, &runtime(), &begun.state, NOW).unwrap();
    assert_eq!(again, begun.commands);
    let end = step(&definition, Some(begun.state), fired(L));
    assert!(faulted(&end).kind.ends_with("timeout"));
}

#[test]
fn listening_that_fails_stops_what_handles_an_event() {
    let each = json!({"foreach": {"do": [{"q": sql("q")}]}});
    let definition = listening(json!({"any": [], "until": "${ false }"}), each);
    let begun = start(&definition, json!({}));
    let now = step(&definition, Some(begun.state), heard("x", json!(1)));
    let end = step(&definition, Some(now.state), failed(L, "runtime"));
    assert_eq!(faulted(&end).instance.as_deref(), Some(L));
    assert!(records(&end).contains(&("/do/0/l/foreach/do/0/q#0", "cancelled")));
}
