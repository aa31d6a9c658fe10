use super::*;
use serde_json::json;

fn weekly() -> Value {
    json!({
        "title": "Operations since {{ params.from }}",
        "params": {"from": {"type": "date", "default": "date_trunc('week', $now)::date - 7"}},
        "datasets": {
            "runs": {"sql": "SELECT day FROM ops WHERE day >= $from", "max_rows": 1000},
            "wf": {"sql": "SELECT * FROM ops_wf($from, $now);", "timeout": "30 s"}
        },
        "layout": [
            {"title": "Runs"},
            {"text": "{{ rows.wf }} workflows"},
            {"chart": {"type": "bar", "data": "runs", "x": "day", "y": ["completed", "failed"]}},
            {"table": {"data": "wf", "columns": {"p95": {"format": "#,##0.0 ms"}},
                "totals": ["runs"], "limit": 200}}
        ],
        "formats": ["html", "csv", "text"], "locale": "de-CH", "time_zone": "Europe/Zurich",
        "on_empty": "skip"
    })
}

#[test]
fn parse_reads_the_whole_definition() {
    let found = parse(&weekly()).unwrap();
    let default = found.params[0].default.as_ref().unwrap();
    assert_eq!(default.sql, "date_trunc('week', $1)::date - 7");
    assert_eq!(default.param_names, ["now"]);
    assert_eq!(found.params[0].kind.sql_type(), "pg_catalog.date");
    assert_eq!(found.datasets[0].sql, "SELECT day FROM ops WHERE day >= $1");
    assert_eq!(found.datasets[0].max_rows, 1000);
    assert_eq!(found.datasets[1].sql, "SELECT * FROM ops_wf($1, $2)");
    assert_eq!(found.datasets[1].param_names, ["from", "now"]);
    assert_eq!((found.datasets[1].max_rows, found.datasets[1].timeout_ms), (10_000, 30_000));
    assert_eq!(found.formats, [Format::Html, Format::Csv, Format::Text]);
    assert_eq!(found.on_empty, OnEmpty::Skip);
    assert_eq!(found.csv_dataset(), Some("wf"));
    assert_eq!(found.layout.len(), 4);
}

#[test]
fn parse_reports_every_problem() {
    let found = parse(&json!({
        "titel": "x",
        "params": {"from": {"type": "dat"}, "now": {}, "a b": {}, "to": {"default": "$from"}},
        "datasets": {
            "a": {"sql": "SELECT $form", "max_rows": 0, "timeout": "1 week"},
            "b": {"sqll": "x"}
        },
        "layout": [
            {"tabel": {}},
            {"table": {"data": "c", "limit": "x", "columns": {"n": {"format": "ms"}}}},
            {"chart": {"type": "pie", "data": "a", "x": "d", "y": []}},
            {"title": "a", "text": "b"},
            {"text": "{{ rows.x }}"}
        ],
        "formats": ["pdf"], "locale": "xx", "time_zone": "Europe/Zurch", "on_empty": "never",
        "csv": {"data": "d"}
    }))
    .unwrap_err();
    let mut places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
    places.sort_unstable();
    let mut want = [
        ("", "missing_key"),
        ("/titel", "unknown_key"),
        ("/params/from/type", "unknown_type"),
        ("/params/now", "invalid_name"),
        ("/params/a b", "invalid_name"),
        ("/params/to/default", "unknown_param"),
        ("/datasets/a/sql", "unknown_param"),
        ("/datasets/a/max_rows", "out_of_range"),
        ("/datasets/a/timeout", "out_of_range"),
        ("/datasets/b", "missing_key"),
        ("/datasets/b/sqll", "unknown_key"),
        ("/layout/0/tabel", "unknown_block"),
        ("/layout/1/table/data", "unknown_dataset"),
        ("/layout/1/table/limit", "out_of_range"),
        ("/layout/1/table/columns/n/format", "invalid_format"),
        ("/layout/2/chart/type", "unknown_value"),
        ("/layout/2/chart/y", "out_of_range"),
        ("/layout/3", "one_block"),
        ("/layout/4/text", "unknown_placeholder"),
        ("/formats/0", "unknown_format"),
        ("/locale", "unknown_value"),
        ("/time_zone", "unknown_time_zone"),
        ("/on_empty", "unknown_value"),
        ("/csv/data", "unknown_dataset"),
    ];
    want.sort_unstable();
    assert_eq!(places, want);
    let hint = |at: &str| found.iter().find(|p| p.pointer == at).and_then(|p| p.hint.clone());
    assert_eq!(hint("/titel").as_deref(), Some("Did you mean \"title\"?"));
    assert_eq!(hint("/params/from/type").as_deref(), Some("Did you mean \"date\"?"));
    assert_eq!(hint("/datasets/a/sql").as_deref(), Some("Did you mean \"from\"?"));
    assert_eq!(hint("/time_zone").as_deref(), Some("Did you mean \"Europe/Zurich\"?"));
    assert_eq!(hint("/layout/0/tabel").as_deref(), Some("Did you mean \"table\"?"));
}

#[test]
fn parse_refuses_anything_that_is_no_definition() {
    for value in [json!(null), json!([]), json!("x"), json!({}), json!({"layout": {}})] {
        assert!(!parse(&value).unwrap_err().is_empty(), "{value}");
    }
    let mut many = weekly();
    many["layout"] = Value::Array(vec![json!({"text": "x"}); 101]);
    assert_eq!(parse(&many).unwrap_err()[0].pointer, "/layout");
}

#[test]
fn check_columns_names_what_a_dataset_lacks() {
    let found = parse(&weekly()).unwrap();
    let problems = found.check_columns("runs", &["day", "complete"]);
    let messages: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
    let want = [
        "dataset \"runs\" has no column \"completed\"",
        "dataset \"runs\" has no column \"failed\"",
    ];
    assert_eq!(messages, want);
    assert_eq!(problems[0].pointer, "/layout/2");
    assert_eq!(problems[0].hint.as_deref(), Some("Did you mean \"complete\"?"));
    assert!(found.check_columns("wf", &["p95", "runs"]).is_empty());
}
