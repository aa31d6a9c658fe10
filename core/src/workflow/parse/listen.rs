//! `listen`, and the events that start a workflow.

use super::{Walk, escape};
use crate::jq::{Filter, expression};
use crate::workflow::definition::{EffectRef, Kind, Read};
use crate::workflow::feature::Feature;
use crate::workflow::strategy::{
    Correlate, EventFilter, ForEvent, Listen, Match, Mode, Strategy, Until,
};
use serde_json::{Map, Value};

/// Filters of one strategy.
const MAX_FILTERS: usize = 100;
/// Signs that make a text a regular expression rather than a name.
const SIGNS: [char; 12] = ['^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '|', '\\'];

impl<'a> Walk<'a> {
    pub(super) fn listen(&mut self, map: &'a Map<String, Value>, at: &str) -> Option<Kind> {
        let place = format!("{at}/listen");
        let head = self.object(map.get("listen")?, &place)?;
        self.keys(head, &place, &["to", "read"], &[]);
        self.feature(Feature::Listen, &place);
        let read = self.read(head, &place)?;
        let Some(to) = head.get("to") else {
            let hint = "Write {\"one\": {\"with\": {\"type\": \"order.paid\"}}}.";
            self.problem(&place, "missing_key", "\"listen\" needs \"to\"", hint);
            return None;
        };
        let to = self.strategy(to, &format!("{place}/to"), true);
        let each = match map.get("foreach") {
            Some(each) => Some(self.for_event(each, &format!("{at}/foreach"))?),
            None => None,
        };
        Some(Kind::Listen(Box::new(Listen { to: to?, read, each })))
    }

    fn for_event(&mut self, value: &'a Value, at: &str) -> Option<ForEvent> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["item", "at", "do", "output", "export"], &[]);
        let item = self.variable(map.get("item"), &format!("{at}/item"), "item");
        let index = self.variable(map.get("at"), &format!("{at}/at"), "index");
        let outer = self.vars.len();
        self.vars.extend([item, index]);
        let body = map.get("do").map(|list| self.list(list, &format!("{at}/do")));
        let data = self.data(map, at);
        self.vars.truncate(outer);
        let body = match body {
            Some(list) => Some(list?),
            None => None,
        };
        Some(ForEvent { body, data })
    }

    pub(super) fn read(&mut self, map: &Map<String, Value>, at: &str) -> Option<Read> {
        // Payloads are JSON, so that raw data and data are the same.
        let choices = [("data", Read::Data), ("envelope", Read::Envelope), ("raw", Read::Data)];
        self.choice(map, at, "read", Read::Data, &choices)
    }

    pub(super) fn strategy(&mut self, value: &Value, at: &str, until: bool) -> Option<Strategy> {
        let map = self.object(value, at)?;
        let known: &[&str] =
            if until { &["one", "any", "all", "until"] } else { &["one", "any", "all"] };
        self.keys(map, at, known, &[]);
        let given = ["one", "any", "all"].iter().filter(|k| map.contains_key(**k)).count();
        if given != 1 {
            let message = "one of \"one\", \"any\" and \"all\" is needed";
            let hint = "Write {\"one\": {\"with\": {\"type\": \"order.paid\"}}}.";
            self.problem(at, "missing_key", message, hint);
            return None;
        }
        let (mode, filters) = if let Some(one) = map.get("one") {
            (Mode::One, vec![self.filter(one, &format!("{at}/one"))?])
        } else if let Some(any) = map.get("any") {
            (Mode::Any, self.filters(any, &format!("{at}/any"), true)?)
        } else {
            let all = map.get("all").unwrap_or(&Value::Null);
            (Mode::All, self.filters(all, &format!("{at}/all"), false)?)
        };
        let until = match map.get("until") {
            Some(_) if mode != Mode::Any => {
                let place = format!("{at}/until");
                self.problem(&place, "wrong_key", "\"until\" belongs to \"any\"", "Remove it.");
                return None;
            }
            Some(until) => self.until(until, &format!("{at}/until"))?,
            None => Until::First,
        };
        Some(Strategy { mode, filters, until })
    }

    fn until(&mut self, value: &Value, at: &str) -> Option<Until> {
        if value.is_object() {
            return self.strategy(value, at, false).map(|s| Until::Events(Box::new(s)));
        }
        let text = value.as_str().map(|t| expression(t).unwrap_or(t));
        if value == &Value::Bool(false) || text == Some("false") {
            return Some(Until::Never);
        }
        self.bare(value, at, &["output"]).map(Until::Condition)
    }

    fn filters(&mut self, value: &Value, at: &str, empty: bool) -> Option<Vec<EventFilter>> {
        let Some(items) = value.as_array() else {
            let hint = "Write [{\"with\": {\"type\": \"order.paid\"}}, ...].";
            self.problem(at, "wrong_type", "an array of filters is expected here", hint);
            return None;
        };
        if items.is_empty() && !empty {
            self.problem(at, "empty_list", "\"all\" needs a filter", "Add one.");
        }
        if items.len() > MAX_FILTERS {
            let message = format!("more than {MAX_FILTERS} filters");
            self.problem(at, "too_many_filters", message, "A regular expression may join some.");
            return None;
        }
        let read =
            items.iter().enumerate().map(|(i, item)| self.filter(item, &format!("{at}/{i}")));
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn filter(&mut self, value: &Value, at: &str) -> Option<EventFilter> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["with", "correlate"], &[]);
        let place = format!("{at}/with");
        let mut filter = EventFilter::default();
        let with = self.object(map.get("with").unwrap_or(&Value::Null), &place)?;
        if with.is_empty() {
            let hint = "Write {\"type\": \"order.paid\"}.";
            self.problem(&place, "missing_key", "a filter needs an attribute", hint);
        }
        for (name, wanted) in with {
            let place = format!("{place}/{}", escape(name));
            filter.with.push((name.clone(), self.attribute(wanted, &place)?));
        }
        let event_type = with.get("type").and_then(Value::as_str);
        let event_type = event_type.filter(|text| expression(text).is_none()).map(str::to_owned);
        let pointer = self.real(at);
        self.effects.push(EffectRef::Listens { pointer, event_type });
        let place = format!("{at}/correlate");
        if let Some(correlate) = map.get("correlate") {
            for (name, value) in self.object(correlate, &place)? {
                let place = format!("{place}/{}", escape(name));
                filter.correlate.push(self.correlation(name, value, &place)?);
            }
        }
        Some(filter)
    }

    fn attribute(&mut self, wanted: &Value, at: &str) -> Option<Match> {
        let Some(text) = wanted.as_str() else {
            let template = self.template(wanted, at, &["output"])?;
            return Some(match template.constant() {
                Some(_) => Match::Equals(wanted.clone(), None),
                None => Match::Expression(template),
            });
        };
        if expression(text).is_some() {
            return self.template(wanted, at, &["output"]).map(Match::Expression);
        }
        let pattern = match text.contains(SIGNS) {
            true => self.pattern(text),
            false => None,
        };
        Some(Match::Equals(wanted.clone(), pattern))
    }

    /// The text as a regular expression for the whole of an attribute; what is none stays text.
    fn pattern(&mut self, text: &str) -> Option<Filter> {
        let quoted = Value::from(format!("^(?:{text})$"));
        let vars: Vec<&str> = self.vars.iter().map(|v| &**v).collect();
        let filter = Filter::compile(&format!("test({quoted})"), &vars).ok()?;
        // Patterns are read when they are used: try it.
        filter.run(&Value::from(""), &[]).is_ok().then_some(filter)
    }

    fn correlation(&mut self, name: &str, value: &Value, at: &str) -> Option<Correlate> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["from", "expect"], &[]);
        let from = map.get("from").unwrap_or(&Value::Null);
        let from = self.bare(from, &format!("{at}/from"), &["output"])?;
        let expect = match map.get("expect") {
            Some(expect) => Some(self.template(expect, &format!("{at}/expect"), &["output"])?),
            None => None,
        };
        Some(Correlate { name: name.to_owned(), from, expect })
    }
}
