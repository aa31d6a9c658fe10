//! An analysed condition as text again: PostgreSQL's own deparser over the rows new and old.

use super::expression::OLD;
use crate::pg;
use pgrx::prelude::*;
use std::ffi::CStr;

/// Prints expressions over the rows of a table, with every column's row named.
pub struct Printer {
    namespaces: *mut pg_sys::List,
}

impl Printer {
    /// # Safety
    /// The table exists. The printer is good as long as the current memory context.
    pub unsafe fn of(relid: pg_sys::Oid) -> Printer {
        // SAFETY: two lists of one namespace each, made in the current context.
        unsafe {
            let new = pg_sys::deparse_context_for(c"new".as_ptr(), relid);
            let old = pg_sys::deparse_context_for(c"old".as_ptr(), relid);
            Printer { namespaces: pg_sys::list_concat(new, old) }
        }
    }

    /// The text of an expression under the search_path in force.
    ///
    /// # Safety
    /// `node` comes from [`super::expression::read`], or is a part of that; it is left as it is.
    pub unsafe fn print(&self, node: *mut pg_sys::Node) -> String {
        // SAFETY: the copy is ours; the deparser reads it and answers a palloc'd text.
        unsafe {
            let copy: *mut pg_sys::Node = pg_sys::copyObjectImpl(node.cast_const().cast()).cast();
            for var in pg::items::<pg_sys::Var>(pg_sys::pull_var_clause(copy, 0)) {
                // The deparser knows one row a query level: old stands one level up.
                (*var).varlevelsup = u32::from((*var).varno == OLD);
                (*var).varno = 1;
                (*var).varnosyn = 1;
                (*var).varattnosyn = (*var).varattno;
            }
            let text = pg_sys::deparse_expression(copy, self.namespaces, true, false);
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// A text without the parentheses around all of it.
pub fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else {
        return text;
    };
    let (mut depth, mut quote) = (0, None);
    for c in inner.chars() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            // The first parenthesis was closed before the end.
            (None, ')') if depth == 0 => return text,
            (None, ')') => depth -= 1,
            _ => {}
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn only_a_pair_around_all_goes() {
        assert_eq!(bare("(a > 1)"), "a > 1");
        assert_eq!(bare("(a) AND (b)"), "(a) AND (b)");
        assert_eq!(bare("(a = ')' || \"(\")"), "a = ')' || \"(\"");
        assert_eq!(bare("f(a)"), "f(a)");
        assert_eq!(bare("(a = 'it''s)')"), "a = 'it''s)'");
    }
}
