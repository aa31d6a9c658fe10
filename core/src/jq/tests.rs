use super::{Error, Filter, Template, expression};
use serde_json::{Value, json};

fn run(source: &str, input: Value) -> Result<Value, Error> {
    Filter::compile(source, &["context", "input"])?.run(&input, &[json!({"c": 1}), json!("i")])
}

#[test]
fn run_gives_the_first_output() {
    assert_eq!(run(".a, .b", json!({"a": 1, "b": 2})), Ok(json!(1)));
    assert_eq!(run("empty", json!(1)), Ok(Value::Null));
    assert_eq!(run("$context.c + 1", json!(null)), Ok(json!(2)));
    assert_eq!(
        run("{input: $input, n: ([.[] | . * 2] | add)}", json!([1, 2])),
        Ok(json!({"input": "i", "n": 6}))
    );
}

#[test]
fn integers_stay_exact() {
    for n in [json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(9_007_199_254_740_993_i64)] {
        assert_eq!(run(".", n.clone()), Ok(n));
    }
    assert_eq!(run(". + 1", json!(i64::MAX)), Ok(json!(9_223_372_036_854_775_808_u64)));
    assert!(matches!(run(". + 1", json!(u64::MAX)), Err(Error::Number(_))));
    assert!(matches!(run("1 / 0 | infinite", json!(1)), Err(Error::Run(_) | Error::Number(_))));
    assert_eq!(run(". / 2", json!(6)), Ok(json!(3)));
    assert_eq!(run("1.5 + .", json!(1)), Ok(json!(2.5)));
}

#[test]
fn what_runs_away_is_stopped() {
    for source in [
        "[range(1e12)]",
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "last(repeat(1))",
        "[repeat(.)]",
        "try last(repeat(1)) catch 1",
        "last(range(0; 1; 0))",
        "until(false; . + 1)",
        "[recurse(.)]",
        "reduce range(100000000) as $i (0; . + 1)",
        "def f: 0, (f | . + 1); last(f)",
        "reduce range(1000000) as $i (0; [.])",
        "reduce range(1000000) as $i (0; {a: .})",
        "reduce range(1000000) as $i (0; [[[[[[[[.]]]]]]]])",
    ] {
        assert!(matches!(run(source, json!(1)), Err(Error::Exhausted(_))), "{source}");
    }
}

#[test]
fn no_way_out_of_the_expression() {
    for source in [
        "env",
        "now",
        "input",
        "$ENV",
        "halt",
        "debug",
        "localtime",
        "stderr",
        "import \"x\" as x; 1",
        "halt_error",
        "input_filename",
        "$__prog_args",
    ] {
        let error = Filter::compile(source, &[]).unwrap_err();
        assert!(matches!(error, Error::Compile { .. }), "{source}: {error}");
    }
}

#[test]
fn compile_errors_name_the_place_and_the_way_out() {
    let error = Filter::compile(".a | lenght", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no jq function lenght/0 at character 6 of jq expression \".a | lenght\""
    );
    assert_eq!(error.hint().as_deref(), Some("Did you mean \"length\"?"));
    let error = Filter::compile("$contxt.a", &["context"]).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("Did you mean \"$context\"?"));
    assert!(Filter::compile(".a +", &[]).unwrap_err().to_string().contains("expected term"));
}

#[test]
fn expression_wants_the_whole_string() {
    assert_eq!(expression("${ .a }"), Some(".a"));
    assert_eq!(expression(" ${.a} "), Some(".a"));
    assert_eq!(expression("x ${ .a }"), None);
    assert_eq!(expression("${ .a } x"), None);
}

#[test]
fn templates_render_in_place() {
    let tree = json!({"a": "${ .x }", "b": ["t", "${ $v }"], "c": 1});
    let template = Template::compile(&tree, &["v"]).unwrap();
    assert!(!template.is_constant());
    let out = template.render(&json!({"x": 5}), &[json!(7)]).unwrap();
    assert_eq!(out, json!({"a": 5, "b": ["t", 7], "c": 1}));
    assert!(Template::compile(&json!({"a": [1]}), &[]).unwrap().is_constant());
    let (pointer, _) = Template::compile(&json!({"a/b": ["${ ( }"]}), &[]).unwrap_err();
    assert_eq!(pointer, "/a~1b/0");
}

#[test]
fn the_largest_expressions_fit_the_stack_and_larger_ones_are_refused() {
    let repeat = |head: &str, n: usize, tail: &str| head.repeat(n) + "1" + &tail.repeat(n);
    for long in [
        repeat("-", 100_000, ""),
        repeat("(", 100_000, ")"),
        repeat("try ", 1_500, ""),
        repeat("1|", 1_000, ""),
    ] {
        assert!(matches!(Filter::compile(&long, &[]), Err(Error::TooLarge(_))), "{long}");
    }
    for long in [
        repeat("-", 100, ""),
        repeat("(", 32, ")"),
        repeat("[", 32, "]"),
        repeat("{a:", 32, "}"),
        repeat("try ", 100, ""),
        repeat("1|", 100, ""),
        repeat(". as $x|", 50, ""),
        repeat("1,", 100, ""),
        repeat("1+", 100, ""),
        repeat("1//", 50, ""),
        repeat(".a=", 100, ""),
        repeat("1 and ", 100, ""),
        repeat("def f: 1;", 100, ""),
        repeat("if 1 then ", 100, " else 1 end"),
    ] {
        if let Ok(filter) = Filter::compile(&long, &[]) {
            let _ = filter.run(&json!(1), &[]);
        }
    }
}

#[test]
fn fromjson_reads_json_and_refuses_deep_nesting() {
    assert_eq!(run("fromjson", json!("{\"a\": [1]}")), Ok(json!({"a": [1]})));
    assert_eq!(run("tonumber", json!("12")), Ok(json!(12)));
    assert!(matches!(run("fromjson", json!("[".repeat(100_000))), Err(Error::Run(_))));
}

#[test]
fn what_grows_is_stopped_before_it_is_allocated() {
    for source in [
        "\"y\" * 10000000000",
        "reduce range(40) as $i (\"a\"; . + .)",
        "reduce range(40) as $i ([1]; . + .)",
        "reduce range(60) as $i ([]; [., .])",
        "reduce range(60) as $i ([]; [., .]) | tojson",
        "reduce range(60) as $i ({}; {a: ., b: .})",
        "reduce range(60) as $i ({}; .a = . | .b = .)",
        "reduce range(40) as $i (2; . * .)",
        "try (\"y\" * 10000000000) catch 1",
        "(\"y\" * 1000000) / \"\"",
        "(\"y\" * 10000000) | explode",
        "[1] | .[] |= range(10000000)",
    ] {
        let began = std::time::Instant::now();
        assert!(matches!(run(source, json!(1)), Err(Error::Exhausted(_))), "{source}");
        assert!(began.elapsed().as_secs() < 5, "{source}");
    }
    assert!(matches!(run("__matches(1; 2)", json!("a")), Err(Error::Compile { .. })));
}

#[test]
fn honest_work_fits() {
    assert_eq!(run("[range(1000)] | add", json!(1)), Ok(json!(499_500)));
    assert_eq!(run("[range(1000) | tostring] | join(\",\") | length", json!(1)), Ok(json!(3_889)));
    assert_eq!(
        run(
            "reduce .[] as $r ([]; . + [{id: $r.a}]) | length",
            json!(vec![json!({"a": 1}); 1_000])
        ),
        Ok(json!(1_000))
    );
    assert_eq!(run("tojson | length", json!("x".repeat(1_000_000))), Ok(json!(1_000_002)));
    assert_eq!(run("gsub(\"a\"; \"b\")", json!("aXa")), Ok(json!("bXb")));
    assert_eq!(run(".[1:3] = [9]", json!([1, 2, 3, 4])), Ok(json!([1, 9, 4])));
    assert_eq!(run(".a.b += 1", json!({"a": {"b": 1}})), Ok(json!({"a": {"b": 2}})));
    assert_eq!(run("[.[:2], indices(\"b\"), has(0)?]", json!("abab")), Ok(json!(["ab", [1, 3]])));
}
