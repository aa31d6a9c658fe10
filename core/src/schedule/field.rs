//! One field of a cron expression: which of its values are meant, as a set of bits.
//!
//! `*`, `5`, `1-5`, each with an optional `/step`, in lists; months and weekdays have names.

use super::error::{ScheduleError, quoted};
use crate::suggest;

/// What a field may hold.
pub(super) struct Range {
    pub(super) name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `first_name` on.
    names: &'static [&'static str],
    first_name: u32,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fn plain(name: &'static str, min: u32, max: u32) -> Range {
    Range { name, min, max, names: &[], first_name: 0 }
}

pub(super) const SECOND: Range = plain("second", 0, 59);
pub(super) const MINUTE: Range = plain("minute", 0, 59);
pub(super) const HOUR: Range = plain("hour", 0, 23);
pub(super) const DAY_OF_MONTH: Range = plain("day of month", 1, 31);
pub(super) const MONTH: Range =
    Range { name: "month", min: 1, max: 12, names: &MONTHS, first_name: 1 };
/// 0 and 7 are both Sunday.
pub(super) const DAY_OF_WEEK: Range =
    Range { name: "day of week", min: 0, max: 7, names: &DAYS, first_name: 0 };

/// A field as it is written, and its place in the expression, from 1 on.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) place: usize,
    pub(super) of: usize,
}

impl<'a> Word<'a> {
    /// Reads the parts of the list one by one; an error says where its part stands.
    pub(super) fn each_part(
        self,
        mut read: impl FnMut(&'a str) -> Result<(), ScheduleError>,
    ) -> Result<(), ScheduleError> {
        let parts = self.text.split(',').count();
        for (part, number) in self.text.split(',').zip(1..) {
            read(part).map_err(|error| {
                let mut place = format!("field {} of {}", self.place, self.of);
                if parts > 1 {
                    place.push_str(&format!(", part {number} of {parts}"));
                }
                error.at(&place)
            })?;
        }
        Ok(())
    }
}

/// The values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    /// Written as `*` or a step of it, which is what cron calls unrestricted.
    pub(super) star: bool,
}

impl Field {
    pub(super) fn parse(word: Word, range: &Range) -> Result<Field, ScheduleError> {
        let mut bits = 0;
        word.each_part(|part| {
            bits |= parse_part(part, range)?;
            Ok(())
        })?;
        Ok(Field { bits, star: word.text.starts_with('*') })
    }

    pub(super) fn has(self, value: u32) -> bool {
        self.bits.checked_shr(value).unwrap_or(0) & 1 == 1
    }

    /// The smallest value that is `from` or more.
    pub(super) fn at_least(self, from: u32) -> Option<u32> {
        let rest = self.bits.checked_shr(from).unwrap_or(0);
        (rest != 0).then(|| from + rest.trailing_zeros())
    }

    pub(super) fn len(self) -> u32 {
        self.bits.count_ones()
    }
}

/// 0 and 7 as 0 alone.
pub(super) fn sunday_first(weekdays: u64) -> u64 {
    (weekdays | weekdays >> 7) & 0x7f
}

/// One part of a list; `5/10` goes from 5 to the end.
pub(super) fn parse_part(item: &str, range: &Range) -> Result<u64, ScheduleError> {
    let (span, step) = match item.split_once('/') {
        Some((span, step)) => (span, Some(parse_step(step, range)?)),
        None => (item, None),
    };
    let (low, high) = if span == "*" {
        (range.min, if range.max == 7 { 6 } else { range.max })
    } else if let Some((low, high)) = span.split_once('-') {
        let (low, high_value) = (parse_value(low, range)?, parse_value(high, range)?);
        // `fri-sun` ends on Sunday as the seventh day.
        let sunday = range.max == 7 && high_value == 0 && low > 0 && high.parse::<u32>().is_err();
        (low, if sunday { 7 } else { high_value })
    } else {
        let value = parse_value(span, range)?;
        (value, if step.is_some() { range.max } else { value })
    };
    if low > high {
        let error =
            ScheduleError::new(format!("{} range {} runs backwards", range.name, quoted(span)));
        return Err(error.with_hint(format!(
            "Write it as two ranges: \"{low}-{},{}-{high}\".",
            if range.max == 7 { 6 } else { range.max },
            range.min
        )));
    }
    let step = step.unwrap_or(1);
    Ok((low..=high).step_by(step).fold(0, |bits, value| bits | 1 << value))
}

fn parse_step(text: &str, range: &Range) -> Result<usize, ScheduleError> {
    match number(text) {
        Some(step) if step >= 1 && step <= range.max.max(1) => Ok(step as usize),
        Some(_) => Err(ScheduleError::new(format!(
            "step {} of the {} field is out of range",
            quoted(text),
            range.name
        ))
        .with_hint(format!("Steps of this field go from 1 to {}.", range.max))),
        None => Err(ScheduleError::new(format!(
            "step {} of the {} field is not a number",
            quoted(text),
            range.name
        ))
        .with_hint(format!("Steps go from 1 to {}, as in \"*/2\".", range.max))),
    }
}

pub(super) fn parse_value(text: &str, range: &Range) -> Result<u32, ScheduleError> {
    if let Some(value) = number(text) {
        if (range.min..=range.max).contains(&value) {
            return Ok(value);
        }
        return Err(ScheduleError::new(format!("{} {} is out of range", range.name, quoted(text)))
            .with_hint(format!("Values of this field go from {} to {}.", range.min, range.max)));
    }
    let lower = text.to_ascii_lowercase();
    let named = range.names.iter().zip(range.first_name..).find(|(name, _)| {
        // Full names too: what follows the three letters must be the rest of the word.
        lower == **name || (lower.len() > 3 && full_name(name) == lower)
    });
    match named {
        Some((_, value)) => Ok(value),
        None => Err(unreadable(text, &lower, range)),
    }
}

/// Digits only, and not so many that the value is in doubt.
pub(super) fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn full_name(short: &str) -> &'static str {
    const FULL: [&str; 19] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "sunday",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
    ];
    FULL.iter().find(|full| full.starts_with(short)).copied().unwrap_or("")
}

fn unreadable(text: &str, lower: &str, range: &Range) -> ScheduleError {
    let error = ScheduleError::new(format!("cannot read {} {}", range.name, quoted(text)));
    if text == "?" {
        return error
            .with_hint("\"?\" stands in the two day fields only; write \"*\" for any value.");
    }
    if text.is_empty() {
        return error.with_hint("A value is missing beside a \",\", \"-\" or \"/\".");
    }
    if let Some(near) =
        suggest::nearest(&lower.chars().take(12).collect::<String>(), range.names.iter().copied())
    {
        return error.with_hint(format!("Did you mean \"{near}\"?"));
    }
    let names = match range.names {
        [first, .., last] => format!(" or {first} to {last}"),
        _ => String::new(),
    };
    error.with_hint(format!(
        "Values of this field are \"*\" or {} to {}{names}, as in \"1,5-7\" or \"*/2\".",
        range.min, range.max
    ))
}
