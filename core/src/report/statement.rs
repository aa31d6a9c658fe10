//! SQL with named parameters: `$from` becomes `$1`, bound and never spliced.

use crate::problem::Problem;
use crate::suggest;

/// One statement, ready to be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text with `$1`, `$2`, ... in place of the names.
    pub sql: String,
    /// The parameters' names in the order of their numbers.
    pub param_names: Vec<String>,
}

/// Longest statement, in bytes.
const MAX_SQL: usize = 256 * 1024;

/// Rewrites the named parameters of `text`; `known` are the names there are.
///
/// Strings (also `E''` and dollar-quoted ones), quoted identifiers and comments are passed over,
/// as PostgreSQL's scanner does with `standard_conforming_strings` on.
pub fn parse(text: &str, known: &[&str], pointer: &str) -> Result<Statement, Vec<Problem>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        copied: 0,
        known,
        pointer,
        out: Statement { sql: String::with_capacity(text.len()), param_names: Vec::new() },
        problems: Vec::new(),
    };
    if text.len() > MAX_SQL {
        scanner.fail("too_long", format!("SQL of more than {MAX_SQL} bytes is not allowed"), None);
    } else if text.contains('\0') {
        scanner.fail("nul_character", "SQL must not contain the character \\u0000".into(), None);
    } else {
        scanner.run();
    }
    if !scanner.problems.is_empty() {
        return Err(scanner.problems);
    }
    scanner.out.sql.push_str(&text[scanner.copied..]);
    Ok(scanner.out)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// How much of the text the output holds.
    copied: usize,
    known: &'a [&'a str],
    pointer: &'a str,
    out: Statement,
    problems: Vec<Problem>,
}

/// Starts an identifier: a letter, an underscore, or anything beyond ASCII.
fn is_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_part(byte: u8) -> bool {
    is_start(byte) || byte.is_ascii_digit()
}

impl Scanner<'_> {
    fn fail(&mut self, code: &'static str, message: String, hint: Option<String>) {
        let mut problem = Problem::error(self.pointer, code, message);
        problem.hint = hint;
        if self.problems.len() < 100 {
            self.problems.push(problem);
        }
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + offset).copied()
    }

    /// The end of the run of bytes from `from` on that `test` holds for.
    fn end_of(&self, from: usize, test: fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        from + rest.iter().position(|b| !test(*b)).unwrap_or(rest.len())
    }

    /// Goes behind `end`, looked for from `from` on; says what stays open if it is not there.
    fn skip_past(&mut self, from: usize, end: &str, what: &str) {
        match self.text.get(from..).and_then(|rest| rest.find(end)) {
            Some(found) => self.at = from + found + end.len(),
            None => self.unterminated(what),
        }
    }

    fn unterminated(&mut self, what: &str) {
        let line = self.text[..self.at].matches('\n').count() + 1;
        self.fail("unterminated", format!("unterminated {what} in line {line} of the SQL"), None);
        self.at = self.text.len();
    }

    fn run(&mut self) {
        while let Some(byte) = self.byte(0) {
            match (byte, self.byte(1)) {
                (b'\'', _) => self.quoted(b'\'', false, "quoted string"),
                (b'e' | b'E', Some(b'\'')) => {
                    self.at += 1;
                    self.quoted(b'\'', true, "quoted string");
                }
                (b'"', _) => self.quoted(b'"', false, "quoted identifier"),
                (b'-', Some(b'-')) => {
                    self.at = self.end_of(self.at, |b| b != b'\n' && b != b'\r');
                }
                (b'/', Some(b'*')) => self.comment(),
                (b'$', Some(next)) if is_start(next) || next == b'$' => self.dollar(),
                (b'$', Some(next)) if next.is_ascii_digit() => self.positional(),
                (b';', _) => self.semicolon(),
                // A dollar inside an identifier belongs to it.
                (first, _) if is_part(first) => {
                    self.at = self.end_of(self.at, |b| is_part(b) || b == b'$');
                }
                _ => self.at += 1,
            }
        }
    }

    /// A quoted token; a doubled quote stands for one, a backslash escapes if `escapes`.
    fn quoted(&mut self, quote: u8, escapes: bool, what: &str) {
        let bytes = self.text.as_bytes();
        let mut i = self.at + 1;
        while let Some(byte) = bytes.get(i) {
            match *byte {
                b'\\' if escapes => i += 2,
                b if b == quote && bytes.get(i + 1) == Some(&quote) => i += 2,
                b if b == quote => {
                    self.at = i + 1;
                    return;
                }
                _ => i += 1,
            }
        }
        self.unterminated(what);
    }

    /// Block comments nest in PostgreSQL.
    fn comment(&mut self) {
        let bytes = self.text.as_bytes();
        let (mut depth, mut i) = (1usize, self.at + 2);
        while depth > 0 {
            match (bytes.get(i), bytes.get(i + 1)) {
                (Some(b'/'), Some(b'*')) => (depth, i) = (depth + 1, i + 2),
                (Some(b'*'), Some(b'/')) => (depth, i) = (depth - 1, i + 2),
                (Some(_), _) => i += 1,
                (None, _) => return self.unterminated("comment"),
            }
        }
        self.at = i;
    }

    /// A dollar-quoted string, or a named parameter.
    fn dollar(&mut self) {
        let end = self.end_of(self.at + 1, is_part);
        if self.text.as_bytes().get(end) == Some(&b'$') {
            let text = self.text;
            return self.skip_past(end + 1, &text[self.at..=end], "dollar-quoted string");
        }
        let name = &self.text[self.at + 1..end];
        if !self.known.contains(&name) {
            let hint = if self.known.is_empty() {
                "Declare it under \"params\".".to_owned()
            } else {
                suggest::hint(name, self.known)
            };
            let message = format!("parameter \"{name}\" does not exist");
            self.fail("unknown_param", message, Some(hint));
        }
        let names = &mut self.out.param_names;
        let number = names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        self.out.sql.push_str(&self.text[self.copied..self.at]);
        self.out.sql.push_str(&format!("${}", number + 1));
        (self.at, self.copied) = (end, end);
    }

    fn positional(&mut self) {
        let end = self.end_of(self.at + 1, |b| b.is_ascii_digit());
        let message = format!("positional parameter {} is not supported", &self.text[self.at..end]);
        let hint = "Declare the parameter under \"params\" and write its name, such as $from.";
        self.fail("positional_param", message, Some(hint.into()));
        self.at = end;
    }

    /// Semicolons may end the statement and are left out; nothing may follow.
    fn semicolon(&mut self) {
        let rest = self.text[self.at..].trim_start_matches(|c: char| c == ';' || c.is_whitespace());
        if rest.is_empty() {
            self.out.sql.push_str(&self.text[self.copied..self.at]);
            self.copied = self.text.len();
        } else {
            let message = "only one SQL statement is allowed here".to_owned();
            self.fail("several_statements", message, Some("Remove what follows the \";\".".into()));
        }
        self.at = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> (String, Vec<String>) {
        let found = parse(text, &["from", "to", "now"], "").unwrap();
        (found.sql, found.param_names)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        parse(text, &["from", "to"], "/p").unwrap_err().iter().map(|p| p.code).collect()
    }

    #[test]
    fn names_become_numbers_and_repeat_them() {
        let (sql, names) = ok("SELECT $to, $from::date - 7, f($to)||$from;\n ; ");
        assert_eq!(sql, "SELECT $1, $2::date - 7, f($1)||$2");
        assert_eq!(names, ["to", "from"]);
    }

    #[test]
    fn quotes_and_comments_are_passed_over() {
        let untouched = [
            "'$from ''$from'",
            "E'\\'$from'",
            "e'\\\\' || '$from'",
            "U&'$from'",
            "\"$from\"\"$from\"",
            "$$ $from $$",
            "$q$ $from $$ ' $q$",
            "$from$ $to $from$",
            "-- $from '\n1",
            "/* $from /* $to */ ' $from */ 1",
            "a$from",
            "größe$from",
            "'a\\'",
            "';'",
        ];
        for text in untouched {
            assert_eq!(ok(text), (text.to_owned(), vec![]), "{text}");
        }
        assert_eq!(ok("'\\'$from").0, "'\\'$1");
        assert_eq!(ok("name'x'$to").0, "name'x'$1");
        assert_eq!(ok("1-$from--$to").0, "1-$1--$to");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(codes("SELECT $1, $fron"), ["positional_param", "unknown_param"]);
        assert_eq!(codes("SELECT 'a"), ["unterminated"]);
        assert_eq!(codes("SELECT E'a\\'"), ["unterminated"]);
        assert_eq!(codes("SELECT E'a\\"), ["unterminated"]);
        assert_eq!(codes("SELECT $a$ x $b$"), ["unterminated"]);
        assert_eq!(codes("/* /* */"), ["unterminated"]);
        assert_eq!(codes("SELECT 1; DROP TABLE t"), ["several_statements"]);
        assert_eq!(codes("SELECT '\0'"), ["nul_character"]);
        assert_eq!(codes(&"x".repeat(MAX_SQL + 1)), ["too_long"]);
        let hint = parse("$fron", &["from", "to"], "").unwrap_err()[0].hint.clone();
        assert_eq!(hint.as_deref(), Some("Did you mean \"from\"?"));
    }
}
