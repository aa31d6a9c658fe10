//! Pictures of workflows: of a definition, or of a run of it.
//!
//! [`Outline`] is what every picture is drawn from: the tree of a document's tasks with a short
//! label each. [`Overlay`] is what a run has done with them. Both are plain data, so that a picture
//! depends on nothing else.

mod html;
mod label;
mod layout;
mod mermaid;
mod outline;
mod overlay;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod timeline;

pub use html::{Attempt, html};
pub use mermaid::mermaid;
pub use outline::{DrawError, Outline};
pub use overlay::{Overlay, Seen};
pub use svg::svg;
pub use text::text;
pub use timeline::{Bar, bars, timeline_svg};
