use super::*;
use serde_json::json;

#[test]
fn problems_name_place_code_and_way_out() {
    let found = problems(json!({"do": [
        {"a": {"swich": []}},
        {"b": {"fork": {"branches": [], "compet": 1}}},
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
        ("/schedule", "missing_key"),
        ("/ouput", "unknown_key"),
        ("/do/0/a/swich", "unknown_task"),
        ("/do/1/b/fork/branches", "empty_list"),
        ("/do/1/b/fork/compet", "unknown_key"),
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
