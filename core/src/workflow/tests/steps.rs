use super::*;
use serde_json::json;

#[test]
fn raise_faults_with_its_instance() {
    let document = json!({"use": {"errors": {"no": {"type": "https://e.org/no", "status": 403,
        "title": "No"}}}, "do": [{"r": {"raise": {"error": "no"}}}]});
    match &start(&define(document), json!({})).commands[..] {
        [Command::Fault { error }] => {
            assert_eq!((error.status, error.kind.as_str()), (403, "https://e.org/no"));
            assert_eq!(error.instance.as_deref(), Some("/do/0/r"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn failing_expressions_can_be_caught() {
    let tasks = json!([{"t": {"try": [{"bad": {"set": {"x": "${ .a + {} }"}}}],
        "catch": {"errors": {"with": {
            "type": "https://serverlessworkflow.io/spec/1.0.0/errors/expression"}},
            "as": "e", "do": [{"h": {"set": {"where": "${ $e.instance }", "a": "${ .a }"}}}]}}}]);
    assert_eq!(output(tasks, json!({"a": 1})), json!({"where": "/do/0/t/try/0/bad", "a": 1}));
    let tasks = json!([{"t": {"try": [{"bad": {"set": {"x": "${ error }"}}}], "catch": {}}}]);
    assert_eq!(output(tasks, json!({"a": 1})), json!({"a": 1}));
    let tasks = json!([{"t": {"try": [{"bad": {"set": {"x": "${ error(\"boom\") }"}}}],
        "catch": {"when": "$error.status == 503"}}}]);
    assert_eq!(fault(tasks, json!({})).detail.as_deref(), Some("boom"));
}

#[test]
fn sql_waits_and_its_result_flows_on() {
    let definition = define(json!({"do": [
        {"q": {"call": "sql", "with": {"query": "SELECT $1", "params": ["${ .id }"],
               "result": "one", "expect": "one"}, "timeout": {"after": "PT2S"}}},
        {"f": {"call": "sql", "with": {"function": "shop.Ship", "args": {"order_id": "${ .n }"}}}}
    ]}));
    let first = start(&definition, json!({"id": 5}));
    assert_eq!(
        first.commands,
        [Command::Sql {
            step: "/do/0/q".into(),
            name: "q".into(),
            attempt: 1,
            statement: "SELECT $1".into(),
            params: vec![json!(5)],
            result: ResultShape::One,
            expect: Expect::One,
            timeout_ms: Some(2000),
        }]
    );
    let second = step(&definition, Some(first.state), done("/do/0/q", json!({"n": 6})));
    assert_eq!(second.records[0].status, "completed");
    match &second.commands[..] {
        [Command::Sql { statement, params, .. }] => {
            assert_eq!(statement, "SELECT \"shop\".\"Ship\"(\"order_id\" => $1)");
            assert_eq!(params, &[json!(6)]);
        }
        other => panic!("{other:?}"),
    }
    let last = step(&definition, Some(second.state), done("/do/1/f", json!([])));
    assert_eq!(last.commands, [Command::Complete { output: json!([]) }]);
    assert_eq!(definition.effects().count(), 2);
}

#[test]
fn stale_events_change_nothing() {
    let definition = define(json!({"do": [{"q": {"call": "sql", "with": {"query": "x"}}}]}));
    let first = start(&definition, json!({}));
    for event in [
        done("/do/0/other", json!(1)),
        Event::TimerFired { step: "/do/0/q".into() },
        Event::Start { input: json!(1) },
        failed("/do/9/q", "runtime"),
    ] {
        let same = step(&definition, Some(first.state.clone()), event);
        assert_eq!(
            (same.state, same.commands.len(), same.records.len()),
            (first.state.clone(), 0, 0)
        );
    }
    let end = step(&definition, Some(first.state), done("/do/0/q", json!(1)));
    for event in [done("/do/0/q", json!(2)), Event::Cancelled { compensate: false }] {
        let same = step(&definition, Some(end.state.clone()), event);
        assert_eq!((same.state, same.commands), (end.state.clone(), vec![]));
    }
    assert!(
        advance(&definition, &runtime(), None, Event::Cancelled { compensate: false }, NOW)
            .is_err()
    );
}

#[test]
fn retry_backs_off_then_gives_up_to_the_handler() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"q": {"call": "sql", "with": {"query": "x"}}}],
        "catch": {"retry": {"delay": {"seconds": 2}, "backoff": {"exponential": {}},
                            "limit": {"attempt": {"count": 2}}},
                  "do": [{"h": {"set": {"gave": "up"}}}]}}}]}));
    let mut now = start(&definition, json!({}));
    for (attempt, delay) in [(1, 2_000), (2, 4_000)] {
        let q = "/do/0/t/try/0/q";
        assert!(matches!(&now.commands[..], [Command::Sql { attempt: a, .. }] if *a == attempt));
        now = step(&definition, Some(now.state), failed(q, "communication"));
        assert_eq!(now.state.status, Status::Waiting);
        assert_eq!(
            now.commands,
            [Command::SetTimer {
                step: "/do/0/t".into(),
                name: "t".into(),
                for_ms: delay,
                why: Why::Retry
            }]
        );
        now = step(&definition, Some(now.state), Event::TimerFired { step: "/do/0/t".into() });
    }
    now = step(&definition, Some(now.state), failed("/do/0/t/try/0/q", "communication"));
    assert_eq!(now.commands, [Command::Complete { output: json!({"gave": "up"}) }]);
}

#[test]
fn retry_without_handler_faults_with_the_last_error() {
    let definition = define(json!({"do": [{"t": {
        "try": [{"q": {"call": "sql", "with": {"query": "x"}}}],
        "catch": {"retry": {"limit": {"attempt": {"count": 1}}}}}}]}));
    let now = start(&definition, json!({}));
    let now = step(&definition, Some(now.state), failed("/do/0/t/try/0/q", "timeout"));
    assert!(matches!(&now.commands[..], [Command::Sql { attempt: 2, .. }]));
    let now = step(&definition, Some(now.state), failed("/do/0/t/try/0/q", "timeout"));
    match &now.commands[..] {
        [Command::Fault { error }] => {
            assert_eq!(error.instance.as_deref(), Some("/do/0/t/try/0/q"));
        }
        other => panic!("{other:?}"),
    }
    let faulted: Vec<&str> = now.records.iter().map(|r| r.step.as_str()).collect();
    assert_eq!(faulted, ["/do/0/t/try/0/q", "/do/0/t"]);
}

#[test]
fn wait_notify_http_and_emit() {
    let definition = define(json!({"do": [
        {"w": {"wait": {"minutes": "${ .m }"}}},
        {"e": {"emit": {"event": {"with": {"type": "a.b", "source": "urn:x", "data": {"m": "${ .m }"}}}},
               "output": {"as": "{m: .data.m}"}}},
        {"n": {"call": "notify", "with": {"template": "paid", "to": "${ .m }", "data": {"a": 1}},
               "output": {"as": "{id: \"a/b\"}"}}},
        {"h": {"call": "http", "with": {"method": "post", "endpoint": "https://x.org/{id}",
               "headers": {"H": "${ .id }"}, "body": {"k": 1}, "output": "response"}}}
    ]}));
    let now = start(&definition, json!({"m": 5}));
    assert!(matches!(
        now.commands[..],
        [Command::SetTimer { for_ms: 300_000, why: Why::Wait, .. }]
    ));
    let now = step(&definition, Some(now.state), Event::TimerFired { step: "/do/0/w".into() });
    match &now.commands[..] {
        [Command::Emit { event, .. }, Command::Notify { arguments, .. }] => {
            assert_eq!(event["id"], "r1/do/1/e");
            assert_eq!(arguments, &json!({"template": "paid", "to": 5, "data": {"a": 1}}));
        }
        other => panic!("{other:?}"),
    }
    let now = step(&definition, Some(now.state), done("/do/2/n", json!(null)));
    match &now.commands[..] {
        [Command::Http { url, method, headers, body, output, .. }] => {
            assert_eq!((url.as_str(), method.as_str()), ("https://x.org/a%2Fb", "POST"));
            assert_eq!((headers, body), (&json!({"H": "a/b"}), &Some(json!({"k": 1}))));
            assert_eq!(*output, HttpOutput::Response);
        }
        other => panic!("{other:?}"),
    }
    let now = step(&definition, Some(now.state), Event::Cancelled { compensate: false });
    assert_eq!(now.commands, [Command::Cancel]);
    assert_eq!(now.records[0].status, "cancelled");
}

#[test]
fn endless_loops_and_growing_states_end() {
    let tasks = json!([{"a": {"set": {"n": 1}, "then": "a"}}]);
    let limits = Limits { max_executed: 1_000, ..Limits::default() };
    let endless = Definition::parse(&json!({"do": tasks}), &limits).unwrap();
    match start(&endless, json!({})).commands.pop() {
        Some(Command::Fault { error }) => {
            assert_eq!(error.title.as_deref(), Some("Too many tasks"))
        }
        other => panic!("{other:?}"),
    }
    let limits = Limits { max_state_bytes: 1_000, ..Limits::default() };
    let document =
        json!({"do": [{"a": {"set": {"x": "${ \"y\" * 2000 }"}}}, {"w": {"wait": "PT1S"}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let end = start(&definition, json!({}));
    assert!(matches!(&end.commands[..], [Command::Fault { .. }]) && end.state.is_terminal());
}

#[test]
fn a_stored_state_tells_its_command_again() {
    let definition = define(json!({"do": [
        {"for": {"for": {"each": "n", "in": "[7, 8]"}, "do": [
            {"q": {"call": "sql", "with": {"query": "SELECT $1", "params": ["${ $n }"]}}}]}},
        {"w": {"wait": {"seconds": 5}}}
    ]}));
    let again = |advanced: &Advanced| {
        pending_commands(&definition, &runtime(), &advanced.state, NOW).unwrap()
    };
    let mut advanced = start(&definition, json!({}));
    for _ in 0..3 {
        assert_eq!(again(&advanced), advanced.commands[advanced.commands.len() - 1..]);
        let id = advanced.state.pending_step().unwrap().to_owned();
        let event = match advanced.commands.last() {
            Some(Command::SetTimer { .. }) => Event::TimerFired { step: id },
            _ => done(&id, json!(1)),
        };
        advanced = step(&definition, Some(advanced.state), event);
    }
    assert!(advanced.state.is_terminal());
    assert_eq!(again(&advanced), []);
}
