//! How long one call of the interpreter takes: `cargo bench -p automate_core --bench advance`.

use automate_core::workflow::{Definition, Event, Limits, Runtime, State, advance};
use serde_json::json;
use std::time::Instant;

const NOW: &str = "2026-01-02T03:04:05Z";
const TIMES: u32 = 2_000;

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
    best("parse the definition", &|| Definition::parse(&document, &Limits::default()).is_ok());
}
