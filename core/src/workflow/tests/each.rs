use super::*;
use serde_json::{Value, json};

fn parallel(max: u64, more: Value) -> Value {
    let mut meta = json!({"maxParallel": max});
    for (key, value) in more.as_object().unwrap() {
        meta[key] = value.clone();
    }
    json!([{"all": {"for": {"each": "n", "at": "i", "in": ".items"}, "metadata": meta,
        "do": [{"q": {"call": "sql", "with": {"query": "q", "params": ["${ $n }", "${ $i }", "${ . }"]}}}]}}])
}

fn turn(n: usize) -> String {
    format!("/do/0/all/do/0/q#{n}")
}

#[test]
fn turns_go_on_side_by_side_as_many_as_may() {
    let definition = define(json!({"do": parallel(2, json!({"collect": true}))}));
    let begun = start(&definition, json!({"items": ["a", "b", "c"]}));
    assert_eq!(asked(&begun), [turn(0), turn(1)]);
    match &begun.commands[1] {
        Command::Sql { params, .. } => assert_eq!(params, &[json!("b"), json!(1), json!("b")]),
        other => panic!("{other:?}"),
    }
    let now = step(&definition, Some(begun.state), done(&turn(1), json!("B")));
    assert_eq!(asked(&now), [turn(2)]);
    let now = step(&definition, Some(now.state), done(&turn(2), json!("C")));
    let now = step(&definition, Some(now.state), done(&turn(0), json!("A")));
    assert_eq!(completed(&now), &json!(["A", "B", "C"]));
}

#[test]
fn without_collect_only_counts_are_kept() {
    let definition = define(json!({"do": parallel(9, json!({"onItemError": "continue"}))}));
    let begun = start(&definition, json!({"items": [1, 2, 3]}));
    let now = step(&definition, Some(begun.state), failed(&turn(1), "runtime"));
    let now = step(&definition, Some(now.state), done(&turn(0), json!(1)));
    let now = step(&definition, Some(now.state), done(&turn(2), json!(1)));
    assert_eq!(completed(&now), &json!({"count": 3, "completed": 2, "failed": 1}));
    let none = start(&definition, json!({"items": []}));
    assert_eq!(completed(&none), &json!({"count": 0, "completed": 0, "failed": 0}));
}

#[test]
fn a_turn_that_fails_fails_the_loop() {
    let definition = define(json!({"do": parallel(2, json!({}))}));
    let begun = start(&definition, json!({"items": [1, 2, 3]}));
    let end = step(&definition, Some(begun.state), failed(&turn(1), "runtime"));
    assert_eq!(faulted(&end).instance.as_deref(), Some(turn(1).as_str()));
    assert_eq!(asked(&end), Vec::<&str>::new());
}

#[test]
fn an_error_that_is_collected_says_where() {
    let meta = json!({"onItemError": "continue", "collect": "{n: $n, got: .}"});
    let definition = define(json!({"do": parallel(2, meta)}));
    let begun = start(&definition, json!({"items": [5, 6]}));
    let now = step(&definition, Some(begun.state), failed(&turn(0), "timeout"));
    let end = step(&definition, Some(now.state), done(&turn(1), json!(true)));
    let output = completed(&end);
    assert_eq!(output[0]["error"]["instance"], turn(0));
    assert_eq!(output[1], json!({"n": 6, "got": true}));
}

/// Does all turns of a loop over `count` items; the largest state, and how many pages it took.
fn run_many(definition: &Definition, count: usize) -> (usize, usize, Value) {
    let items: Vec<Value> = (0..count).map(|n| json!({"id": n})).collect();
    let begun = advance(definition, &runtime(), None, Event::Start { input: json!(null) }, NOW);
    let now = begun.unwrap();
    let first = done("/do/0/rows", Value::Array(items));
    let mut now = advance(definition, &runtime(), Some(now.state), first, NOW).unwrap();
    let (mut largest, mut pages, mut kept, mut seen) = (0, 0, Vec::new(), 0);
    let mut waiting: Vec<Command> = Vec::new();
    loop {
        let largest_now = serde_json::to_string(&now.state).unwrap().len();
        largest = largest.max(largest_now);
        for command in now.commands {
            match command {
                Command::Keep { items, .. } => kept = items,
                Command::Complete { output } => {
                    assert_eq!(seen, count);
                    return (largest, pages, output);
                }
                command => waiting.push(command),
            }
        }
        let event = match waiting.pop().unwrap() {
            Command::Page { step, from, limit } => {
                pages += 1;
                let (from, to) = (from as usize, (from + limit) as usize);
                let items = kept[from..to.min(kept.len())].to_vec();
                Event::Page { step, from: from as u64, items }
            }
            Command::Sql { step, .. } => {
                seen += 1;
                done(&step, json!(1))
            }
            other => panic!("{other:?}"),
        };
        now = advance(definition, &runtime(), Some(now.state), event, NOW).unwrap();
    }
}

#[test]
fn many_items_stay_outside_of_the_state() {
    let mut tasks = parallel(4, json!({}));
    tasks[0]["all"]["for"]["in"] = json!(".");
    let both = json!([{"rows": sql("rows")}, {"all": tasks[0]["all"]}]);
    let limits = Limits { max_executed: 1_000_000, ..Limits::default() };
    let definition = Definition::parse(&json!({"do": both}), &limits).unwrap();
    let (largest, pages, output) = run_many(&definition, 5_000);
    assert_eq!(output, json!({"count": 5000, "completed": 5000, "failed": 0}));
    assert!(largest < 8_000 && pages == 49, "{largest} bytes, {pages} pages");
    let (larger, ..) = run_many(&definition, 10_000);
    assert!(larger < largest + 1_000, "{larger} after {largest}");
}

#[test]
fn the_turns_of_a_loop_that_is_not_parallel_come_in_pages_too() {
    let both = json!([
        {"rows": {"call": "sql", "with": {"query": "rows"}}},
        {"all": {"for": {"in": "."}, "do": [
            {"q": {"call": "sql", "with": {"query": "q", "params": ["${ $item.id }"]}}}]}}]);
    let limits = Limits { max_items_in_state: 10, page_items: 7, ..Limits::default() };
    let definition = Definition::parse(&json!({"do": both}), &limits).unwrap();
    let (_, pages, output) = run_many(&definition, 50);
    assert_eq!((pages, output), (7, json!(1)));
}

#[test]
fn pages_that_are_late_or_missing_are_told_apart() {
    let limits = Limits { max_items_in_state: 2, page_items: 2, ..Limits::default() };
    let document = json!({"do": parallel(2, json!({}))});
    let definition = Definition::parse(&document, &limits).unwrap();
    let begun = start(&definition, json!({"items": [1, 2, 3, 4, 5]}));
    let page = |from, items: Value| Event::Page {
        step: "/do/0/all".into(),
        from,
        items: items.as_array().unwrap().clone(),
    };
    let wrong = step(&definition, Some(begun.state.clone()), page(0, json!([1, 2])));
    assert_eq!(wrong.ignored, Some(Ignored::NotAwaited));
    let lost = step(&definition, Some(begun.state.clone()), page(2, json!([])));
    assert_eq!(faulted(&lost).title.as_deref(), Some("Items are missing"));
    let good = step(&definition, Some(begun.state), page(2, json!([3, 4])));
    assert_eq!((good.ignored, asked(&good).len()), (None, 0));
    let twice = step(&definition, Some(good.state), page(2, json!([3, 4])));
    assert_eq!(twice.ignored, Some(Ignored::NotAwaited));
}

#[test]
fn too_many_items_are_refused_with_their_number() {
    let limits = Limits { max_items: 2, ..Limits::default() };
    let document = json!({"do": [{"l": {"for": {"in": "[1, 2, 3]"}, "do": [{"s": {"set": {}}}]}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let detail = faulted(&start(&definition, json!({}))).detail.clone().unwrap();
    assert!(detail.contains('3') && detail.contains('2'), "{detail}");
}

#[test]
fn a_page_that_cannot_be_had_fails_the_loop() {
    let limits = Limits { max_items_in_state: 2, page_items: 2, ..Limits::default() };
    let document = json!({"do": parallel(2, json!({}))});
    let definition = Definition::parse(&document, &limits).unwrap();
    let begun = start(&definition, json!({"items": [1, 2, 3]}));
    let end = step(&definition, Some(begun.state), failed("/do/0/all", "runtime"));
    assert_eq!(faulted(&end).instance.as_deref(), Some("/do/0/all"));
    let document = json!({"do": [{"l": {"for": {"in": "[1, 2, 3]"}, "do": [{"s": {"set": {}}}]}}]});
    let definition = Definition::parse(&document, &limits).unwrap();
    let begun = start(&definition, json!({}));
    assert_eq!(asked(&begun), ["/do/0/l"]);
    let end = step(&definition, Some(begun.state), failed("/do/0/l", "runtime"));
    assert_eq!(faulted(&end).instance.as_deref(), Some("/do/0/l"));
    let whole = define(json!({"do": parallel(2, json!({}))}));
    let begun = start(&whole, json!({"items": [1]}));
    let same = step(&whole, Some(begun.state), failed("/do/0/all", "runtime"));
    assert_eq!(same.ignored, Some(Ignored::NotAwaited));
}
