//! How often a second a schedule can be asked for its next run:
//! `cargo bench -p automate_core --bench schedule`.

use automate_core::schedule::{Schedule, parse_zone};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::time::Instant;

const TIMES: u32 = 1_000_000;
/// Where a schedule is asked anew when it has led so far.
const YEARS: i64 = 365 * 86_400 * 40;

fn main() {
    let start = "2026-03-28T12:34:56Z";
    for schedule in [
        json!("* * * * *"),
        json!("*/5 8-18 * * mon-fri"),
        json!("30 2 * * *"),
        json!({"cron": "30 2 * * *", "gap": "skip", "overlap_hour": "twice"}),
        json!("0 0 1,15,L * *"),
        json!("0 9 LW * fri#3"),
        json!("0 0 31 * fri#5"),
        json!("0 0 29 2 *"),
        json!("0 0 29 2 */7"),
        json!("every 90 s"),
    ] {
        rate(&schedule, start);
    }
    // Within the hour that comes twice.
    rate(&json!("* * * * * *"), "2026-10-25T00:00:00Z");
    // Never: all the years are searched.
    rate(&json!("0 0 30 2 *"), start);
}

fn rate(schedule: &Value, start: &str) {
    let parsed = parse_zone("Europe/Zurich").and_then(|zone| Schedule::from_json(schedule, zone));
    let (Ok(parsed), Ok(start)) = (parsed, start.parse::<DateTime<Utc>>()) else {
        println!("{schedule} cannot be read");
        return;
    };
    let mut at = start;
    let began = Instant::now();
    for _ in 0..TIMES {
        at = match parsed.next(at) {
            Some(next) if (next - start).num_seconds() < YEARS => next,
            _ => start,
        };
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{:>12.0} a second  {schedule}", f64::from(TIMES) / seconds);
}
