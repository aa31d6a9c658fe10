//! jsonb as PostgreSQL keeps it, for documents that we write ourselves: on the way through their text
//! and PostgreSQL's parser they took longer than storing them. Only the inside of a value: the length
//! word in front of it is PostgreSQL's affair.
//!
//! A container is a header (the number of elements, and what it is), a word for each element (its
//! kind and length; each 32nd has where it ends instead) and the elements one after the other. Of an
//! object these are the keys, shorter ones first, and then the values in the same order. Numbers are
//! `numeric`, which begin at multiples of four, as do containers within. The form cannot change
//! without all databases being written anew.

use serde_json::Value;

/// Kinds of elements.
const STRING: u32 = 0;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;
/// The word has where the element ends.
const HAS_END: u32 = 0x8000_0000;
const STRIDE: usize = 32;
/// Kinds of containers.
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;
/// Decimal digits that one digit of a numeric stands for, and its base.
const BASE: u64 = 10_000;

/// How keys are sorted.
pub fn key_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// A container in the making. What it holds must be shorter than 256 MB.
#[derive(Default)]
pub struct Builder {
    words: Vec<u32>,
    data: Vec<u8>,
}

impl Builder {
    pub fn with_capacity(elements: usize, bytes: usize) -> Builder {
        Builder { words: Vec::with_capacity(elements), data: Vec::with_capacity(bytes) }
    }

    /// Ends an element that began when the data was so long.
    fn end(&mut self, kind: u32, began: usize) {
        let is_marked = self.words.len().is_multiple_of(STRIDE);
        let end = self.data.len();
        let word = if is_marked { HAS_END | end as u32 } else { (end - began) as u32 };
        self.words.push(kind | word);
    }

    /// Room to the next multiple of four, which counts as part of the element.
    fn align(&mut self) {
        self.data.resize(self.data.len().next_multiple_of(4), 0);
    }

    /// A text, or a key: all keys of an object come first, in their order.
    pub fn text(&mut self, text: &[u8]) {
        let began = self.data.len();
        self.data.extend_from_slice(text);
        self.end(STRING, began);
    }

    pub fn null(&mut self) {
        self.end(NULL, self.data.len());
    }

    pub fn bool(&mut self, value: bool) {
        self.end(if value { TRUE } else { FALSE }, self.data.len());
    }

    /// A `numeric` as PostgreSQL keeps it, with its four bytes of length.
    pub fn numeric(&mut self, numeric: &[u8]) {
        let began = self.data.len();
        self.align();
        self.data.extend_from_slice(numeric);
        self.end(NUMERIC, began);
    }

    /// What another builder made.
    pub fn container(&mut self, inside: &[u8]) {
        let began = self.data.len();
        self.align();
        self.data.extend_from_slice(inside);
        self.end(CONTAINER, began);
    }

    pub fn integer(&mut self, is_negative: bool, size: u64) {
        let began = self.data.len();
        self.align();
        let (mut digits, mut count) = ([0u16; 5], 0);
        let mut rest = size;
        while rest > 0 {
            digits[count] = (rest % BASE) as u16;
            rest /= BASE;
            count += 1;
        }
        // The weight of the first digit; digits of zero at the end are left out.
        let weight = count.saturating_sub(1) as u16;
        let skipped = digits[..count].iter().take_while(|digit| **digit == 0).count();
        let sign = if is_negative { 0x2000 } else { 0 };
        let length = 4 + 2 + 2 * (count - skipped);
        self.data.extend_from_slice(&((length as u32) << 2).to_le_bytes());
        self.data.extend_from_slice(&(0x8000 | sign | weight).to_le_bytes());
        for digit in digits[skipped..count].iter().rev() {
            self.data.extend_from_slice(&digit.to_le_bytes());
        }
        self.end(NUMERIC, began);
    }

    /// Adds a value; false if it has a number that is not an integer, which only PostgreSQL reads.
    #[must_use]
    pub fn value(&mut self, value: &Value) -> bool {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.bool(*value),
            Value::String(text) => self.text(text.as_bytes()),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => self.integer(false, number),
                (None, Some(number)) => self.integer(true, number.unsigned_abs()),
                (None, None) => return false,
            },
            Value::Array(items) => {
                let mut inside = Builder::default();
                if !items.iter().all(|item| inside.value(item)) {
                    return false;
                }
                self.container(&inside.array());
            }
            Value::Object(map) => {
                let mut pairs: Vec<(&str, &Value)> =
                    map.iter().map(|(key, value)| (key.as_str(), value)).collect();
                pairs.sort_unstable_by(|a, b| key_order(a.0, b.0));
                let mut inside = Builder::default();
                pairs.iter().for_each(|(key, _)| inside.text(key.as_bytes()));
                if !pairs.iter().all(|(_, value)| inside.value(value)) {
                    return false;
                }
                self.container(&inside.object());
            }
        }
        true
    }

    /// The object of which the keys and the values were added.
    pub fn object(self) -> Vec<u8> {
        let count = self.words.len() / 2;
        self.finish(OBJECT, count)
    }

    pub fn array(self) -> Vec<u8> {
        let count = self.words.len();
        self.finish(ARRAY, count)
    }

    fn finish(self, kind: u32, count: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(4 + 4 * self.words.len() + self.data.len());
        all.extend_from_slice(&(kind | count as u32).to_le_bytes());
        self.words.iter().for_each(|word| all.extend_from_slice(&word.to_le_bytes()));
        all.extend_from_slice(&self.data);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As pageinspect shows what PostgreSQL stored, without the length.
    #[test]
    fn an_object_as_postgresql_writes_it() {
        let mut builder = Builder::default();
        assert!(builder.value(&json!({"bb": "x", "a": 10_000, "c": null, "d": true})));
        let inside = &builder.data;
        let expected = concat!(
            "04000020", "01000080", "01000000", "01000000", "02000000", "0b000010", "00000040",
            "00000030", "01000000", "61", "63", "64", "6262", "000000", "20000000", "0180", "0100",
            "78",
        );
        assert_eq!(hex(inside), expected);
        assert!(!Builder::default().value(&json!([1.5])));
    }
}
