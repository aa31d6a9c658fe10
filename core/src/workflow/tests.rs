use super::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-02T03:04:05Z";

fn define(document: Value) -> Definition {
    Definition::parse(&document, &Limits::default()).unwrap()
}

fn runtime() -> Runtime {
    Runtime {
        run_id: "r1".into(),
        workflow: "w".into(),
        started_at: NOW.into(),
        ..Runtime::default()
    }
}

fn step(definition: &Definition, state: Option<State>, event: Event) -> Advanced {
    let advanced = advance(definition, &runtime(), state, event, NOW).unwrap();
    // What is stored must come back the same.
    let text = serde_json::to_string(&advanced.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), advanced.state);
    advanced
}

fn start(definition: &Definition, input: Value) -> Advanced {
    step(definition, None, Event::Start { input })
}

/// The output of a workflow that needs nothing from outside.
fn output(tasks: Value, input: Value) -> Value {
    match start(&define(json!({"do": tasks})), input).commands.pop() {
        Some(Command::Complete { output }) => output,
        other => panic!("{other:?}"),
    }
}

fn fault(tasks: Value, input: Value) -> WorkflowError {
    match start(&define(json!({"do": tasks})), input).commands.pop() {
        Some(Command::Fault { error }) => error,
        other => panic!("{other:?}"),
    }
}

fn problems(document: Value) -> Vec<(String, &'static str, String)> {
    let found = Definition::parse(&document, &Limits::default()).unwrap_err();
    found.into_iter().map(|p| (p.pointer, p.code, p.hint.unwrap_or_default())).collect()
}

fn done(step: &str, output: Value) -> Event {
    Event::Done { step: step.into(), output }
}

fn failed(step: &str, kind: &str) -> Event {
    Event::Failed { step: step.into(), error: WorkflowError::standard(kind, "t", "d") }
}

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
    for event in [done("/do/0/q", json!(2)), Event::Cancelled] {
        let same = step(&definition, Some(end.state.clone()), event);
        assert_eq!((same.state, same.commands), (end.state.clone(), vec![]));
    }
    assert!(advance(&definition, &runtime(), None, Event::Cancelled, NOW).is_err());
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
            [Command::Wait {
                step: "/do/0/t".into(),
                name: "t".into(),
                for_ms: delay,
                retry: true
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
    assert!(matches!(now.commands[..], [Command::Wait { for_ms: 300_000, retry: false, .. }]));
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
    let now = step(&definition, Some(now.state), Event::Cancelled);
    assert_eq!(now.commands, [Command::Cancel]);
    assert_eq!(now.records[0].status, "cancelled");
}

#[test]
fn endless_loops_and_growing_states_end() {
    let tasks = json!([{"a": {"set": {"n": 1}, "then": "a"}}]);
    assert_eq!(fault(tasks, json!({})).title.as_deref(), Some("Too many tasks"));
    let limits = Limits { max_state_bytes: 1_000, ..Limits::default() };
    let document =
        json!({"do": [{"a": {"set": {"x": "${ \"y\" * 2000 }"}}}, {"w": {"wait": "PT1S"}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let end = start(&definition, json!({}));
    assert!(matches!(&end.commands[..], [Command::Fault { .. }]) && end.state.is_terminal());
}

#[test]
fn problems_name_place_code_and_way_out() {
    let found = problems(json!({"do": [
        {"a": {"swich": []}},
        {"b": {"fork": {"branches": []}}},
        {"c": {"call": "sql", "with": {"query": "SELECT ${ .x }", "parms": []}}},
        {"d": {"set": {"x": "${ .a + }"}, "then": "bb"}},
        {"e": {"call": "grpc", "with": {}}},
        {"f": {"wait": {"minuts": 5}}},
        {"g": {"set": {"x": "Hello ${ .a }"}}},
        {"h": {"call": "sql", "with": {"query": "${ .sql }"}}},
        {"a": {"set": {}}},
        {"i": {"call": "sql", "with": {"function": "f(); drop table x"}}}
    ], "schedule": {}, "ouput": {}}));
    let expect = [
        ("/schedule", "unsupported_task"),
        ("/ouput", "unknown_key"),
        ("/do/0/a/swich", "unknown_task"),
        ("/do/1/b/fork", "unsupported_task"),
        ("/do/2/c/with/parms", "unknown_key"),
        ("/do/3/d/set/x", "invalid_expression"),
        ("/do/3/d/then", "unknown_task"),
        ("/do/4/e/call", "unsupported_task"),
        ("/do/5/f/wait", "invalid_duration"),
        ("/do/6/g/set/x", "partial_expression"),
        ("/do/7/h/with/query", "not_constant"),
        ("/do/8", "duplicate_name"),
        ("/do/9/i/with/function", "invalid_name"),
    ];
    for (pointer, code) in expect {
        let hit = found.iter().find(|(p, c, _)| p == pointer && *c == code);
        assert!(hit.is_some_and(|(_, _, hint)| !hint.is_empty()), "{pointer} {code} in {found:#?}");
    }
    let ouput = found.iter().find(|(p, ..)| p == "/ouput").unwrap();
    assert_eq!(ouput.2, "Did you mean \"output\"?");
}

#[test]
fn variables_are_checked_where_they_are_used() {
    let found = problems(json!({"do": [
        {"a": {"set": {"x": "${ $item }"}}},
        {"b": {"if": "$output.x", "set": {}}},
        {"c": {"for": {"each": "context", "in": "."}, "do": [{"x": {"set": {}}}]}}
    ]}));
    let codes: Vec<_> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert_eq!(
        codes,
        [
            ("/do/0/a/set/x", "invalid_expression"),
            ("/do/1/b/if", "unknown_variable"),
            ("/do/2/c/for/each", "invalid_name")
        ]
    );
}

/// A small generator of numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (below.max(1) as u64)).unwrap()
    }
}

fn sample() -> Value {
    json!({"use": {"retries": {"r": {"delay": "PT1S", "limit": {"attempt": {"count": 2}}}}}, "do": [
        {"a": {"set": {"list": [1, 2], "n": "${ .n }"}, "export": {"as": "."}}},
        {"l": {"for": {"each": "x", "in": ".list"}, "do": [
            {"q": {"call": "sql", "with": {"query": "q", "params": ["${ $x }"]},
                   "output": {"as": "{list: [3], n: .}"}}}]}},
        {"t": {"try": [{"h": {"call": "http", "with": {"method": "get", "endpoint": "https://x.org"}}},
                       {"z": {"raise": {"error": {"type": "https://e.org", "status": 500}}}}],
               "catch": {"retry": "r", "do": [{"w": {"wait": {"seconds": 1}}}]}}},
        {"s": {"switch": [{"y": {"when": ".n == 1", "then": "a"}}, {"z": {"then": "end"}}]}}
    ]})
}

fn mutate(value: &mut Value, dice: &mut Dice) {
    let odd = [
        json!(null),
        json!("${"),
        json!("${ $x }"),
        json!([]),
        json!({}),
        json!(-1),
        json!("end"),
        json!({"do": []}),
        json!(1e300),
        json!("é\u{0}~/"),
        json!([[]]),
        json!(true),
    ];
    if dice.roll(4) == 0 {
        *value = odd[dice.roll(odd.len())].clone();
        return;
    }
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = dice.roll(items.len());
            mutate(&mut items[at], dice);
        }
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(dice.roll(map.len())).unwrap().clone();
            match dice.roll(5) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(
                    ["do", "for", "try", "call", "x"][dice.roll(5)].into(),
                    odd[dice.roll(odd.len())].clone(),
                )),
                _ => mutate(&mut map[&key], dice),
            }
        }
        other => *other = odd[dice.roll(odd.len())].clone(),
    }
}

#[test]
fn no_document_panics_and_none_is_refused_without_a_reason() {
    let (mut dice, mut refused) = (Dice(42), 0);
    for _ in 0..60 {
        let mut document = sample();
        for _ in 0..=dice.roll(3) {
            mutate(&mut document, &mut dice);
        }
        if let Err(found) = Definition::parse(&document, &Limits::default()) {
            assert!(!found.is_empty(), "{document}");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn random_events_never_panic_and_ends_are_final() {
    let definition = define(sample());
    let (mut dice, mut ends) = (Dice(7), 0);
    for _ in 0..40 {
        let mut state = start(&definition, json!({"n": 1})).state;
        for _ in 0..40 {
            let pending = state.pending_step().unwrap_or("/do/0/a").to_owned();
            let id = if dice.roll(4) == 0 { "/do/1/l/do/0/q#0".to_owned() } else { pending };
            let event = match dice.roll(9) {
                0 => Event::Start { input: json!(1) },
                1 | 2 => failed(&id, "communication"),
                3 | 4 => Event::TimerFired { step: id },
                5 if dice.roll(9) == 0 => Event::Cancelled,
                _ => done(&id, json!(dice.roll(3))),
            };
            let before = state.clone();
            let advanced = step(&definition, Some(state), event);
            if before.is_terminal() {
                assert_eq!((&advanced.state, advanced.commands.len()), (&before, 0));
            } else {
                let ended = advanced.commands.iter().any(|c| {
                    matches!(c, Command::Complete { .. } | Command::Fault { .. } | Command::Cancel)
                });
                assert_eq!(ended, advanced.state.is_terminal());
                assert_eq!(advanced.state.pending_step().is_none(), ended);
                ends += usize::from(ended);
            }
            state = advanced.state;
        }
    }
    assert!(ends > 5, "{ends}");
}

#[test]
fn a_stored_state_tells_its_command_again() {
    let definition = define(json!({"do": [
        {"for": {"for": {"each": "n", "in": "[7, 8]"}, "do": [
            {"q": {"call": "sql", "with": {"query": "SELECT $1", "params": ["${ $n }"]}}}]}},
        {"w": {"wait": {"seconds": 5}}}
    ]}));
    let again = |advanced: &Advanced| {
        pending_command(&definition, &runtime(), &advanced.state, NOW).unwrap()
    };
    let mut advanced = start(&definition, json!({}));
    for _ in 0..3 {
        assert_eq!(again(&advanced).as_ref(), advanced.commands.last());
        let id = advanced.state.pending_step().unwrap().to_owned();
        let event = match advanced.commands.last() {
            Some(Command::Wait { .. }) => Event::TimerFired { step: id },
            _ => done(&id, json!(1)),
        };
        advanced = step(&definition, Some(advanced.state), event);
    }
    assert!(advanced.state.is_terminal());
    assert_eq!(again(&advanced), None);
}
