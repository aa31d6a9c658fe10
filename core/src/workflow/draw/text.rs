//! A tree for a terminal.

use super::label::{cut, time};
use super::outline::{Node, Outline, Part, Role};
use super::overlay::{Overlay, mark};
use unicode_width::UnicodeWidthStr;

/// Columns of a line, of its tree and of the kinds.
const WIDTH: usize = 98;
const TREE: usize = 34;
const KIND: usize = 9;
/// Columns at the end for what a run did.
const STATUS: usize = 32;

/// The whole tree, a line a task.
pub fn text(outline: &Outline, overlay: Option<&Overlay>) -> String {
    let mut out = Tree { text: format!("{}\n", outline.title), overlay };
    if let Some(overlay) = overlay {
        out.text.push_str(&format!("{}\n", overlay.headline()));
    }
    out.list(&outline.tasks, "");
    out.text.truncate(out.text.trim_end().len());
    out.text
}

struct Tree<'a> {
    text: String,
    overlay: Option<&'a Overlay>,
}

impl Tree<'_> {
    fn list(&mut self, tasks: &[Node], lead: &str) {
        for (i, task) in tasks.iter().enumerate() {
            let last = i + 1 == tasks.len();
            self.task(task, lead, last);
        }
    }

    fn task(&mut self, node: &Node, lead: &str, last: bool) {
        let (turn, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let mut what = vec![node.label.clone()];
        what.extend(node.notes.iter().cloned());
        what.extend(node.then.iter().map(|then| format!("→ {then}")));
        what.retain(|part| !part.is_empty());
        self.line(&format!("{lead}{turn}{}", node.name), &node.kind, &what.join("; "), Some(node));
        let lead = format!("{lead}{more}");
        // A frame without a title adds nothing to the tree.
        let bar = if node.parts.is_empty() { "   " } else { "│  " };
        for case in &node.cases {
            let then = case.then.as_deref().unwrap_or("go on");
            let when = if case.when.is_empty() { "otherwise" } else { &case.when };
            self.line(
                &format!("{lead}{bar}◇ {}", case.name),
                "case",
                &format!("→ {then}; {when}"),
                None,
            );
        }
        for (i, part) in node.parts.iter().enumerate() {
            self.part(part, &lead, i + 1 == node.parts.len());
        }
    }

    fn part(&mut self, part: &Part, lead: &str, last: bool) {
        if part.title.is_empty() {
            for (i, task) in part.tasks.iter().enumerate() {
                self.task(task, lead, last && i + 1 == part.tasks.len());
            }
            return;
        }
        let (turn, more) = if last { ("└╌ ", "   ") } else { ("├╌ ", "│  ") };
        let kind = match part.role {
            Role::Compensate => "if undone",
            Role::Catch => "on error",
            _ => "",
        };
        self.line(&format!("{lead}{turn}{}", part.title), kind, "", None);
        self.list(&part.tasks, &format!("{lead}{more}"));
    }

    fn line(&mut self, tree: &str, kind: &str, what: &str, node: Option<&Node>) {
        let run = self.overlay.map(|overlay| {
            let seen = node.and_then(|node| overlay.of(node));
            seen.map_or(String::new(), |seen| {
                let status = seen.status();
                let took = time(seen.took_us(overlay.now_us));
                let counts = seen.counts();
                let sep = if counts.is_empty() { "" } else { "; " };
                format!("{} {status} {took}{sep}{counts}", mark(status))
            })
        });
        let room = WIDTH - TREE - KIND - 3 - run.as_ref().map_or(0, |_| STATUS + 1);
        let mut line = format!("{} {} {}", fit(tree, TREE), fit(kind, KIND), fit(what, room));
        if let Some(run) = run {
            line.push_str(&format!(" {}", fit(&run, STATUS)));
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// A text in just so many columns.
fn fit(text: &str, width: usize) -> String {
    let mut short = text.to_owned();
    let mut keep = width;
    while short.width() > width {
        short = cut(text, keep);
        keep -= 1;
    }
    let pad = width - short.width();
    short + &" ".repeat(pad)
}
