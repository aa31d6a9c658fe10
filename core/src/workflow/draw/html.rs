//! One page with everything, which asks nothing of the network.

use super::label::time;
use super::outline::{Node, Outline};
use super::overlay::Overlay;
use super::svg::{STYLE, svg};
use crate::report::escape;
use serde_json::Value;
use std::fmt::Write;

const PAGE: &str = include_str!("page.css");

/// An attempt at a step, with what went in and came out as text.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub step: String,
    pub name: String,
    pub attempt: i32,
    pub status: String,
    pub started: String,
    pub took_us: i64,
    pub input: Option<String>,
    pub output: Option<String>,
    pub error: Option<String>,
}

/// The page; `attempts` are those of the run, if it is of one, and `left_out` how many more it has.
pub fn html(
    outline: &Outline,
    overlay: Option<&Overlay>,
    attempts: &[Attempt],
    left_out: i64,
    definition: &Value,
) -> String {
    let title = escape(&outline.title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{PAGE}</style>\n</head>\n<body class=\"wf\">\n<h1>{title}</h1>\n"
    );
    if let Some(overlay) = overlay {
        let _ = writeln!(page, "<p>{}</p>", escape(&overlay.headline()));
    }
    let _ = writeln!(page, "<div class=\"picture\">{}</div>", svg(outline, overlay));
    match overlay {
        Some(_) => table(&mut page, attempts, left_out),
        None => tasks(&mut page, outline),
    }
    let text = serde_json::to_string_pretty(definition).unwrap_or_default();
    let _ = writeln!(
        page,
        "<h2>Definition</h2>\n<details><summary>JSON</summary><pre>{}</pre></details>",
        escape(&text)
    );
    page + "</body>\n</html>\n"
}

fn tasks(page: &mut String, outline: &Outline) {
    page.push_str("<h2>Tasks</h2>\n<table><thead><tr><th>Task</th><th>Kind</th><th>What it does</th><th>Place</th></tr></thead><tbody>\n");
    outline.each(&mut |node: &Node, depth: usize| {
        let what: Vec<&str> =
            std::iter::once(node.label.as_str()).chain(node.notes.iter().map(String::as_str)).collect();
        let _ = writeln!(
            page,
            "<tr><td style=\"padding-left:{}px\">{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            8 + depth * 18,
            escape(&node.name),
            escape(&node.kind),
            escape(what.join("; ").trim_matches([';', ' '])),
            escape(&node.pointer)
        );
    });
    page.push_str("</tbody></table>\n");
}

fn table(page: &mut String, attempts: &[Attempt], left_out: i64) {
    page.push_str("<h2>Steps</h2>\n<table><thead><tr><th>Step</th><th>Attempt</th><th>Status</th><th>Started</th><th>Took</th><th>Data</th></tr></thead><tbody>\n");
    for a in attempts {
        let _ = write!(
            page,
            "<tr><td>{}<br><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>",
            escape(&a.name),
            escape(&a.step),
            a.attempt,
            escape(&a.status),
            escape(&a.started),
            time(a.took_us)
        );
        for (word, value) in [("input", &a.input), ("output", &a.output), ("error", &a.error)] {
            if let Some(value) = value {
                let _ = write!(
                    page,
                    "<details><summary>{word}</summary><pre>{}</pre></details>",
                    escape(value)
                );
            }
        }
        page.push_str("</td></tr>\n");
    }
    page.push_str("</tbody></table>\n");
    if left_out > 0 {
        let _ = writeln!(page, "<p>{left_out} more are in automate.run_step.</p>");
    }
}
