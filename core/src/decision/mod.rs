//! Decision tables: rows of tests on inputs, and the outputs that a row means, with DMN's hit
//! policies. Nothing of a number is lost: all are decimals, read from the text of the JSON.

mod cell;
mod check;
mod csv;
mod decide;
mod index;
mod input;
mod policy;
mod table;
mod test;
mod value;

pub use check::{Finding, findings};
pub use csv::{export, import};
pub use decide::Failed;
pub use policy::Policy;
pub use table::{Source, Table};

#[cfg(test)]
mod tests;
