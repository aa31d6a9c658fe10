//! Reports: their definition, and one block tree rendered as text, HTML and CSV.
//!
//! The caller runs the datasets in one snapshot and hands in their rows as PostgreSQL's text
//! output; nothing here reads a clock or a database.

mod chart;
mod csv;
pub(crate) mod decimal;
mod definition;
mod format;
mod html;
mod layout;
mod placeholder;
mod render;
mod statement;
mod text;
mod view;

pub use chart::{ChartOptions, Point, bar_chart_svg};
pub use definition::{Dataset, Definition, Format, OnEmpty, Param, ParamKind, parse};
pub use format::NumberFormat;
pub(crate) use html::escape;
pub use layout::{Align, Block, ChartBlock, ColumnStyle, TableBlock};
pub use placeholder::Text;
pub use render::{Column, Data, MAX_BYTES, RenderError, Table, render};
pub use statement::Statement;

#[cfg(test)]
mod tests;
