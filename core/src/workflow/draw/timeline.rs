//! The attempts of a run's steps over time.

use super::label::{cut, one_line, time};
use super::svg::open;
use crate::report::escape;
use std::fmt::Write;

/// An attempt at a step; times in microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Bar {
    pub step: String,
    pub name: String,
    pub attempt: i32,
    pub status: String,
    pub started_us: i64,
    /// Now, for what goes on.
    pub ended_us: i64,
}

/// For each bar its text, of `width` columns from the first start to the last end.
pub fn bars(bars: &[Bar], width: usize) -> Vec<String> {
    let (first, span) = span(bars);
    let at = |us: i64| ((us - first) as f64 / span * width as f64) as usize;
    bars.iter()
        .map(|bar| {
            let from = at(bar.started_us).min(width.saturating_sub(1));
            let to = at(bar.ended_us).clamp(from + 1, width.max(1));
            let sign = match bar.status.as_str() {
                "completed" => "█",
                "faulted" => "▒",
                "running" | "waiting" => "░",
                _ => "·",
            };
            format!("{}{}{}", " ".repeat(from), sign.repeat(to - from), " ".repeat(width - to))
        })
        .collect()
}

fn span(bars: &[Bar]) -> (i64, f64) {
    let first = bars.iter().map(|b| b.started_us).min().unwrap_or(0);
    let last = bars.iter().map(|b| b.ended_us).max().unwrap_or(0);
    (first, (last - first).max(1) as f64)
}

/// The same as a picture.
pub fn timeline_svg(title: &str, bars: &[Bar]) -> String {
    let (left, plot, row, top) = (220.0, 640.0, 22.0, 64.0);
    let (first, span) = span(bars);
    let x = |us: i64| left + (us - first) as f64 / span * plot;
    let h = top + row * bars.len() as f64 + 20.0;
    let mut out = open(left + plot + 110.0, h, title);
    let _ =
        writeln!(out, "<text class=\"ti\" x=\"20\" y=\"28\">{}</text>", escape(&cut(title, 90)));
    for i in 0..=4 {
        let at = left + plot * f64::from(i) / 4.0;
        let label = time((span * f64::from(i) / 4.0) as i64);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{at:.1} {top}V{:.1}\"/><text class=\"kd\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            h - 16.0,
            top - 8.0
        );
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = top + row * i as f64;
        let attempt = if bar.attempt > 1 { format!(" ({})", bar.attempt) } else { String::new() };
        let name = format!("{}{attempt}", cut(&one_line(&bar.name), 28));
        let took = time(bar.ended_us - bar.started_us);
        let (from, to) = (x(bar.started_us), x(bar.ended_us));
        let status = status_class(&bar.status);
        let _ = writeln!(
            out,
            "<g><title>{}</title><text x=\"20\" y=\"{:.1}\">{}</text><rect class=\"bar {status}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"3\"/><text class=\"kd\" x=\"{:.1}\" y=\"{:.1}\">{took}</text></g>",
            escape(&format!("{} attempt {}: {status} {took}", bar.step, bar.attempt)),
            y + 15.0,
            escape(&name),
            y + 4.0,
            (to - from).max(2.0),
            to.max(from + 2.0) + 6.0,
            y + 15.0
        );
    }
    out + "</svg>\n"
}

fn status_class(status: &str) -> &'static str {
    let known = ["completed", "faulted", "running", "waiting", "skipped", "cancelled"];
    known.into_iter().find(|word| *word == status).unwrap_or("")
}
