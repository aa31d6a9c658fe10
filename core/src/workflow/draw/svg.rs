//! A picture for browsers and documents, light or dark as its reader has it.

use super::layout::{Block, Column, GAP, Inner, LANE, LINE, PAD, framed, layout};
use super::outline::{Node, Outline};
use super::overlay::Overlay;
use crate::report::escape;
use std::fmt::Write;

pub(super) const STYLE: &str = include_str!("picture.css");
/// Room around the whole, and for its title.
const MARGIN: f64 = 24.0;
const HEAD: f64 = 62.0;
/// Height of the marks where it starts and ends.
const ROUND: f64 = 24.0;

pub fn svg(outline: &Outline, overlay: Option<&Overlay>) -> String {
    let column = layout(outline, overlay);
    let w = (column.w + 2.0 * MARGIN).max(460.0);
    let h = column.h + HEAD + 2.0 * (ROUND + GAP) + MARGIN;
    let mut out = Picture { text: open(w, h, &outline.title) };
    out.write(format_args!(
        "<text class=\"ti\" x=\"{MARGIN}\" y=\"28\">{}</text>",
        escape(&super::label::cut(&outline.title, 60))
    ));
    if let Some(overlay) = overlay {
        let line = overlay.headline();
        out.write(format_args!(
            "<text class=\"nt\" x=\"{MARGIN}\" y=\"46\">{}<title>{}</title></text>",
            escape(&super::label::cut(&line, 64)),
            escape(&line)
        ));
    }
    let (mid, mut y) = (w / 2.0, HEAD);
    out.round(mid, y, "start");
    y += ROUND;
    out.arrow(mid, y, y + GAP);
    y += GAP;
    out.column(&column, mid, y);
    y += column.h;
    out.arrow(mid, y, y + GAP);
    out.round(mid, y + GAP, "end");
    out.text + "</svg>\n"
}

/// The beginning of a picture of this size.
pub(super) fn open(w: f64, h: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"wf\" role=\"img\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"wf-tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\"/></marker></defs>\n\
         <rect class=\"bg\" width=\"{w:.0}\" height=\"{h:.0}\"/>\n",
        escape(title)
    )
}

struct Picture {
    text: String,
}

impl Picture {
    fn write(&mut self, what: std::fmt::Arguments) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(what);
        self.text.push('\n');
    }

    fn round(&mut self, mid: f64, y: f64, word: &str) {
        self.write(format_args!(
            "<rect class=\"rd\" x=\"{:.1}\" y=\"{y:.1}\" width=\"60\" height=\"{ROUND}\" rx=\"12\"/><text class=\"rt\" x=\"{mid:.1}\" y=\"{:.1}\">{word}</text>",
            mid - 30.0,
            y + 16.0
        ));
    }

    fn arrow(&mut self, x: f64, from: f64, to: f64) {
        self.write(format_args!(
            "<path class=\"ar\" marker-end=\"url(#wf-tip)\" d=\"M{x:.1} {from:.1}V{to:.1}\"/>"
        ));
    }

    fn column(&mut self, column: &Column, mid: f64, top: f64) {
        let mut y = top;
        let mut places = Vec::with_capacity(column.blocks.len());
        for (i, block) in column.blocks.iter().enumerate() {
            places.push((mid + block.w / 2.0, y));
            self.block(block, mid - block.w / 2.0, y);
            y += block.h;
            let last = i + 1 == column.blocks.len();
            if !last && goes_on(block.node, &column.blocks[i + 1].node.name) {
                self.arrow(mid, y, y + GAP);
            }
            y += GAP;
        }
        for jump in &column.jumps {
            let ((from, from_y), (to, to_y)) = (places[jump.from], places[jump.to]);
            let lane = mid + column.inner / 2.0 + LANE * (jump.lane + 1) as f64;
            // Leaves lower than where others arrive.
            let (a, b) = (from_y + column.blocks[jump.from].h.min(60.0) - 12.0, to_y + 14.0);
            self.write(format_args!(
                "<path class=\"jp\" marker-end=\"url(#wf-tip)\" d=\"M{from:.1} {a:.1}H{lane:.1}V{b:.1}H{to:.1}\"/>"
            ));
        }
    }

    fn block(&mut self, block: &Block, x: f64, y: f64) {
        let status = block.status.unwrap_or("");
        let frame = if block.parts.is_empty() { "bx" } else { "fr" };
        let node = block.node;
        self.write(format_args!(
            "<g><title>{}</title><rect class=\"{frame} k-{} {status}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>",
            escape(&whole(node)),
            shape(&node.kind),
            block.w,
            block.h
        ));
        for (i, line) in block.lines.iter().enumerate() {
            let status = if line.class == "st" { status } else { "" };
            self.write(format_args!(
                "<text class=\"{} {status}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                line.class,
                x + 12.0,
                y + 20.0 + LINE * i as f64,
                escape(&line.text)
            ));
        }
        self.write(format_args!("</g>"));
        for inner in &block.parts {
            self.part(inner, x, y);
        }
    }

    fn part(&mut self, inner: &Inner, x: f64, y: f64) {
        let (x, mut y) = (x + inner.x, y + inner.y);
        let mid = x + inner.w / 2.0;
        let mut left = x;
        if framed(inner.part) {
            self.write(format_args!(
                "<rect class=\"ds\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>",
                inner.w, inner.h
            ));
            left += PAD;
            y += PAD;
        }
        if !inner.part.title.is_empty() {
            let title = super::label::cut(&inner.part.title, 40);
            self.write(format_args!(
                "<text class=\"nt\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
                y + 8.0,
                escape(&title)
            ));
            y += LINE + 6.0;
        }
        self.column(&inner.column, mid, y);
    }
}

/// Whether a task can lead to the one below it.
fn goes_on(node: &Node, next: &str) -> bool {
    let leads = |then: Option<&str>| then.is_none_or(|then| then == next);
    if node.kind == "raise" {
        return false;
    }
    let open = node.cases.iter().all(|c| !c.when.is_empty());
    open && leads(node.then.as_deref()) || node.cases.iter().any(|c| leads(c.then.as_deref()))
}

/// What a box may have cut.
fn whole(node: &Node) -> String {
    let mut text = format!("{} ({} {})\n{}", node.name, node.kind, node.label, node.pointer);
    for case in &node.cases {
        let then = case.then.as_deref().unwrap_or("continue");
        let _ = write!(text, "\n{}: {} → {then}", case.name, case.when);
    }
    text
}

/// The kinds that have a colour of their own; the name of a function may be anything.
fn shape(kind: &str) -> &'static str {
    match kind {
        "sql" => "sql",
        "http" | "notify" | "report" | "emit" => "out",
        "wait" | "listen" | "approval" => "wait",
        "switch" => "switch",
        "raise" => "raise",
        _ => "plain",
    }
}
