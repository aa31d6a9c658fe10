//! Rules: conditions compiled to SQL, and the actions a match causes.

pub mod action;
pub mod before;
mod compare;
pub mod jsonlogic;
pub mod logic;
mod operand;
pub mod reads;
mod rename;
mod request;
mod sql;

pub use action::Action;
pub use jsonlogic::{event_to_sql, to_sql};
pub use operand::{ColumnKind, Columns};
pub use rename::rename_column;
