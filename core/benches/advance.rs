//! How long one call of the interpreter takes: `cargo bench -p automate_core --bench advance`.

use automate_core::workflow::{Definition, Event, Limits, Runtime, State, advance};
use serde_json::json;
use std::time::Instant;

const NOW: &str = "2026-01-02T03:04:05Z";
const TIMES: u32 = 2_000;

/// Tasks that need nothing from outside, in the turns of loops: what a run goes through between two
/// commands.
fn pure_steps(runtime: &Runtime) {
    let items: Vec<u64> = (0..1_000).collect();
    for (what, task) in [
        ("constant", json!({"set": {"n": 1, "text": "some text"}})),
        ("one expression", json!({"set": {"n": "${ .n + 1 }"}})),
        ("condition", json!({"switch": [{"y": {"when": ".n > 5", "then": "continue"}}]})),
    ] {
        let body: Vec<_> = (0..9).map(|i| json!({ format!("t{i}"): task })).collect();
        let document = json!({"do": [{"l": {"for": {"in": items}, "do": body}}]});
        let Ok(definition) = Definition::parse(&document, &Limits::default()) else {
            println!("the definition is not valid");
            return;
        };
        let mut fastest = f64::INFINITY;
        let mut steps = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let event = Event::Start { input: json!({"n": 1}) };
            let Ok(end) = advance(&definition, runtime, None, event, NOW) else { return };
            fastest = fastest.min(began.elapsed().as_secs_f64());
            steps = end.state.executed();
        }
        println!("pure steps, {what}: {:.0}/s", steps as f64 / fastest);
    }
}

fn main() {
    let document = json!({"do": [
        {"q": {"call": "sql", "with": {"query": "SELECT $1", "params": ["${ .id }"]}}}
    ]});
    let Ok(definition) = Definition::parse(&document, &Limits::default()) else {
        println!("the definition is not valid");
        return;
    };
    let runtime = Runtime { run_id: "r".into(), started_at: NOW.into(), ..Runtime::default() };
    let input = json!({"id": 5, "email": "a@example.com", "total": 99.5});
    let begin = || {
        let event = Event::Start { input: input.clone() };
        advance(&definition, &runtime, None, event, NOW)
    };
    let best = |what: &str, call: &dyn Fn() -> bool| {
        let mut fastest = f64::INFINITY;
        for _ in 0..5 {
            let began = Instant::now();
            let good = (0..TIMES).filter(|_| call()).count();
            let took = began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
            if good == TIMES as usize {
                fastest = fastest.min(took);
            }
        }
        println!("{what}: {fastest:.2} us");
    };
    best("start to the SQL command", &|| begin().is_ok());
    let Ok(stored) = begin().map(|a| serde_json::to_string(&a.state).unwrap_or_default()) else {
        return;
    };
    best("stored state and result to the end", &|| {
        let state: Option<State> = serde_json::from_str(&stored).ok();
        let event = Event::Done { step: "/do/0/q".into(), output: json!([{"x": 5}]) };
        state.is_some() && advance(&definition, &runtime, state, event, NOW).is_ok()
    });
    pure_steps(&runtime);
    best("parse the definition", &|| Definition::parse(&document, &Limits::default()).is_ok());
}
