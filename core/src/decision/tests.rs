use super::test::{Cut, Test};
use super::value::{Kind, Val};
use super::{Finding, Source, Table, cell, export, findings, import};
use serde_json::{Value, json};

fn source(inputs: Value, outputs: Value, rows: Value, policy: &str) -> Source {
    Source {
        inputs: inputs.to_string(),
        outputs: outputs.to_string(),
        rows: rows.to_string(),
        hit_policy: policy.into(),
    }
}

fn table(inputs: Value, outputs: Value, rows: Value, policy: &str) -> Table {
    Table::read(&source(inputs, outputs, rows, policy)).unwrap_or_else(|p| panic!("{p:?}"))
}

fn number(name: &str) -> Value {
    json!({"name": name, "type": "number"})
}

fn decide(table: &Table, input: Value) -> Value {
    let found = table.decide(&input.to_string()).unwrap_or_else(|e| panic!("{e:?}"));
    found.map_or(Value::Null, |json| serde_json::from_str(&json).unwrap())
}

fn passes(kind: Kind, cell: &str, value: &str) -> bool {
    let test = cell::of_text(kind, cell).unwrap_or_else(|e| panic!("{cell}: {e}"));
    test.contains(Val::from_text(kind, value).as_ref())
}

#[test]
fn cells_say_what_they_let_pass() {
    use Kind::*;
    let cases = [
        (Number, "10", "10.00", "10.01"),
        (Number, ">= 5", "5", "4.999999999999999999999"),
        (Number, "> 5", "5.0000000000000000000001", "5"),
        (Number, "<3", "2.9", "3"),
        (Number, "<= -3", "-3", "-2"),
        (Number, "!= 4", "5", "4.0"),
        (Number, "[10..20)", "10", "20"),
        (Number, "]10..20]", "20", "10"),
        (Number, "(10..20[", "15", "20"),
        (Number, "1..2", "2", "2.1"),
        (Number, "1, 3, [5..6]", "5.5", "4"),
        (Number, "not(1, [5..6])", "4", "5"),
        (Number, "[1, 2.5]", "2.50", "2"),
        (Integer, "(1..4)", "2", "4"),
        (Integer, "not(<= 2)", "3", "2"),
        (Text, "gold", "gold", "Gold"),
        (Text, "\"gold\", \"silver\"", "silver", "bronze"),
        (Text, "[\"a,b\", \"-\"]", "-", "a"),
        (Text, "not(gold)", "silver", "gold"),
        (Text, "[\"b\"..\"d\")", "c", "d"),
        (Boolean, "true", "true", "false"),
        (Boolean, "not(true)", "false", "true"),
        (Date, ">= 2026-02-28", "2026-02-28", "2026-02-27"),
        (Date, "[date(\"2026-01-01\")..2026-12-31]", "2026-12-31", "2027-01-01"),
        (Timestamp, "< 2026-01-01T00:00:00+01:00", "2025-12-31T22:59:59Z", "2025-12-31T23:00:00Z"),
    ];
    for (kind, text, inside, outside) in cases {
        assert!(passes(kind, text, inside), "{text} lets {inside} pass");
        assert!(!passes(kind, text, outside), "{text} does not let {outside} pass");
        let null = cell::of_text(kind, text).unwrap().contains(None);
        assert!(!null, "{text} does not let NULL pass");
    }
    for any in ["-", "", "  "] {
        assert!(cell::of_text(Text, any).unwrap().is_any());
    }
    assert_eq!(cell::of_json(Number, "null"), Ok(Test::any()));
    assert_eq!(cell::of_text(Number, "null"), Ok(Test::null()));
    assert!(!cell::of_text(Number, "not(null)").unwrap().contains(None));
    assert!(cell::of_json(Text, "[null, \"a\"]").unwrap().contains(None));
}

#[test]
fn cells_that_make_no_sense_are_refused() {
    let cases = [
        (Kind::Number, "ten"),
        (Kind::Number, ">= "),
        (Kind::Number, "[1..2"),
        (Kind::Number, "[2..1]"),
        (Kind::Number, "(1..1)"),
        (Kind::Number, "1,,2"),
        (Kind::Integer, "1.5"),
        (Kind::Integer, "(1..2)"),
        (Kind::Text, "Zurich, CH"),
        (Kind::Text, "(none)"),
        (Kind::Boolean, "yes"),
        (Kind::Date, "2026-02-30"),
        (Kind::Timestamp, "yesterday"),
        (Kind::Text, "[]"),
    ];
    for (kind, text) in cases {
        assert!(cell::of_text(kind, text).is_err(), "{text}");
    }
    assert!(cell::of_json(Kind::Number, "\"5\"").is_ok());
    assert!(cell::of_json(Kind::Number, "true").is_err());
    assert!(cell::of_json(Kind::Number, "{}").is_err());
}

#[test]
fn policies_mean_what_dmn_says() {
    let rows = json!([[">= 100", "gold", 10], [">= 50", "silver", 5], ["-", "bronze", 1.5]]);
    let outputs =
        json!([{"name": "tier", "values": ["silver", "gold", "bronze"]}, number("points")]);
    let run = |policy: &str, amount: i64| {
        decide(
            &table(json!([number("amount")]), outputs.clone(), rows.clone(), policy),
            json!({"amount": amount}),
        )
    };
    let (gold, silver, bronze) = (
        json!({"tier": "gold", "points": 10}),
        json!({"tier": "silver", "points": 5}),
        json!({"tier": "bronze", "points": 1.5}),
    );
    assert_eq!(run("first", 120), gold);
    assert_eq!(run("P", 120), silver);
    assert_eq!(run("collect", 60), json!([silver, bronze]));
    assert_eq!(run("rule_order", 120), json!([gold, silver, bronze]));
    assert_eq!(run("output_order", 120), json!([silver, gold, bronze]));
    assert_eq!(run("count", 120), json!({"count": 3}));
    assert_eq!(run("C<", 120)["points"], json!(1.5));
    assert_eq!(run("max", 120)["points"], json!(10));
    let points = |policy: &str| {
        table(
            json!([number("amount")]),
            json!([number("points")]),
            json!([["> 1", 0.1], ["> 1", 0.2], ["> 5", null]]),
            policy,
        )
    };
    assert_eq!(points("sum").decide("{\"amount\": 9}"), Ok(Some("{\"points\": 0.3}".into())));
    assert_eq!(decide(&points("sum"), json!({"amount": 0})), json!({"points": null}));
    assert_eq!(decide(&points("collect"), json!({"amount": 0})), json!([]));
    let error = points("unique").decide("{\"amount\": 3}").unwrap_err();
    assert!(error.by_rows && error.message.contains("rows 1, 2 match"), "{error:?}");
    let error = points("any").decide("{\"amount\": 3}").unwrap_err();
    assert!(error.by_rows && error.message.contains("do not agree"), "{error:?}");
    let agree =
        table(json!([number("a")]), json!([number("b")]), json!([["> 1", 2], ["> 2", 2]]), "any");
    assert_eq!(decide(&agree, json!({"a": 3})), json!({"b": 2}));
}

#[test]
fn defaults_nulls_paths_and_slips() {
    let t = table(
        json!([{"name": "tier", "expression": {"var": "customer.tier"}}, number("amount")]),
        json!([{"name": "rate", "type": "number", "default": 0}]),
        json!([["gold", "-", 0.2], ["null", "> 10", 0.1], {"tier": "silver", "rate": 0.05}]),
        "first",
    );
    assert_eq!(decide(&t, json!({"customer": {"tier": "gold"}})), json!({"rate": 0.2}));
    assert_eq!(decide(&t, json!({"customer": {"tier": null}, "amount": 11})), json!({"rate": 0.1}));
    assert_eq!(decide(&t, json!({"amount": 11, "more": 1})), json!({"rate": 0.1}));
    assert_eq!(
        decide(&t, json!({"customer": {"tier": "silver"}, "amount": null})),
        json!({"rate": 0.05})
    );
    assert_eq!(decide(&t, json!({})), json!({"rate": 0}));
    let slip = t.decide("{\"custmer\": {}}").unwrap_err();
    assert_eq!(slip.hint.as_deref(), Some("Did you mean \"customer\"?"));
    assert!(!t.decide("{\"amount\": \"11\"}").unwrap_err().by_rows);
    assert!(t.decide("[1]").is_err());
    // No digit is lost, in either direction.
    let exact = table(json!([number("n")]), json!([number("m")]), json!([[5, 1]]), "first");
    let exact = Table::read(&Source {
        rows: "[[12345678901234567890.123456789, 0.1234567890123456789]]".into(),
        inputs: "[{\"name\": \"n\", \"type\": \"number\"}]".into(),
        outputs: "[{\"name\": \"m\", \"type\": \"number\"}]".into(),
        hit_policy: exact.policy.word().into(),
    })
    .unwrap();
    let found = exact.decide("{\"n\": 12345678901234567890.123456789}").unwrap();
    assert_eq!(found.as_deref(), Some("{\"m\": 0.1234567890123456789}"));
    assert_eq!(exact.decide("{\"n\": 12345678901234567890.123456788}"), Ok(None));
}

#[test]
fn definitions_are_refused_with_places() {
    let places = |source: Source| -> Vec<String> {
        Table::read(&source)
            .err()
            .unwrap()
            .iter()
            .map(|p| format!("{} {}", p.pointer, p.code))
            .collect()
    };
    let found = places(source(
        json!([{"name": "a", "type": "numbr"}, {"nam": "b"}, 7]),
        json!([]),
        json!([]),
        "frist",
    ));
    assert_eq!(
        found,
        [
            "/hit_policy unknown_policy",
            "/inputs/0/type unknown_type",
            "/inputs/1/nam unknown_key",
            "/inputs/1 missing_key",
            "/inputs/2 wrong_kind",
            "/outputs wrong_count",
        ]
    );
    let out = json!([{"name": "x", "values": ["p", "q"]}]);
    let found = places(source(
        json!([number("a")]),
        out.clone(),
        json!([["ten", "p"], [1], [1, "z"], [1, 2], {"b": 1}, 5]),
        "first",
    ));
    assert_eq!(
        found,
        [
            "/rows/0/0 invalid_cell",
            "/rows/1 wrong_count",
            "/rows/2/1 unknown_value",
            "/rows/3/1 invalid_value",
            "/rows/4/b unknown_column",
            "/rows/5 wrong_kind",
        ]
    );
    assert_eq!(
        places(source(json!([number("a")]), json!([number("a")]), json!([]), "first")),
        [" duplicate_column"]
    );
    assert_eq!(
        places(source(json!([number("a")]), json!([number("b")]), json!([]), "priority")),
        ["/outputs no_order"]
    );
    assert_eq!(
        places(source(json!([number("a")]), json!([{"name": "b"}]), json!([]), "sum")),
        ["/outputs/0 wrong_type"]
    );
}

fn kinds(found: &[Finding]) -> Vec<(&str, Vec<usize>)> {
    found.iter().map(|f| (f.kind, f.rows.clone())).collect()
}

#[test]
fn gaps_and_overlaps_are_found() {
    let inputs = json!([number("amount"), {"name": "vip", "type": "boolean"}]);
    let check = |inputs: &Value, rows: Value, policy: &str| {
        findings(&table(inputs.clone(), json!([{"name": "x"}]), rows, policy))
    };
    let full = json!([["< 10", "-", "a"], [">= 10", true, "b"], [">= 10", false, "c"]]);
    assert_eq!(check(&inputs, full, "unique"), []);
    let open = json!([["< 10", "-", "a"], ["(10..20]", "-", "b"], ["> 15", true, "c"]]);
    let found = check(&inputs, open, "unique");
    assert_eq!(kinds(&found), [("overlap", vec![2, 3]), ("gap", vec![]), ("gap", vec![])]);
    let examples: Vec<Value> =
        found.iter().map(|f| serde_json::from_str(f.example.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(examples[1]["amount"], json!(10));
    assert!(examples[2]["amount"].as_f64().unwrap() > 20.0 && examples[2]["vip"] == json!(false));
    // Between 9 and 10 there is no whole number, between two days no day.
    let whole = json!([{"name": "n", "type": "integer"}]);
    assert_eq!(
        check(&whole, json!([["<= 9", "a"], ["[10..20]", "b"], ["> 20", "c"]]), "unique"),
        []
    );
    let day = json!([{"name": "d", "type": "date"}]);
    assert_eq!(check(&day, json!([["< 2026-03-01", "a"], ["> 2026-02-28", "b"]]), "unique"), []);
    let listed = json!([{"name": "t", "values": ["a", "b"]}]);
    assert_eq!(check(&listed, json!([["a", "x"], ["b", "y"]]), "unique"), []);
    assert_eq!(kinds(&check(&listed, json!([["a", "x"]]), "unique")), [("gap", vec![])]);
    let rows = json!([["> 1", "-", "a"], ["> 5", true, "b"], ["-", "-", "a"]]);
    assert_eq!(
        kinds(&check(&inputs, rows.clone(), "first")),
        [("shadowed", vec![1, 2]), ("overlap", vec![2, 3])]
    );
    assert_eq!(check(&inputs, rows, "collect"), []);
    let nulls = json!([["null", "-", "a"], ["null", true, "b"], ["not(null)", "-", "c"]]);
    let found = check(&inputs, nulls, "unique");
    assert_eq!(kinds(&found), [("overlap", vec![1, 2])]);
    assert_eq!(found[0].example.as_deref(), Some("{\"amount\":null,\"vip\":true}"));
}

#[test]
fn csv_goes_there_and_back() {
    let inputs = json!([{"name": "amount, CHF", "type": "number", "values": "[0..1000]"},
        {"name": "tier", "expression": {"var": "customer.tier"}, "label": "Tier"}, {"name": "on", "type": "date"}]);
    let outputs = json!([{"name": "rate", "type": "number", "default": 0.10}, {"name": "note"}, {"name": "extra", "type": "json"}]);
    let rows = json!([
        [">= 5, [1..2)", "gold", "> 2026-01-01", 0.5, "a \"b\", c", {"k": [1]}],
        [7, ["x", "y"], null, null, "", null],
        {"tier": "not(\"-\")", "rate": 12.50, "note": "\"q\"", "extra": "s"},
    ]);
    let before = source(inputs, outputs, rows, "U");
    let read = |source: &Source| Table::read(source).unwrap_or_else(|p| panic!("{p:?}"));
    let csv = export(&before, &read(&before)).unwrap();
    assert!(csv.starts_with("unique,\"amount, CHF\",tier,on,rate,note,extra\r\n"), "{csv}");
    let after = import(&csv).unwrap();
    assert_eq!(export(&after, &read(&after)).unwrap(), csv);
    let (one, other) = (read(&before), read(&after));
    for (a, b) in one.rows.iter().zip(&other.rows) {
        assert_eq!((&a.tests, &a.outputs), (&b.tests, &b.outputs));
    }
    assert_eq!(other.inputs[1].path, ["customer", "tier"]);
    assert!(other.inputs[0].values.is_some() && other.outputs[0].default.is_some());
    for bad in [
        "",
        "first,a\r\n",
        "first,a,b\r\n,input number,outptu text\r\n",
        "first,a,b\r\n,output text,input text\r\n",
        "first,a,b\r\n,input number,output text\r\n1,2\r\n",
    ] {
        assert!(import(bad).is_err(), "{bad}");
    }
}

/// A small generator: the tests are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn random_cell(dice: &mut Dice) -> String {
    let (a, b) = (dice.roll(8), dice.roll(8));
    match dice.roll(10) {
        0 => "-".into(),
        1 => "null".into(),
        2 => format!(">= {a}"),
        3 => format!("< {a}"),
        4 => format!("[{}..{})", a.min(b), a.max(b) + 1),
        5 => format!("not({a}, {b})"),
        6 => format!("{a}, {b}"),
        7 => format!("({}..{}]", a.min(b), a.max(b) + 1),
        8 => format!("!= {a}"),
        _ => a.to_string(),
    }
}

/// The index, the search for gaps and the search for overlaps against looking at everything.
#[test]
fn random_tables_agree_with_looking_at_every_row() {
    let mut dice = Dice(42);
    for case in 0..300 {
        let width = if case % 25 == 0 { 3 } else { 1 + dice.roll(2) as usize };
        let kind = if case % 2 == 0 { "number" } else { "integer" };
        let inputs: Vec<Value> =
            (0..width).map(|i| json!({"name": format!("i{i}"), "type": kind})).collect();
        let count = 1 + dice.roll(12) as usize;
        let rows: Vec<Value> = (0..count)
            .map(|row| {
                let mut cells: Vec<Value> =
                    (0..width).map(|_| random_cell(&mut dice).into()).collect();
                cells.push(row.into());
                cells.into()
            })
            .collect();
        let source = source(json!(inputs), json!([number("out")]), json!(rows), "unique");
        let Ok(table) = Table::read(&source) else { continue };
        let found = findings(&table);
        assert!(found.iter().all(|f| f.kind != "incomplete"));
        // Halves lie between the bounds, so that every slot of numbers is visited.
        let steps = if kind == "number" { 21 } else { 11 };
        let value = |i: usize| {
            if kind == "number" {
                format!("{}", i as f64 / 2.0 - 0.5)
            } else {
                format!("{}", i as i64 - 1)
            }
        };
        let (mut gap, mut clashes) = (false, std::collections::BTreeSet::new());
        for point in 0..(steps + 1_usize).pow(width as u32) {
            let mut rest = point;
            let values: Vec<Option<Val>> = (0..width)
                .map(|_| {
                    let i = rest % (steps + 1);
                    rest /= steps + 1;
                    (i < steps).then(|| Val::from_text(Kind::Number, &value(i)).unwrap())
                })
                .collect();
            let by_index = table.matching(&values);
            let all: Vec<u32> = (0..table.rows.len() as u32)
                .filter(|row| {
                    let tests = &table.rows[*row as usize].tests;
                    tests.iter().zip(&values).all(|(test, value)| slow(test, value.as_ref()))
                })
                .collect();
            assert_eq!(by_index, all, "{source:?} {values:?}");
            gap |= all.is_empty() && values.iter().all(Option::is_some);
            for (i, one) in all.iter().enumerate() {
                clashes.extend(
                    all[i + 1..].iter().map(|other| vec![*one as usize + 1, *other as usize + 1]),
                );
            }
        }
        assert_eq!(found.iter().any(|f| f.kind == "gap"), gap, "{source:?} {found:?}");
        let overlaps: std::collections::BTreeSet<Vec<usize>> =
            found.iter().filter(|f| f.kind == "overlap").map(|f| f.rows.clone()).collect();
        if overlaps.len() < 50 {
            assert_eq!(overlaps, clashes, "{source:?}");
        }
        for finding in &found {
            let values = table.values(finding.example.as_ref().unwrap()).unwrap();
            let rows: Vec<usize> =
                table.matching(&values).iter().map(|row| *row as usize + 1).collect();
            match finding.kind {
                "gap" => assert!(rows.is_empty(), "{finding:?}"),
                _ => assert!(
                    finding.rows.iter().all(|row| rows.contains(row)),
                    "{finding:?} {rows:?}"
                ),
            }
        }
    }
}

/// What a test lets pass, range by range.
fn slow(test: &Test, value: Option<&Val>) -> bool {
    let Some(value) = value else { return test.null };
    test.ranges
        .iter()
        .any(|(low, high)| *low <= Cut::below(value) && value_ends_before(value, high))
}

fn value_ends_before(value: &Val, high: &Cut) -> bool {
    match high {
        Cut::Max => true,
        Cut::At(edge, above) => value < edge || (value == edge && *above),
        Cut::Min => false,
    }
}

#[test]
fn large_tables_are_searched_quickly_enough_to_count() {
    let rows: Vec<Value> =
        (0..10_000).map(|n| json!([format!("[{}..{})", n * 10, n * 10 + 10), n])).collect();
    let t = table(json!([number("amount")]), json!([number("band")]), json!(rows), "unique");
    assert_eq!(decide(&t, json!({"amount": 12_345.5})), json!({"band": 1234}));
    // One candidate a value, however many rows there are.
    let value = Val::from_text(Kind::Number, "12345.5");
    let lists = t.indexes[0].lists(value.as_ref());
    assert_eq!(lists.map(<[u32]>::len).sum::<usize>(), 1);
    assert_eq!(kinds(&findings(&t)), [("gap", vec![]), ("gap", vec![])]);
}
