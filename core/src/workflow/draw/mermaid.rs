//! A Mermaid flowchart.

use super::label::{cut, time};
use super::outline::{Node, Outline, Role};
use super::overlay::Overlay;
use std::collections::HashMap;
use std::fmt::Write;

const CLASSES: &str = "  classDef completed fill:#dcfce7,stroke:#15803d,color:#14532d
  classDef faulted fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d
  classDef running fill:#dbeafe,stroke:#1d4ed8,color:#1e3a8a
  classDef waiting fill:#fef3c7,stroke:#b45309,color:#78350f
  classDef skipped fill:#f1f5f9,stroke:#94a3b8,color:#475569
  classDef cancelled fill:#f1f5f9,stroke:#64748b,color:#334155
";
/// Characters of a line in a box.
const LINE: usize = 48;

/// The chart; `direction` is `TB` or `LR`.
pub fn mermaid(outline: &Outline, overlay: Option<&Overlay>, direction: &str) -> String {
    let mut chart =
        Chart { text: format!("flowchart {direction}\n"), edges: String::new(), next: 0, overlay };
    chart.text.push_str("  start((start))\n  finish((end))\n");
    let first = chart.list(&outline.tasks, "finish", 1);
    let _ = writeln!(chart.edges, "  start --> {}", first.as_deref().unwrap_or("finish"));
    if overlay.is_some() {
        chart.edges.push_str(CLASSES);
    }
    chart.text + &chart.edges
}

struct Chart<'a> {
    text: String,
    edges: String,
    next: usize,
    overlay: Option<&'a Overlay>,
}

impl Chart<'_> {
    /// Draws a list; gives the id of its first task. `end` is where the list leads to at its end.
    fn list(&mut self, tasks: &[Node], end: &str, depth: usize) -> Option<String> {
        let ids: Vec<String> = tasks.iter().map(|_| self.id()).collect();
        let names: HashMap<&str, &str> =
            tasks.iter().zip(&ids).map(|(t, id)| (t.name.as_str(), id.as_str())).collect();
        for (i, (task, id)) in tasks.iter().zip(&ids).enumerate() {
            self.task(task, id, depth);
            let next = ids.get(i + 1).map_or(end, String::as_str);
            let target = |then: Option<&str>| match then {
                None => next.to_owned(),
                Some("exit") => end.to_owned(),
                Some("end") => "finish".to_owned(),
                Some(name) => names.get(name).copied().unwrap_or(end).to_owned(),
            };
            for case in &task.cases {
                let to = target(case.then.as_deref());
                if !to.is_empty() {
                    let _ = writeln!(
                        self.edges,
                        "  {id} -->|\"{}\"| {to}",
                        escape(&cut(&case.name, LINE))
                    );
                }
            }
            let open = task.cases.is_empty() || task.cases.iter().all(|c| !c.when.is_empty());
            let to = target(task.then.as_deref());
            if open && task.kind != "raise" && !to.is_empty() {
                let _ = writeln!(self.edges, "  {id} --> {to}");
            }
        }
        ids.into_iter().next()
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn task(&mut self, task: &Node, id: &str, depth: usize) {
        let pad = "  ".repeat(depth);
        let caption = self.caption(task);
        if task.parts.is_empty() {
            let (open, close) = match task.kind.as_str() {
                "switch" => ("{", "}"),
                "wait" | "listen" | "approval" => ("([", "])"),
                _ => ("[", "]"),
            };
            let _ = writeln!(self.text, "{pad}{id}{open}\"{caption}\"{close}");
        } else {
            let _ = writeln!(self.text, "{pad}subgraph {id}[\"{caption}\"]");
            for part in &task.parts {
                let inner = match part.title.as_str() {
                    "" => None,
                    title => {
                        let box_id = self.id();
                        let _ =
                            writeln!(self.text, "{pad}  subgraph {box_id}[\"{}\"]", escape(title));
                        Some(box_id)
                    }
                };
                self.list(&part.tasks, "", depth + 1 + usize::from(inner.is_some()));
                if let Some(inner) = inner {
                    let _ = writeln!(self.text, "{pad}  end");
                    if part.role != Role::Body {
                        let _ = writeln!(self.text, "{pad}  style {inner} stroke-dasharray:5 5");
                    }
                }
            }
            let _ = writeln!(self.text, "{pad}end");
        }
        if let Some(seen) = self.overlay.and_then(|o| o.of(task)) {
            let _ = writeln!(self.edges, "  class {id} {}", seen.status());
        }
    }

    fn caption(&self, task: &Node) -> String {
        let kind = match task.label.is_empty() {
            true => task.kind.clone(),
            false => format!("{}: {}", task.kind, task.label),
        };
        let mut lines = vec![task.name.clone(), kind];
        lines.extend(task.notes.iter().cloned());
        if let Some((overlay, seen)) = self.overlay.and_then(|o| Some((o, o.of(task)?))) {
            let counts = seen.counts();
            let took = time(seen.took_us(overlay.now_us));
            lines.push(format!("{} {took} {counts}", seen.status()).trim_end().into());
        }
        lines.iter().map(|l| escape(&cut(l, LINE))).collect::<Vec<_>>().join("<br>")
    }
}

/// Mermaid knows no backslashes: whatever is not plain becomes a numeric entity.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() => out.push(c),
            ' ' | '.' | ',' | ':' | '-' | '+' | '…' => out.push(c),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
    }
    out
}
