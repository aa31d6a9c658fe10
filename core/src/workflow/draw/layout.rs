//! Sizes and places, from the inside out: a list is a column, the parts of a task stand in a row
//! in its frame.

use super::label::{cut, time};
use super::outline::{Node, Outline, Part, Role};
use super::overlay::{Overlay, mark};
use unicode_width::UnicodeWidthStr;

/// Between two tasks, where the arrow is.
pub(super) const GAP: f64 = 26.0;
/// Within frames, and between their parts.
pub(super) const PAD: f64 = 14.0;
/// Height of a line of text.
pub(super) const LINE: f64 = 16.0;
/// Between the lanes of jumps.
pub(super) const LANE: f64 = 11.0;
/// Parts side by side beyond this go on in another row.
const ROW: f64 = 1_300.0;
const CHARS: usize = 40;
const LEAST: f64 = 170.0;

/// A line of a box: its text, cut, and its style.
pub(super) struct Line {
    pub text: String,
    pub class: &'static str,
}

pub(super) struct Block<'a> {
    pub node: &'a Node,
    pub status: Option<&'static str>,
    pub lines: Vec<Line>,
    pub parts: Vec<Inner<'a>>,
    pub w: f64,
    pub h: f64,
}

/// A part of a task, at a place within its frame.
pub(super) struct Inner<'a> {
    pub part: &'a Part,
    pub column: Column<'a>,
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

#[derive(Default)]
pub(super) struct Column<'a> {
    pub blocks: Vec<Block<'a>>,
    pub jumps: Vec<Jump>,
    /// Of the tasks alone, without the lanes beside them.
    pub inner: f64,
    pub w: f64,
    pub h: f64,
}

/// From one task of a column to another.
pub(super) struct Jump {
    pub from: usize,
    pub to: usize,
    pub lane: usize,
}

pub(super) fn layout<'a>(outline: &'a Outline, overlay: Option<&Overlay>) -> Column<'a> {
    column(&outline.tasks, overlay)
}

fn column<'a>(tasks: &'a [Node], overlay: Option<&Overlay>) -> Column<'a> {
    let blocks: Vec<Block> = tasks.iter().map(|task| block(task, overlay)).collect();
    let jumps = jumps(tasks);
    let lanes = jumps.iter().map(|j| j.lane + 1).max().unwrap_or(0);
    let inner = blocks.iter().map(|b| b.w).fold(0.0, f64::max);
    let gaps = GAP * blocks.len().saturating_sub(1) as f64;
    let h = blocks.iter().map(|b| b.h).sum::<f64>() + gaps;
    // On both sides, so that the column stays in the middle.
    let side = if lanes > 0 { LANE * (lanes + 1) as f64 } else { 0.0 };
    Column { w: inner + 2.0 * side, blocks, jumps, inner, h }
}

/// The jumps of a list, each in a lane that is free all the way.
fn jumps(tasks: &[Node]) -> Vec<Jump> {
    let mut jumps: Vec<Jump> = Vec::new();
    for (from, task) in tasks.iter().enumerate() {
        let wanted =
            task.cases.iter().filter_map(|c| c.then.as_deref()).chain(task.then.as_deref());
        for name in wanted {
            let Some(to) = tasks.iter().position(|t| t.name == name) else { continue };
            if to == from + 1 || jumps.iter().any(|j| j.from == from && j.to == to) {
                continue;
            }
            let apart =
                |j: &Jump| j.from.max(j.to) < from.min(to) || j.from.min(j.to) > from.max(to);
            let free = |lane: &usize| jumps.iter().all(|j| j.lane != *lane || apart(j));
            let lane = (0..).find(free).unwrap_or(0);
            jumps.push(Jump { from, to, lane });
        }
    }
    jumps
}

fn block<'a>(node: &'a Node, overlay: Option<&Overlay>) -> Block<'a> {
    let seen = overlay.and_then(|o| Some((o, o.of(node)?)));
    let status = seen.map(|(_, seen)| seen.status());
    let mut lines = lines(node);
    if let Some((overlay, seen)) = seen {
        let word = seen.status();
        let took = time(seen.took_us(overlay.now_us));
        let text = format!("{} {word} {took}  {}", mark(word), seen.counts());
        lines.push(Line { text: text.trim_end().into(), class: "st" });
    }
    let widest = lines.iter().map(width).fold(LEAST, f64::max);
    let head = 14.0 + LINE * lines.len() as f64;
    let mut parts: Vec<Inner> = node.parts.iter().map(|part| inner(part, overlay)).collect();
    let (w, h) = place(&mut parts, head, widest);
    Block { node, status, lines, parts, w, h }
}

/// Puts the parts in rows below the caption; gives the size of the whole frame.
fn place(parts: &mut [Inner], head: f64, least: f64) -> (f64, f64) {
    if parts.is_empty() {
        return (least, head);
    }
    let (mut x, mut y, mut w, mut tall) = (PAD, head, least, 0.0_f64);
    for part in parts.iter_mut() {
        if x > PAD && x + part.w > ROW {
            (x, y, tall) = (PAD, y + tall + PAD, 0.0);
        }
        (part.x, part.y) = (x, y);
        x += part.w + PAD;
        tall = tall.max(part.h);
        w = w.max(x);
    }
    if let [only] = parts {
        only.x = (w - only.w) / 2.0;
    }
    (w, y + tall + PAD)
}

fn inner<'a>(part: &'a Part, overlay: Option<&Overlay>) -> Inner<'a> {
    let column = column(&part.tasks, overlay);
    let title = if part.title.is_empty() { 0.0 } else { LINE + 6.0 };
    let framed = if framed(part) { 2.0 * PAD } else { 0.0 };
    let wide = part.title.width().min(CHARS) as f64 * 6.6;
    let (w, h) = (column.w.max(wide) + framed, column.h + title + framed);
    Inner { part, column, x: 0.0, y: 0.0, w, h }
}

/// Whether a part has a frame of its own, dashed.
pub(super) fn framed(part: &Part) -> bool {
    matches!(part.role, Role::Catch | Role::Compensate)
}

fn lines(node: &Node) -> Vec<Line> {
    let line = |text: &str, class| Line { text: cut(text, CHARS), class };
    let mut lines = vec![line(&node.name, "nm")];
    let what = if node.label.is_empty() {
        node.kind.clone()
    } else {
        format!("{} · {}", node.kind, node.label)
    };
    lines.push(line(&what, "kd"));
    lines.extend(node.notes.iter().map(|note| line(note, "nt")));
    for case in &node.cases {
        let when = if case.when.is_empty() { String::new() } else { format!(": {}", case.when) };
        let then = case.then.as_deref().unwrap_or("go on");
        let then = cut(then, 16);
        let head = cut(&format!("{}{when}", case.name), CHARS - then.chars().count() - 5);
        lines.push(Line { text: format!("◇ {head} → {then}"), class: "cs" });
    }
    if let Some(then) = &node.then {
        lines.push(line(&format!("→ {then}"), "cs"));
    }
    lines
}

fn width(line: &Line) -> f64 {
    let each = match line.class {
        "nm" => 7.8,
        "st" => 7.2,
        _ => 6.4,
    };
    line.text.width() as f64 * each + 24.0
}
