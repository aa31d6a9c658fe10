//! jq expressions: compiled once, run on JSON values.
//!
//! A compiled expression is pure (no clock, environment, files or process control) and bounded.
//! jq itself can run for ever, so every evaluation is metered: each evaluated term and each item
//! of `range` costs one unit of fuel, and the depth of the machine stack is watched at the same
//! place. What runs out ends with [`Error::Exhausted`], whatever `try` says.
//!
//! Numbers: integers are exact from `i64::MIN` to `u64::MAX`. Fractions are 64-bit floating point,
//! as they already are in [`serde_json::Value`]. An integer result outside that range and an
//! infinite result are errors rather than something near; NaN becomes null, as in jq.

mod access;
mod allowance;
mod bounded;
mod meter;
mod natives;
mod operators;
mod reads;
pub(crate) mod source;
mod template;
#[cfg(test)]
mod tests;
mod value;

use jaq_core::{Compiler, Ctx, Vars, load};
use jaq_json::Val;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bounded::Bounded;
use meter::{Data, Kind, Meter, Stop};
pub use reads::reads;
pub use template::Template;

/// Why an expression did not compile or did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not jq, or names something that is not there.
    #[error("{message} at character {at} of jq expression \"{source_text}\"")]
    Compile { message: String, at: usize, source_text: String, hint: Option<String> },
    /// The expression is longer or more deeply nested than this project accepts.
    #[error("jq expression is too large: {0}")]
    TooLarge(&'static str),
    /// The expression itself failed: a type error, or `error(...)`.
    #[error("{0}")]
    Run(String),
    /// The evaluation took too many steps, too much stack or too much memory.
    #[error("jq expression was stopped: {0}")]
    Exhausted(&'static str),
    /// The result holds a number that JSON cannot hold exactly enough.
    #[error("jq expression gives a number that does not fit: {0}")]
    Number(String),
}

impl Error {
    /// The way out, where there is one to tell.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Compile { hint, .. } => hint.clone(),
            Error::TooLarge(_) => {
                Some("Split the expression over several steps, or compute it in SQL.".into())
            }
            Error::Exhausted(_) => {
                Some("Look for a loop without an end; heavy work belongs in a SQL step.".into())
            }
            Error::Number(_) => Some("Pass the number on as text, with tostring.".into()),
            Error::Run(_) => None,
        }
    }
}

/// A compiled jq expression. Compile once, keep it, run it often.
pub struct Filter {
    inner: jaq_core::Filter<Kind>,
    /// For each variable, whether the text mentions it: what is not used is not converted.
    used: Vec<bool>,
    loops: bool,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filter")
    }
}

impl Filter {
    /// Compiles `source`, jq without `${ }`; `vars` are the names of the variables it may use,
    /// without `$`.
    pub fn compile(source: &str, vars: &[&str]) -> Result<Filter, Error> {
        source::check_size(source)?;
        let globals: Vec<String> = vars.iter().map(|v| format!("${v}")).collect();
        let built = catch_unwind(AssertUnwindSafe(|| {
            let arena = load::Arena::default();
            let file = load::File { code: source, path: () };
            let modules = load::Loader::new(meter::definitions())
                .load(&arena, file)
                .map_err(|e| source::load_error(source, &e))?;
            Compiler::default()
                .with_funs(meter::natives())
                .with_global_vars(globals.iter().map(String::as_str))
                .compile(modules)
                .map_err(|e| source::compile_error(source, vars, &e))
        }));
        let inner = built.unwrap_or(Err(Error::TooLarge("the parser gave up on it")))?;
        let used = vars.iter().map(|v| source::mentions(source, v)).collect();
        Ok(Filter { inner, used, loops: source::loops(source) })
    }

    /// The first output for `input`; no output at all gives null. `vars` are the values of the
    /// variables in the order of [`Filter::compile`]; missing ones are null.
    pub fn run(&self, input: &Value, vars: &[Value]) -> Result<Value, Error> {
        self.run_with(input, &|i| vars.get(i))
    }

    /// The same with variables looked up only when the expression mentions them.
    pub fn run_with<'v>(
        &self,
        input: &Value,
        var: &dyn Fn(usize) -> Option<&'v Value>,
    ) -> Result<Value, Error> {
        let values = self.used.iter().enumerate().map(|(i, used)| {
            let value = if *used { var(i) } else { None };
            Bounded::new(value.map_or(Val::Null, value::from_json))
        });
        let values: Vec<Bounded> = values.collect();
        let input = Bounded::new(value::from_json(input));
        let meter = Meter::new(self.loops);
        allowance::begin();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let data = Data::new(&self.inner.lut, &meter);
            let ctx = Ctx::<Kind>::new(data, Vars::new(values));
            match self.inner.id.run::<Kind>((ctx, input)).next() {
                None => Ok(Value::Null),
                Some(Ok(out)) => value::to_json(&out.val),
                Some(Err(exn)) => Err(Error::Run(match exn.get_err() {
                    Ok(e) => value::message(e),
                    Err(_) => "break outside of its label".to_owned(),
                })),
            }
        }));
        match ran {
            Ok(result) => result,
            Err(payload) => match payload.downcast::<Stop>() {
                Ok(stop) => Err(Error::Exhausted(stop.0)),
                Err(_) => Err(Error::Run("the jq library failed on this expression".into())),
            },
        }
    }
}

/// The jq inside `text` when the whole of it is `${ ... }`.
pub fn expression(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}').map(str::trim)
}
