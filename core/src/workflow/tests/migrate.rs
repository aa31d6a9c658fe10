use super::super::migrate::{Awaits, Migrated, migrate};
use super::random::{Dice, all, anything, sample};
use super::*;
use serde_json::json;

fn moved(state: &State, from: &Definition, to: &Definition) -> Migrated {
    migrate(state, from, to).unwrap()
}

fn refused(state: &State, from: &Definition, to: &Definition) -> Vec<(String, &'static str)> {
    migrate(state, from, to).unwrap_err().into_iter().map(|p| (p.pointer, p.code)).collect()
}

/// The same document with another task before all of its own.
fn shifted(document: &Value) -> Value {
    let mut document = document.clone();
    document["do"].as_array_mut().unwrap().insert(0, json!({"before": {"set": {}}}));
    document
}

/// Text of JSON, with what becomes of the places of tasks in the outermost list.
fn places(text: &str, change: impl Fn(usize) -> String) -> String {
    let mut parts = text.split("\"/do/");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let place = digits.parse().map(&change).unwrap_or_default();
        out.push_str(&format!("\"/do/{place}{}", &part[digits.len()..]));
    }
    out
}

/// An event as after [`shifted`].
fn shift(event: &Event) -> Event {
    let text = serde_json::to_string(event).unwrap();
    serde_json::from_str(&places(&text, |place| (place + 1).to_string())).unwrap()
}

/// A state without these places, which errors that were caught before keep.
fn placeless(state: &State) -> String {
    places(&serde_json::to_string(state).unwrap(), |_| String::new())
}

#[test]
fn to_the_same_definition_nothing_changes() {
    for (document, seed) in [(sample(), 3), (all(), 4)] {
        let definition = define(document);
        let mut dice = Dice(seed);
        for _ in 0..30 {
            let mut state = start(&definition, json!({"n": 1})).state;
            for _ in 0..40 {
                let migrated = moved(&state, &definition, &definition);
                assert_eq!(migrated.state, state);
                assert!(migrated.steps.iter().all(|s| s.from == s.to));
                let event = anything(&mut dice, &state);
                state = step(&definition, Some(state), event).state;
            }
        }
    }
}

#[test]
fn there_and_back_again_is_where_it_was() {
    for (document, seed) in [(sample(), 5), (all(), 6)] {
        let (here, there) = (define(document.clone()), define(shifted(&document)));
        let mut dice = Dice(seed);
        for _ in 0..30 {
            let mut state = start(&here, json!({"n": 1})).state;
            for _ in 0..40 {
                let away = moved(&state, &here, &there).state;
                assert!(state.is_terminal() || away != state, "{state:?}");
                assert_eq!(moved(&away, &there, &here).state, state);
                let event = anything(&mut dice, &state);
                state = step(&here, Some(state), event).state;
            }
        }
    }
}

#[test]
fn a_migrated_run_goes_on_as_it_would_have() {
    for (document, seed) in [(sample(), 7), (all(), 8)] {
        let (here, there) = (define(document.clone()), define(shifted(&document)));
        let mut dice = Dice(seed);
        let mut steps = 0;
        for _ in 0..40 {
            let mut state = start(&here, json!({"n": 1})).state;
            for _ in 0..40 {
                let event = anything(&mut dice, &state);
                let away = moved(&state, &here, &there).state;
                let went = step(&there, Some(away), shift(&event));
                let next = step(&here, Some(state), event);
                assert_eq!(went.ignored, next.ignored);
                assert_eq!(went.commands.len(), next.commands.len());
                let migrated = moved(&next.state, &here, &there).state;
                assert_eq!(placeless(&migrated), placeless(&went.state));
                steps += usize::from(next.ignored.is_none());
                state = next.state;
            }
        }
        assert!(steps > 100, "{steps}");
    }
}

#[test]
fn a_run_finds_its_task_by_name_and_goes_on_with_what_comes_there() {
    let from = define(json!({"do": [{"a": sql("q")}, {"b": sql("old")}]}));
    let to = define(json!({"do": [{"x": {"set": {}}}, {"a": sql("q2")}, {"c": sql("new")}]}));
    let begun = start(&from, json!({}));
    let migrated = moved(&begun.state, &from, &to);
    assert_eq!(migrated.steps.len(), 1);
    let only = &migrated.steps[0];
    assert_eq!((only.from.as_str(), only.to.as_str()), ("/do/0/a", "/do/1/a"));
    assert_eq!(only.waits_for, Awaits::Session);
    let next = step(&to, Some(migrated.state), done("/do/1/a", json!(1)));
    assert_eq!(asked(&next), ["/do/2/c"]);
}

#[test]
fn what_is_not_there_is_told() {
    let from = define(json!({"do": [{"l": {"for": {"in": "[1, 2]"}, "do": [{"q": sql("q")}]}}]}));
    let state = start(&from, json!({})).state;
    let other_kind =
        json!({"do": [{"l": {"for": {"in": "[1, 2]"}, "do": [{"q": {"wait": {"seconds": 1}}}]}}]});
    assert_eq!(
        refused(&state, &from, &define(other_kind)),
        [("/do/0/l/do/0/q#0".into(), "no_such_step")]
    );
    let side_by_side = json!({"do": [{"l": {"for": {"in": "[1, 2]"}, "metadata": {"maxParallel": 2},
        "do": [{"q": sql("q")}]}}]});
    assert_eq!(refused(&state, &from, &define(side_by_side)), [("/do/0/l".into(), "no_such_step")]);
}

#[test]
fn branches_of_a_fork_may_change_places_but_not_come_and_go() {
    let fork = |names: &[&str]| {
        let branches: Vec<Value> = names.iter().map(|n| json!({*n: sql(n)})).collect();
        define(json!({"do": [{"f": {"fork": {"branches": branches}}}]}))
    };
    let (from, to) = (fork(&["a", "b"]), fork(&["b", "a"]));
    let begun = start(&from, json!({})).state;
    let state = step(&from, Some(begun), done("/do/0/f/fork/branches/0/a", json!("A"))).state;
    let there = moved(&state, &from, &to).state;
    let end = step(&to, Some(there), done("/do/0/f/fork/branches/0/b", json!("B")));
    assert_eq!(completed(&end), &json!(["B", "A"]));
    let more = refused(&state, &from, &fork(&["a", "b", "c"]));
    assert_eq!(more, [("/do/0/f".into(), "other_branches")]);
    assert!(!refused(&state, &from, &fork(&["a"])).is_empty());
}

#[test]
fn what_was_done_is_undone_as_the_other_definition_says() {
    let task = |undo: Option<&str>| match undo {
        Some(undo) => json!({"call": "sql", "with": {"query": "q"},
                             "metadata": {"compensate": [{"u": sql(undo)}]}}),
        None => sql("q"),
    };
    let with = |undo: Option<&str>| {
        define(json!({"do": [{"a": task(undo)}, {"w": {"wait": {"hours": 1}}}]}))
    };
    let (from, to) = (with(Some("old")), with(Some("new")));
    let begun = start(&from, json!({})).state;
    let state = step(&from, Some(begun), done("/do/0/a", json!(1))).state;
    let there = moved(&state, &from, &to).state;
    let undoing = step(&to, Some(there), Event::Cancelled { compensate: true });
    let query = undoing.commands.iter().find_map(|c| match c {
        Command::Sql { statement, .. } => Some(statement.as_str()),
        _ => None,
    });
    assert_eq!(query, Some("new"));
    assert_eq!(refused(&state, &from, &with(None)), [("/do/0/a".into(), "no_compensation")]);
}
