//! Advice on documents with figures.

use super::*;
use crate::workflow::{Definition, Limits};
use serde_json::{Value, json};

/// Figures of steps: their pointers and shares of runs of 100 ms.
fn figures(shares: &[(&str, f64)]) -> Figures {
    let step = |share: f64| Step {
        runs: 50,
        attempts: 50,
        p50_ms: Some(share * 100.0),
        p99_ms: Some(share * 200.0),
        share: Some(share),
        errors: Vec::new(),
    };
    let steps = shares.iter().map(|(pointer, share)| ((*pointer).to_owned(), step(*share)));
    Figures { runs: 50, run_ms: 100.0, steps: steps.collect() }
}

fn of<'a>(found: &'a [Advice], kind: &str) -> Option<&'a Advice> {
    found.iter().find(|advice| advice.advice == kind)
}

fn get(path: &str) -> Value {
    json!({"call": "http", "with": {"method": "get", "endpoint": format!("https://example.com/{path}")}})
}

/// Carries out a JSON Patch, and checks that the outcome is a workflow.
fn patched(document: &Value, patch: Option<&Value>) -> Value {
    let mut document = document.clone();
    for change in patch.and_then(Value::as_array).unwrap() {
        let path = change["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Array(items) if change["op"] == "remove" => {
                items.remove(key.parse().unwrap());
            }
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = change["value"].clone(),
            Value::Object(map) => {
                assert!(map.insert(key.to_owned(), change["value"].clone()).is_some(), "{path}");
            }
            _ => panic!("{path} is not there"),
        }
    }
    if let Err(problems) = Definition::parse(&document, &Limits::default()) {
        panic!("{problems:?}");
    }
    document
}

#[test]
fn readers_that_need_nothing_of_one_another_go_side_by_side() {
    let document = json!({"do": [{"a": get("a")}, {"b": get("b")}, {"c": get("c")},
                                 {"last": {"set": {"all": "${ . }"}}}]});
    let found =
        advise(&document, &figures(&[("/do/0/a", 0.4), ("/do/1/b", 0.3), ("/do/2/c", 0.2)]));
    let advice = of(&found, "parallel").unwrap();
    assert_eq!(advice.step.as_deref(), Some("/do/0/a"));
    assert!(advice.evidence.contains("take 90 ms of a run of 100 ms, side by side about 40 ms"));
    let better = patched(&document, advice.change.as_ref());
    assert_eq!(
        better["do"],
        json!([{"together": {"fork": {"branches": [{"a": get("a")}, {"b": get("b")}, {"c": get("c")}]},
                             "output": {"as": "${ .[2] }"}}},
               {"last": {"set": {"all": "${ . }"}}}])
    );
}

#[test]
fn what_depends_on_the_step_before_it_stays_where_it_is() {
    let with = |endpoint: &str, more: Value| {
        let mut task = get("");
        task["with"]["endpoint"] = endpoint.into();
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    };
    let plain = "https://example.com/b";
    let dependent = [
        with("https://example.com/{id}", json!({})),
        with("${ .url }", json!({})),
        with("${ $input.url }", json!({})),
        with(plain, json!({"input": {"from": "${ .x }"}})),
        with(plain, json!({"input": {"schema": {"document": {"type": "object"}}}})),
        with(plain, json!({"if": "${ $context.x }"})),
        with(plain, json!({"export": {"as": "${ . }"}})),
        with(plain, json!({"then": "end"})),
        json!({"call": "http", "with": {"method": "post", "endpoint": plain}}),
        json!({"call": "sql", "with": {"query": "INSERT INTO t VALUES (1)"}}),
        json!({"call": "sql", "with": {"query": "SELECT 1; DELETE FROM t"}}),
        json!({"call": "sql", "with": {"query": "SELECT * FROM t FOR UPDATE"}}),
        json!({"call": "sql", "with": {"query": "SELECT $1::int", "params": ["${ .x }"]}}),
    ];
    for task in dependent {
        let document = json!({"do": [{"a": get("a")}, {"b": task}]});
        let found = advise(&document, &figures(&[("/do/0/a", 0.5), ("/do/1/b", 0.5)]));
        assert_eq!(of(&found, "parallel"), None, "{task}");
    }
    // The same, but of $context alone.
    let document = json!({"do": [{"a": get("a")}, {"b": with("${ $context.url }", json!({}))}]});
    let found = advise(&document, &figures(&[("/do/0/a", 0.5), ("/do/1/b", 0.5)]));
    assert!(of(&found, "parallel").is_some());
    // Somebody jumps there.
    let document =
        json!({"do": [{"a": get("a")}, {"b": get("b")}, {"c": {"set": {"x": 1}, "then": "b"}}]});
    let found = advise(&document, &figures(&[("/do/0/a", 0.5), ("/do/1/b", 0.5)]));
    assert_eq!(of(&found, "parallel"), None);
}

#[test]
fn statements_of_a_run_gain_nothing_from_one_another() {
    let query = json!({"call": "sql", "with": {"query": "SELECT 1"}});
    let document = json!({"do": [{"a": query}, {"b": query}]});
    let shares = [("/do/0/a", 0.5), ("/do/1/b", 0.5)];
    assert_eq!(of(&advise(&document, &figures(&shares)), "parallel"), None);
    let document = json!({"do": [{"a": query}, {"b": get("b")}]});
    assert!(of(&advise(&document, &figures(&shares)), "parallel").is_some());
}

#[test]
fn the_critical_path_takes_the_longest_branch() {
    let document = json!({"do": [
        {"f": {"fork": {"branches": [{"short": get("s")}, {"long": get("l")}]}}},
        {"end": {"call": "sql", "with": {"query": "SELECT 1", "params": ["${ . }"]}}}]});
    let shares = [
        ("/do/0/f", 0.7),
        ("/do/0/f/fork/branches/0/short", 0.2),
        ("/do/0/f/fork/branches/1/long", 0.7),
        ("/do/1/end", 0.3),
    ];
    let found = advise(&document, &figures(&shares));
    let path = of(&found, "critical_path").unwrap();
    assert!(
        path.evidence.ends_with("those of the steps long 70 ms, end 30 ms"),
        "{}",
        path.evidence
    );
    let most = of(&found, "dominant_step").unwrap();
    assert_eq!(most.step.as_deref(), Some("/do/0/f/fork/branches/1/long"));
    assert!(most.evidence.starts_with("long takes 70 % of the time of 50 runs"));
}

#[test]
fn retries_of_an_error_that_stays_are_left_out() {
    let document = |retry: Value| {
        json!({"use": {"retries": {"often": {"limit": {"attempt": {"count": 5}}}}},
               "do": [{"t": {"try": [{"ask": get("x")}], "catch": {"as": "e", "retry": retry}}}]})
    };
    let with = |code: &str, wasted: u64, mended: u64| {
        let mut figures = figures(&[("/do/0/t/try/0/ask", 0.1)]);
        let errors = vec![Errors { code: code.into(), count: 12, wasted, mended }];
        figures.steps.get_mut("/do/0/t/try/0/ask").unwrap().errors = errors;
        figures
    };
    let plain = json!({"limit": {"attempt": {"count": 3}}});
    for (retry, code, except) in [
        (plain.clone(), "404", "${ $e.status == 404 }"),
        (json!("often"), "23505", "${ ($e.detail // \"\" | startswith(\"23505\")) }"),
        (
            json!({"exceptWhen": "${ $e.status == 400 }"}),
            "404",
            "${ ($e.status == 400) or $e.status == 404 }",
        ),
    ] {
        let document = document(retry);
        let found = advise(&document, &with(code, 8, 0));
        let better = patched(&document, of(&found, "wasted_retries").unwrap().change.as_ref());
        assert_eq!(better.pointer("/do/0/t/catch/retry/exceptWhen"), Some(&json!(except)));
    }
    for (code, wasted, mended) in
        [("404", 2, 0), ("404", 8, 1), ("503", 8, 0), ("429", 8, 0), ("40001", 8, 0)]
    {
        assert_eq!(
            of(&advise(&document(plain.clone()), &with(code, wasted, mended)), "wasted_retries"),
            None,
            "{code}"
        );
    }
}

#[test]
fn timeouts_are_measured_against_the_slowest() {
    let document = |after: Value| {
        let mut task = get("x");
        task["timeout"] = after;
        json!({"use": {"timeouts": {"long": {"after": "PT1H"}}}, "do": [{"ask": task}, {"last": {"set": {"a": 1}}}]})
    };
    // 99 % take at most 80 ms.
    let mut figures = figures(&[("/do/0/ask", 0.4)]);
    for (after, kind, better) in [
        (json!({"after": {"milliseconds": 90}}), "timeout_low", 1),
        (json!("long"), "timeout_high", 1),
    ] {
        let document = document(after);
        let found = advise(&document, &figures);
        let better_document = patched(&document, of(&found, kind).unwrap().change.as_ref());
        assert_eq!(
            better_document["do"][0]["ask"]["timeout"],
            json!({"after": {"seconds": better}})
        );
    }
    let calm = document(json!({"after": {"seconds": 5}}));
    let found = advise(&calm, &figures);
    assert!(of(&found, "timeout_low").or(of(&found, "timeout_high")).is_none());
    // Some were ended by it.
    let ended = Errors { code: "timeout".into(), count: 3, ..Errors::default() };
    figures.steps.get_mut("/do/0/ask").unwrap().errors = vec![ended];
    assert!(of(&advise(&calm, &figures), "timeout_low").is_some());
    // Too few attempts to say anything.
    figures.steps.get_mut("/do/0/ask").unwrap().attempts = 19;
    assert!(of(&advise(&calm, &figures), "timeout_low").is_none());
}

#[test]
fn an_index_has_what_is_equal_before_a_range() {
    let filter = |column: &str, kind| Filter { column: column.into(), kind };
    let mut scan = Scan {
        table: "public.orders".into(),
        rows: 50_000.0,
        left: 20.0,
        partitioned: false,
        filters: vec![
            filter("at", Kind::Range),
            filter("\"Who\"", Kind::Equal),
            filter("\"Who\"", Kind::Equal),
        ],
    };
    let advice = index("/do/0/a", &scan).unwrap();
    assert_eq!(
        advice.change,
        Some(json!({"sql": "CREATE INDEX CONCURRENTLY ON public.orders (\"Who\", at)"}))
    );
    scan.left = 6_000.0;
    assert_eq!(index("/do/0/a", &scan), None);
    scan = Scan { rows: 9_000.0, left: 1.0, ..scan };
    assert_eq!(index("/do/0/a", &scan), None);
    scan = Scan { rows: 90_000.0, filters: Vec::new(), ..scan };
    assert_eq!(index("/do/0/a", &scan), None);
}

#[test]
fn few_runs_say_nothing_of_time() {
    let document = json!({"do": [{"a": get("a")}, {"b": get("b")}]});
    let few = Figures { runs: 4, ..figures(&[("/do/0/a", 0.5), ("/do/1/b", 0.5)]) };
    assert_eq!(advise(&document, &few), Vec::new());
}
