//! What an expression reads of its input, as far as its text shows: the paths of constant keys, each
//! standing for all that is below it. What the text does not show counts as read.

use super::source;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{Part, Path};
use std::collections::BTreeSet;

/// The keys on the way from the input to a part of it; none: the input itself.
pub type Keys = Vec<String>;

/// Functions that do not look at their input.
const BLIND: [&str; 4] = ["null", "true", "false", "empty"];

/// The parts of its input that jq without `${ }` reads.
pub fn reads(text: &str) -> BTreeSet<Keys> {
    let mut found = Found(BTreeSet::new());
    match source::check_size(text).ok().and_then(|()| parse(text, |p| p.term())) {
        Some(term) => found.walk(&term, Some(&Keys::new())),
        None => found.all_of(Some(&Keys::new())),
    }
    found.0
}

struct Found(BTreeSet<Keys>);

/// Where `.` stands: a part of the input, or None for a value that was computed from what has been
/// found already.
type Here<'a> = Option<&'a Keys>;

impl Found {
    fn all_of(&mut self, here: Here) {
        if let Some(keys) = here {
            self.0.insert(keys.clone());
        }
    }

    /// Finds what a term reads when its value is used.
    fn walk(&mut self, term: &Term<&str>, here: Here) {
        match term {
            Term::Num(_) | Term::Var(_) | Term::Break(_) | Term::Arr(None) => {}
            Term::Call(name, args) if args.is_empty() && BLIND.contains(name) => {}
            // Whatever they do, they do it with this value.
            Term::Recurse | Term::Call(..) | Term::Def(..) => self.all_of(here),
            Term::Id | Term::Path(..) => {
                let place = self.place(term, here);
                self.all_of(place.as_ref());
            }
            Term::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.walk(term, here);
                    }
                }
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => {
                self.walk(inner, here);
            }
            Term::Obj(entries) => {
                entries.iter().for_each(|(key, value)| self.entry(key, value.as_ref(), here));
            }
            Term::BinOp(left, operator, right) => self.operation(left, operator, right, here),
            Term::Fold(_, source, pattern, parts) => {
                self.walk(source, here);
                self.pattern(pattern, here);
                // The first makes the value with which the others go on.
                for (index, part) in parts.iter().enumerate() {
                    self.walk(part, if index == 0 { here } else { None });
                }
            }
            Term::TryCatch(tried, caught) => {
                self.walk(tried, here);
                // Its input is the error.
                caught.iter().for_each(|caught| self.walk(caught, None));
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.walk(condition, here);
                    self.walk(then, here);
                }
                match otherwise {
                    Some(term) => self.walk(term, here),
                    None => self.all_of(here),
                }
            }
        }
    }

    fn operation(
        &mut self,
        left: &Term<&str>,
        operator: &BinaryOp<&str>,
        right: &Term<&str>,
        here: Here,
    ) {
        match operator {
            BinaryOp::Pipe(None) => {
                let place = self.place(left, here);
                self.walk(right, place.as_ref());
            }
            BinaryOp::Pipe(Some(pattern)) => {
                self.walk(left, here);
                self.pattern(pattern, here);
                self.walk(right, here);
            }
            // The value is the input with a part of it changed.
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                self.all_of(here)
            }
            BinaryOp::Comma
            | BinaryOp::Alt
            | BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Math(_)
            | BinaryOp::Cmp(_) => {
                self.walk(left, here);
                self.walk(right, here);
            }
        }
    }

    /// `{key: value}`, `{key}` for `{key: .key}`, and `{$name}`.
    fn entry(&mut self, key: &Term<&str>, value: Option<&Term<&str>>, here: Here) {
        match (value, constant(key), key) {
            (Some(value), ..) => {
                self.walk(key, here);
                self.walk(value, here);
            }
            (None, Some(key), _) => {
                let place = here.map(|keys| below(keys, key));
                self.all_of(place.as_ref());
            }
            (None, None, Term::Var(_)) => {}
            (None, None, _) => self.all_of(here),
        }
    }

    /// A pattern may look for keys that it computes.
    fn pattern(&mut self, pattern: &Pattern<&str>, here: Here) {
        if !matches!(pattern, Pattern::Var(_)) {
            self.all_of(here);
        }
    }

    /// The part of the input that a term is, if it is one. Everything else that the term reads is
    /// noted.
    fn place(&mut self, term: &Term<&str>, here: Here) -> Option<Keys> {
        match term {
            Term::Id => here.cloned(),
            Term::Path(head, Path(parts)) => {
                let mut place = self.place(head, here);
                for (part, _) in parts {
                    place = self.step(place, part, here);
                }
                place
            }
            other => {
                self.walk(other, here);
                None
            }
        }
    }

    /// One step down. Indexes are computed from where the whole path starts.
    fn step(&mut self, place: Option<Keys>, part: &Part<Term<&str>>, here: Here) -> Option<Keys> {
        if let (Part::Index(index), Some(keys)) = (part, &place)
            && let Some(key) = constant(index)
        {
            return Some(below(keys, key));
        }
        self.all_of(place.as_ref());
        match part {
            Part::Index(index) => self.walk(index, here),
            Part::Range(from, to) => {
                from.iter().chain(to).for_each(|end| self.walk(end, here));
            }
        }
        None
    }
}

fn below(keys: &Keys, key: &str) -> Keys {
    let mut below = keys.clone();
    below.push(key.to_owned());
    below
}

/// The text of a string that nothing is put into.
fn constant<'t>(term: &Term<&'t str>) -> Option<&'t str> {
    match term {
        Term::Str(None, parts) => match parts.as_slice() {
            [StrPart::Str(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Texts and what they read.
    const SHOWN: [(&str, &str); 21] = [
        (".new.id", ".new.id"),
        (r#".new["id"]"#, ".new.id"),
        (r#".["new"]?.id?"#, ".new.id"),
        ("(.new).id", ".new.id"),
        (".new | .id, .name", ".new.id .new.name"),
        (".new | {id, n: .name}", ".new.id .new.name"),
        ("{new, old: .old.id}", ".new .old.id"),
        (r#""order \(.new.id) of \(.new.who | ascii_upcase)""#, ".new.id .new.who"),
        (r#"@base64 "\(.new.id)""#, ".new.id"),
        ("if .new.a then .old.b else null end", ".new.a .old.b"),
        (".new.a // .old.a", ".new.a .old.a"),
        ("-(.new.a) + 1 > 2 and true", ".new.a"),
        ("[.new.a, .new.b] | join(\"-\")", ".new.a .new.b"),
        (".new.id as $i | $i + .old.id", ".new.id .old.id"),
        (".new.id as $id | {$id}", ".new.id"),
        ("reduce .new.list[] as $x (.old.sum; . + $x)", ".new.list .old.sum"),
        ("try .new.a catch .", ".new.a"),
        (".new.list[.old.at]", ".new.list .old.at"),
        (".new.list[.old.at:]", ".new.list .old.at"),
        ("\"\"", ""),
        ("1, null, [], {}", ""),
    ];
    const HIDDEN: [(&str, &str); 34] = [
        (".", "."),
        ("..", "."),
        (".new", ".new"),
        (".new == null", ".new"),
        (".new | keys", ".new"),
        (".new | to_entries", ".new"),
        (".[\"n\" + \"ew\"]", "."),
        (".new[.old.which]", ".new .old.which"),
        (".new[]", ".new"),
        (".[]", "."),
        ("tojson", "."),
        ("getpath([\"new\", \"id\"])", "."),
        ("map(.id)", "."),
        ("select(.new.id > 1)", "."),
        (".new.id = 1", "."),
        (".new |= {id}", "."),
        ("def f: .new; f | .id", "."),
        (". as {new: $n} | $n.id", "."),
        (".new as $n | $n.id", ".new"),
        ("if .new.a then 1 end", ". .new.a"),
        (". as $all | $all.new.id", "."),
        ("{(.new.id): 1, \"a\\(.old.id)\"}", ". .new.id"),
        ("not jq (", "."),
        ("@json", "."),
        (".new | @json", ".new"),
        (".new | tojson", ".new"),
        ("[limit(1; .new.id, .old.id)]", "."),
        ("label $out | .new.list[] | if . > 3 then ., break $out else empty end", ".new.list"),
        ("[foreach .new.list[] as $x (.old.sum; . + $x; [$x, .])]", ".new.list .old.sum"),
        ("try error(.new) catch .id", "."),
        ("{(.new.which): .new.id}", ".new.id .new.which"),
        ("[.[\"new\", \"old\"].id]", "."),
        (".new | .[.which]", ".new .new.which"),
        (".new.list as [$x] | $x", ". .new.list"),
    ];

    fn said(text: &str) -> String {
        let paths = reads(text).into_iter().map(|keys| format!(".{}", keys.join(".")));
        paths.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_text_shows() {
        for (text, expected) in SHOWN {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    /// The parts of a value that are at these paths, and nothing else.
    fn kept(value: &Value, paths: &BTreeSet<Keys>) -> Value {
        if paths.contains(&Keys::new()) {
            return value.clone();
        }
        let Value::Object(map) = value else { return value.clone() };
        let below = |key: &String| -> BTreeSet<Keys> {
            let here = paths.iter().filter(|keys| keys.first() == Some(key));
            here.map(|keys| keys[1..].to_vec()).collect()
        };
        let parts = map.iter().map(|(key, part)| (key, part, below(key)));
        let parts = parts.filter(|(.., paths)| !paths.is_empty());
        Value::Object(parts.map(|(key, part, paths)| (key.clone(), kept(part, &paths))).collect())
    }

    #[test]
    fn no_more_is_needed_than_what_is_read() {
        let whole = json!({
            "new": {"id": 7, "name": "n", "a": null, "b": 2, "at": 1, "who": "w", "list": [3, 4], "which": "id"},
            "old": {"id": 6, "b": true, "sum": 5, "at": 0, "which": "id"}, "event": {"op": "update"},
        });
        let texts = SHOWN.iter().chain(&HIDDEN).map(|(text, _)| *text);
        for text in texts.filter(|text| !text.starts_with("not")) {
            let filter = crate::jq::Filter::compile(text, &[]).unwrap();
            let part = kept(&whole, &reads(text));
            assert_eq!(filter.run(&whole, &[]), filter.run(&part, &[]), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_show_is_all() {
        for (text, expected) in HIDDEN {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
