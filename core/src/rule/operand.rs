//! What a JsonLogic comparison compares: columns, places inside json, literals, expressions.

use serde_json::Value;

use crate::problem::Problem;
use crate::rule::sql;
use crate::suggest;

/// What the compiler must know of a column's type; PostgreSQL knows the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Plain,
    Json,
    Jsonb,
}

/// The columns of the table a rule is on.
pub trait Columns {
    /// The column's kind, or `None` if there is no such column.
    fn kind(&self, name: &str) -> Option<ColumnKind>;
    /// All columns, for hints.
    fn names(&self) -> Vec<String>;
    /// Whether `old` may be used: not in rules that fire on insert only.
    fn has_old(&self) -> bool {
        true
    }
    /// Whether `new` may be used: not in rules that fire on delete only.
    fn has_new(&self) -> bool {
        true
    }
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A column of another type than json and jsonb.
    Column(String),
    Path(Path),
    Literal(Value),
    /// SQL of a type PostgreSQL infers.
    Expression(String),
}

/// A place inside a json or jsonb value.
#[derive(Clone, Debug)]
pub struct Path {
    base: String,
    segments: Vec<String>,
    jsonb: bool,
}

impl Path {
    pub fn is_jsonb(&self) -> bool {
        self.jsonb
    }

    /// The value as text: NULL if it is missing or JSON null.
    pub fn text(&self) -> String {
        format!("({} OPERATOR(pg_catalog.#>>) {})", self.base, sql::path(&self.segments))
    }

    /// The value as json or jsonb.
    pub fn value(&self) -> String {
        format!("({} OPERATOR(pg_catalog.#>) {})", self.base, sql::path(&self.segments))
    }

    /// The name of the JSON type, NULL if the value is missing.
    pub fn type_of(&self) -> String {
        let prefix = if self.jsonb { "jsonb" } else { "json" };
        format!("pg_catalog.{prefix}_typeof({})", self.value())
    }

    /// A test that the value is a number `::numeric` surely takes.
    ///
    /// jsonb holds nothing else; json keeps the author's text, so `1e999999` must be kept out.
    pub fn is_number(&self) -> String {
        let number = format!("{} OPERATOR(pg_catalog.=) 'number'", self.type_of());
        if self.jsonb {
            return number;
        }
        let plain = r"'^-?[0-9]{1,200}([.][0-9]{1,200})?$'";
        format!("{number} AND {} OPERATOR(pg_catalog.~) {plain}", self.text())
    }
}

/// Whose names a `var` may use.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// A rule on a table: `new` and `old`.
    Row(&'a dyn Columns),
    /// A rule on events: the jsonb `event`.
    Event,
}

/// Which row a bare name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    New,
    Old,
}

impl Scope<'_> {
    /// What `var` refers to.
    pub fn resolve(self, var: &str, pointer: &str) -> Result<Operand, Problem> {
        if var.contains('\0') {
            return Err(nul(pointer));
        }
        if var.is_empty() {
            let problem = Problem::error(pointer, "empty_var", "\"var\" must name a value");
            return Err(problem.with_hint(match self {
                Scope::Row(_) => "Name a column, such as {\"var\": \"new.amount\"}.",
                Scope::Event => "Name a key of the event, such as {\"var\": \"amount\"}.",
            }));
        }
        match self {
            Scope::Event => Ok(Operand::Path(Path {
                base: "event".into(),
                segments: var.split('.').map(str::to_owned).collect(),
                jsonb: true,
            })),
            Scope::Row(columns) => resolve_column(columns, var, pointer),
        }
    }

    /// The same place in `new` and in `old`, for the operators about change.
    pub fn resolve_both(self, var: &str, pointer: &str) -> Result<(Operand, Operand), Problem> {
        let Scope::Row(columns) = self else {
            return Err(Problem::error(
                pointer,
                "unsupported_operator",
                "events have no old row that a change could be seen against",
            ));
        };
        let (row, name) = split_row(var);
        if row == Some(Row::Old) {
            let message = format!("a change is named by its column, not by \"{var}\"");
            let problem = Problem::error(pointer, "old_row", message);
            return Err(problem.with_hint(format!("Write \"{name}\".")));
        }
        let new = self.resolve(&format!("new.{name}"), pointer)?;
        if !columns.has_old() {
            return Err(no_row("old", "insert", pointer));
        }
        Ok((new, self.resolve(&format!("old.{name}"), pointer)?))
    }
}

/// Splits the name of the row from that of the column.
fn split_row(var: &str) -> (Option<Row>, &str) {
    match var.split_once('.') {
        Some((row, rest)) if row.eq_ignore_ascii_case("new") => (Some(Row::New), rest),
        Some((row, rest)) if row.eq_ignore_ascii_case("old") => (Some(Row::Old), rest),
        _ => (None, var),
    }
}

/// Finds a column, or a place below a column of json.
fn resolve_column(columns: &dyn Columns, var: &str, pointer: &str) -> Result<Operand, Problem> {
    let (row, name) = split_row(var);
    let row = row.unwrap_or(if columns.has_new() { Row::New } else { Row::Old });
    let prefix = match row {
        Row::New if columns.has_new() => "new",
        Row::New => return Err(no_row("new", "delete", pointer)),
        Row::Old if columns.has_old() => "old",
        Row::Old => return Err(no_row("old", "insert", pointer)),
    };
    let found = |column: &str, kind, rest: Option<&str>| {
        let base = format!("{prefix}.{}", sql::identifier(column));
        let segments = rest.map(|r| r.split('.').map(str::to_owned).collect()).unwrap_or_default();
        match (kind, rest) {
            (ColumnKind::Plain, None) => Some(Operand::Column(base)),
            (ColumnKind::Plain, Some(_)) => None,
            (kind, _) => {
                let jsonb = kind == ColumnKind::Jsonb;
                Some(Operand::Path(Path { base, segments, jsonb }))
            }
        }
    };
    if let Some(operand) = columns.kind(name).and_then(|kind| found(name, kind, None)) {
        return Ok(operand);
    }
    let (column, rest) = match name.split_once('.') {
        Some((column, rest)) => (column, Some(rest)),
        None => (name, None),
    };
    let Some(kind) = columns.kind(column) else {
        return Err(unknown_column(columns, column, pointer));
    };
    found(column, kind, rest).ok_or_else(|| {
        let message = format!("column \"{column}\" has no field \"{}\"", rest.unwrap_or_default());
        Problem::error(pointer, "not_json", message)
            .with_hint("Only columns of type json and jsonb have fields.")
    })
}

fn unknown_column(columns: &dyn Columns, column: &str, pointer: &str) -> Problem {
    let names = columns.names();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = format!("column \"{column}\" does not exist");
    Problem::error(pointer, "unknown_column", message).with_hint(suggest::hint(column, &known))
}

fn no_row(row: &str, operation: &str, pointer: &str) -> Problem {
    let message = format!("there is no {row} row in a rule that fires on {operation} only");
    Problem::error(pointer, "no_such_row", message)
        .with_hint("Add update to the rule's operations, or leave this condition out.")
}

/// A string with a NUL, which PostgreSQL cannot store.
pub fn nul(pointer: &str) -> Problem {
    Problem::error(pointer, "nul_character", "a string must not contain the character \\u0000")
}
