use super::*;
use serde_json::json;

#[test]
fn actions_render_their_expressions() {
    let actions = parse(&json!([
        {"sql": "SELECT f($1, $2)", "params": ["${ .new.id }", "plain"]},
        {"workflow": "rebook", "input": {"flight": "${ .new }", "by": "${ .rule }"}},
        {"notify": "late", "recipients": ["mail:ops@example.com", "${ .new.mail }"]},
        {"emit": "late", "payload": "${ {minutes: (.new.delay - .old.delay)} }"},
        {"emit": "bare"},
        {"report": "daily", "params": {"from": "${ .new.id }"}},
        {"task": "rollup"}
    ]))
    .unwrap();
    let context = json!({"event": null, "rule": "r", "old": {"delay": 2},
        "new": {"id": 7, "delay": 9, "mail": "mail:a@example.com"}});
    let got: Vec<_> = actions.iter().map(|a| a.render(&context).unwrap()).collect();
    let want = [
        Rendered::Sql {
            statement: "SELECT f($1, $2)".into(),
            params: json!([7, "plain"]),
            moment: Moment::Commit,
        },
        Rendered::Workflow {
            name: "rebook".into(),
            input: json!({"flight": context["new"], "by": "r"}),
        },
        Rendered::Notify {
            template: "late".into(),
            recipients: json!(["mail:ops@example.com", "mail:a@example.com"]),
            data: json!({}),
        },
        Rendered::Emit { name: "late".into(), payload: json!({"minutes": 7}) },
        Rendered::Emit { name: "bare".into(), payload: json!({}) },
        Rendered::Report { name: "daily".into(), params: json!({"from": 7}) },
        Rendered::Task { name: "rollup".into() },
    ];
    assert_eq!(got, want);
}

#[test]
fn render_refuses_what_is_no_array() {
    let actions = parse(&json!([{"sql": "SELECT 1", "params": "${ .new.id }"}])).unwrap();
    let error = actions[0].render(&json!({"new": {"id": 7}})).unwrap_err();
    assert_eq!(error.to_string(), "\"params\" must be an array, not a number");
}

#[test]
fn parse_reports_every_problem() {
    let found = parse(&json!([
        {"sql": "SELECT 1", "parms": []},
        {"sqll": "SELECT 1"},
        {"emit": "a", "workflow": "b"},
        {},
        {"notify": "late"},
        {"workflow": " "},
        {"emit": "x", "payload": [1]},
        {"emit": "x", "payload": {"a": ["${ .new. }"]}},
        {"sql": 5},
        7,
        {"emit": "a\u{0}b"},
        {"report": "r", "params": []},
        {"task": "t", "params": {}}
    ]))
    .err()
    .unwrap();
    let places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
    let want = [
        ("/0/parms", "unknown_key"),
        ("/1/sqll", "unknown_key"),
        ("/2", "one_verb"),
        ("/3", "one_verb"),
        ("/4", "missing_key"),
        ("/5/workflow", "empty"),
        ("/6/payload", "wrong_kind"),
        ("/7/payload/a/0", "invalid_expression"),
        ("/8/sql", "wrong_kind"),
        ("/9", "wrong_kind"),
        ("/10/emit", "nul_character"),
        ("/11/params", "wrong_kind"),
        ("/12/params", "unknown_key"),
    ];
    assert_eq!(places, want);
    assert_eq!(found[0].hint.as_deref(), Some("Did you mean \"params\"?"));
    assert_eq!(found[1].hint.as_deref(), Some("Did you mean \"sql\"?"));
}

#[test]
fn the_list_itself_is_checked() {
    let code = |value| parse(&value).err().map(|p| p[0].code);
    assert_eq!(code(json!({"sql": "x"})), Some("wrong_kind"));
    assert_eq!(code(json!([])), Some("empty"));
    let many: Vec<Value> = (0..33).map(|_| json!({"emit": "x"})).collect();
    assert_eq!(code(Value::Array(many[..32].to_vec())), None);
    assert_eq!(code(Value::Array(many)), Some("too_many"));
}

#[test]
fn what_is_done_with_the_write_is_read() {
    let actions = parse(&json!([
        {"set": {"a": "new.b + 1", "n": 5, "gone": null, "yes": true}},
        {"reject": "${ \"order \\(.new.id) is too large\" }", "sqlstate": "23514", "hint": "Split it."},
        {"reject": "no"},
        {"sql": "SELECT $1", "params": [1], "timing": "transaction"},
        {"sql": "SELECT 1", "timing": "commit"}
    ]))
    .unwrap();
    let moments: Vec<Moment> = actions.iter().map(Action::moment).collect();
    use Moment::*;
    assert_eq!(moments, [Before, Before, Before, Transaction, Commit]);
    let context = json!({"new": {"id": 7}});
    let Rendered::Set { values } = actions[0].render(&context).unwrap() else { panic!() };
    let pairs: Vec<_> = values.iter().map(|v| (v.column.as_str(), v.sql.as_str())).collect();
    assert_eq!(pairs, [("a", "new.b + 1"), ("n", "5"), ("gone", "NULL"), ("yes", "true")]);
    let rejected = |index: usize| match actions[index].render(&context).unwrap() {
        Rendered::Reject(rejected) => rejected.as_defined(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        rejected(1),
        json!({"reject": "order 7 is too large", "sqlstate": "23514", "hint": "Split it."})
    );
    assert_eq!(rejected(2), json!({"reject": "no", "sqlstate": "P0001"}));
}

#[test]
fn a_request_is_rendered_as_the_courier_reads_it() {
    let actions = parse(&json!([
        {"http": {"method": "put", "url": "${ \"https://example.com/\\(.new.id)\" }", "body": {"id": "${ .new.id }"},
                  "headers": {"x-by": "${ .rule }"}, "timeout_ms": 500}},
        {"http": {"url": "https://example.com/", "query": "${ .new.name }"}}
    ]))
    .unwrap();
    let context = json!({"rule": "r", "new": {"id": 7, "name": "x"}});
    let Rendered::Http(request) = actions[0].render(&context).unwrap() else { panic!() };
    let want = json!({"method": "PUT", "url": "https://example.com/7", "headers": {"x-by": "r"}, "query": {},
                      "body": {"id": 7}, "timeout_ms": 500});
    assert_eq!(request, want);
    let error = actions[1].render(&context).unwrap_err();
    assert_eq!(error.to_string(), "\"query\" must be an object, not a string");
}

#[test]
fn problems_of_what_is_done_with_the_write_have_their_places() {
    let found = parse(&json!([
        {"set": {}},
        {"set": {"a": ["x"]}},
        {"set": 5},
        {"reject": "x", "sqlstate": "00000"},
        {"reject": "x", "detail": 5},
        {"reject": ""},
        {"sql": "SELECT 1", "timing": "transactoin"},
        {"http": {"method": "pots", "url": "https://a"}},
        {"http": {"url": "ftp://a"}},
        {"http": {"url": "https://a", "headers": [1]}},
        {"http": {"ulr": "https://a"}},
        {"http": "https://a"},
        {"set": {"a": "1"}, "reject": "x"}
    ]))
    .err()
    .unwrap();
    let places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
    let want = [
        ("/0/set", "empty"),
        ("/1/set/a", "wrong_kind"),
        ("/2/set", "wrong_kind"),
        ("/3/sqlstate", "invalid_sqlstate"),
        ("/4/detail", "wrong_kind"),
        ("/5/reject", "empty"),
        ("/6/timing", "unknown_timing"),
        ("/7/http/method", "unknown_method"),
        ("/8/http/url", "invalid_url"),
        ("/9/http/headers", "wrong_kind"),
        ("/10/http/ulr", "unknown_key"),
        ("/10/http", "missing_key"),
        ("/11/http", "wrong_kind"),
        ("/12", "one_verb"),
    ];
    assert_eq!(places, want);
    assert_eq!(found[6].hint.as_deref(), Some("Did you mean \"transaction\"?"));
}
