use super::*;
use crate::rule::ColumnKind;
use serde_json::json;

struct Orders {
    old: bool,
}

impl Columns for Orders {
    fn kind(&self, name: &str) -> Option<ColumnKind> {
        match name {
            "status" | "amount" | "a.b" | "we\"ird" | "paid" => Some(ColumnKind::Plain),
            "doc" => Some(ColumnKind::Jsonb),
            "raw" => Some(ColumnKind::Json),
            _ => None,
        }
    }
    fn names(&self) -> Vec<String> {
        ["status", "amount", "a.b", "we\"ird", "paid", "doc", "raw"].map(str::to_owned).to_vec()
    }
    fn has_old(&self) -> bool {
        self.old
    }
}

fn row(logic: Value) -> String {
    to_sql(&logic, &Orders { old: true }).unwrap()
}

fn problems(logic: Value) -> Vec<Problem> {
    to_sql(&logic, &Orders { old: true }).unwrap_err()
}

#[test]
fn comparisons_of_columns() {
    let var = |name: &str| json!({"var": name});
    let table = [
        (json!({"==": [var("status"), "paid"]}), r#"(new."status" = 'paid')"#),
        (json!({"===": ["paid", var("new.status")]}), r#"('paid' = new."status")"#),
        (json!({"!=": [var("old.amount"), 5]}), r#"(old."amount" IS DISTINCT FROM '5')"#),
        (json!({"==": [var("status"), null]}), r#"(new."status" IS NULL)"#),
        (json!({"!=": [null, var("status")]}), r#"(new."status" IS NOT NULL)"#),
        (json!({">": [var("amount"), -1.5]}), r#"(new."amount" > '-1.5')"#),
        (json!({"<": [1, var("amount"), 9]}), r#"(('1' < new."amount") AND (new."amount" < '9'))"#),
        (
            json!({"between": [var("amount"), 1, 9]}),
            r#"(('1' <= new."amount") AND (new."amount" <= '9'))"#,
        ),
        (json!({"<": [var("OLD.amount"), var("amount")]}), r#"(old."amount" < new."amount")"#),
        (json!({"<": [5, 10]}), "(5 < 10)"),
        (json!({"==": [var("a.b"), "x"]}), r#"(new."a.b" = 'x')"#),
        (json!({"==": [var("paid"), true]}), r#"(new."paid" = 'true')"#),
        (json!({"==": [{"var": ["amount", 3]}, 3]}), r#"(coalesce(new."amount", '3') = '3')"#),
        (json!({">": [{"now": []}, var("amount")]}), r#"(pg_catalog.now() > new."amount")"#),
        (
            json!({"<": [var("amount"), {"now": "-7 days"}]}),
            r#"(new."amount" < (pg_catalog.now() OPERATOR(pg_catalog.+) '-7 days'::pg_catalog.interval))"#,
        ),
    ];
    for (logic, want) in table {
        assert_eq!(row(logic.clone()), want, "{logic}");
    }
}

#[test]
fn logic_is_two_valued_only_below_a_negation() {
    let paid = json!({"==": [{"var": "status"}, "paid"]});
    let big = json!({">": [{"var": "amount"}, 5]});
    let table = [
        (json!({"and": [paid, big]}), r#"((new."status" = 'paid') AND (new."amount" > '5'))"#),
        (json!({"or": [paid]}), r#"((new."status" = 'paid'))"#),
        (json!({"!": paid}), r#"(NOT (new."status" IS NOT DISTINCT FROM 'paid'))"#),
        (json!({"!": [big]}), r#"(NOT coalesce((new."amount" > '5'), false))"#),
        (
            json!({"!": {"or": [paid, big]}}),
            r#"(NOT ((new."status" IS NOT DISTINCT FROM 'paid') OR coalesce((new."amount" > '5'), false)))"#,
        ),
        (json!({"!!": {"var": "paid"}}), r#"coalesce(new."paid", false)"#),
        (json!({"var": "paid"}), r#"new."paid""#),
        (json!(true), "true"),
        (
            json!({"if": [paid, big, false]}),
            r#"(CASE WHEN (new."status" = 'paid') THEN (new."amount" > '5') ELSE false END)"#,
        ),
        (json!({"==": [big, false]}), r#"(coalesce((new."amount" > '5'), false) = 'false')"#),
    ];
    for (logic, want) in table {
        assert_eq!(row(logic.clone()), want, "{logic}");
    }
}

#[test]
fn lists_text_and_change() {
    let status = json!({"var": "status"});
    let table = [
        (json!({"in": [status, ["a", "b"]]}), r#"(new."status" IN ('a', 'b'))"#),
        (json!({"in": [status, []]}), "false"),
        (
            json!({"in": [status, ["a", null]]}),
            r#"((new."status" IN ('a')) OR (new."status" IS NULL))"#,
        ),
        (
            json!({"!": {"in": [{"var": "amount"}, [1, 2]]}}),
            r#"(NOT coalesce((new."amount" IN ('1', '2')), false))"#,
        ),
        (
            json!({"in": ["ai", status]}),
            r#"(pg_catalog.strpos(new."status", 'ai') OPERATOR(pg_catalog.>) 0)"#,
        ),
        (json!({"like": [status, "p%"]}), r#"(new."status" LIKE 'p%')"#),
        (json!({"matches": [status, "^p\\d$"]}), r#"(new."status" ~ '^p\d$')"#),
        (json!({"changed": "status"}), r#"(new."status" IS DISTINCT FROM old."status")"#),
        (
            json!({"changed_to": [status, "paid"]}),
            r#"((new."status" IS DISTINCT FROM old."status") AND (new."status" IS NOT DISTINCT FROM 'paid'))"#,
        ),
        (
            json!({"changed_from": ["status", null]}),
            r#"((new."status" IS DISTINCT FROM old."status") AND (old."status" IS NULL))"#,
        ),
    ];
    for (logic, want) in table {
        assert_eq!(row(logic.clone()), want, "{logic}");
    }
}

#[test]
fn json_columns_and_events() {
    assert_eq!(
        row(json!({"==": [{"var": "doc.a.b c"}, "x"]})),
        r#"((new."doc" OPERATOR(pg_catalog.#>>) '{a,"b c"}') OPERATOR(pg_catalog.=) 'x')"#
    );
    assert_eq!(
        event_to_sql(&json!({">": [{"var": "amount"}, 5]})).unwrap(),
        "(CASE WHEN pg_catalog.jsonb_typeof((event OPERATOR(pg_catalog.#>) '{amount}')) \
         OPERATOR(pg_catalog.=) 'number' THEN (event OPERATOR(pg_catalog.#>>) '{amount}')\
         ::pg_catalog.numeric OPERATOR(pg_catalog.>) '5' ELSE false END)"
    );
    let flipped = event_to_sql(&json!({"<": [5, {"var": "amount"}]})).unwrap();
    assert!(flipped.contains("OPERATOR(pg_catalog.>) '5'"), "{flipped}");
    assert_eq!(
        event_to_sql(&json!({"in": [{"var": "k"}, ["a", 1]]})).unwrap(),
        "(((event OPERATOR(pg_catalog.#>>) '{k}') IN ('a')) OR \
         (CASE WHEN pg_catalog.jsonb_typeof((event OPERATOR(pg_catalog.#>) '{k}')) \
         OPERATOR(pg_catalog.=) 'number' THEN (event OPERATOR(pg_catalog.#>>) '{k}')\
         ::pg_catalog.numeric IN ('1') ELSE false END))"
    );
    assert_eq!(
        event_to_sql(&json!({"==": [{"var": "user.id"}, null]})).unwrap(),
        "((event OPERATOR(pg_catalog.#>>) '{user,id}') IS NULL)"
    );
    let pair = row(json!({"<": [{"var": "doc.limit"}, {"var": "amount"}]}));
    assert!(pair.contains(r#"pg_catalog.to_jsonb(new."amount")"#), "{pair}");
    let raw = row(json!({">": [{"var": "raw.n"}, 1]}));
    assert!(raw.contains("pg_catalog.json_typeof") && raw.contains("{1,200}"), "{raw}");
}

#[test]
fn hostile_strings_stay_inside_their_quotes() {
    let hostile =
        ["'", "''; DROP TABLE t; --", "\\'", "\\", "$$", "ü'☃\"", "E'\\''", "\n'\r", "\u{2019}'"];
    for text in hostile {
        let doubled = text.replace('\'', "''");
        assert_eq!(
            row(json!({"==": [{"var": "status"}, text]})),
            format!("(new.\"status\" = '{doubled}')")
        );
        let event = event_to_sql(&json!({"==": [{"var": text}, text]})).unwrap();
        assert!(unquoted(&event).is_some_and(|rest| !rest.contains("DROP")), "{event}");
    }
    assert_eq!(row(json!({"var": "we\"ird"})), r#"new."we""ird""#);
    for logic in [
        json!({"==": [{"var": "status"}, "a\0b"]}),
        json!({"==": [{"var": "sta\0tus"}, "a"]}),
        json!({"in": [{"var": "status"}, ["a\0b"]]}),
        json!({"like": [{"var": "status"}, "\0"]}),
    ] {
        assert_eq!(problems(logic.clone())[0].code, "nul_character", "{logic}");
    }
    let now = problems(json!({"<": [{"now": "\0"}, 1]}));
    assert_eq!(now[0].code, "wrong_arguments");
    let quote = row(json!({"<": [{"now": "1 day'; x"}, 1]}));
    assert!(quote.contains("'1 day''; x'::pg_catalog.interval"), "{quote}");
}

/// What is left of SQL without its quoted literals; `None` if a quote stays open.
fn unquoted(sql: &str) -> Option<String> {
    let parts: Vec<&str> = sql.split('\'').collect();
    (parts.len() % 2 == 1).then(|| parts.into_iter().step_by(2).collect())
}

#[test]
fn problems_are_all_reported_with_pointers_and_hints() {
    let found = problems(json!({"and": [
        {"==": [{"var": "statsu"}, "x"]},
        {"mtaches": [{"var": "status"}, "x"]},
        {"map": [1]},
        {"<": [{"var": "amount.x"}, 1]},
        {"==": [{"var": "status"}]},
        "text",
        {"a": 1, "b": 2},
        {"now": []}
    ]}));
    let places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
    let want = [
        ("/and/0/==/0/var", "unknown_column"),
        ("/and/1/mtaches", "unsupported_operator"),
        ("/and/2/map", "unsupported_operator"),
        ("/and/3/</0/var", "not_json"),
        ("/and/4/==", "wrong_arguments"),
        ("/and/5", "no_condition"),
        ("/and/6", "one_operator"),
        ("/and/7/now", "no_condition"),
    ];
    assert_eq!(places, want);
    assert_eq!(found[0].hint.as_deref(), Some("Did you mean \"status\"?"));
    assert_eq!(found[1].hint.as_deref(), Some("Did you mean \"matches\"?"));
    assert_eq!(found[1].message, "operator \"mtaches\" is not supported");
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let insert = Orders { old: false };
    for logic in [json!({"==": [{"var": "old.status"}, "x"]}), json!({"changed": "status"})] {
        assert_eq!(to_sql(&logic, &insert).unwrap_err()[0].code, "no_such_row", "{logic}");
    }
    assert_eq!(problems(json!({"changed": "old.status"}))[0].code, "old_row");
    assert_eq!(
        event_to_sql(&json!({"changed": "status"})).unwrap_err()[0].code,
        "unsupported_operator"
    );
}

#[test]
fn depth_and_size_are_limited() {
    let mut deep = json!(true);
    for _ in 0..200 {
        deep = json!({"!": deep});
    }
    assert_eq!(problems(deep)[0].code, "too_deep");
    let wide: Vec<Value> = (0..20_000).map(|n| json!(n)).collect();
    let found = problems(json!({"in": [{"var": "amount"}, wide]}));
    assert_eq!(found.iter().map(|p| p.code).collect::<Vec<_>>(), ["too_many"]);
    let long = "x".repeat(2 << 20);
    assert_eq!(problems(json!({"==": [{"var": "status"}, long]}))[0].code, "too_long");
}
