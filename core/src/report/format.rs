//! Number formats such as `#,##0.0 ms`, and the separators of a locale.

use super::decimal::Decimal;

/// What stands between groups of three digits, and before the decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separators {
    pub group: &'static str,
    pub decimal: &'static str,
}

impl Default for Separators {
    fn default() -> Self {
        Separators { group: ",", decimal: "." }
    }
}

/// The languages and regions there are separators for.
pub const LOCALES: &[&str] = &[
    "en", "de", "de-AT", "de-CH", "fr", "fr-CH", "it", "it-CH", "es", "pt", "nl", "da", "sv", "nb",
    "fi", "pl", "cs", "ja", "zh", "ko",
];

/// The separators of a locale such as `de-CH`; an unknown region falls back to its language.
pub fn separators(locale: &str) -> Option<Separators> {
    let language = locale.split(['-', '_']).next().unwrap_or_default();
    let known = |name: &str| LOCALES.iter().any(|l| l.eq_ignore_ascii_case(name));
    let normal = locale.replace('_', "-");
    let name = if known(&normal) { normal.as_str() } else { language };
    if !known(name) {
        return None;
    }
    let (group, decimal) = match name.to_ascii_lowercase().as_str() {
        "de-ch" | "it-ch" => ("\u{2019}", "."),
        "de" | "it" | "es" | "pt" | "nl" | "da" => (".", ","),
        "de-at" | "fr-ch" | "fr" | "sv" | "nb" | "fi" | "pl" | "cs" => ("\u{a0}", ","),
        _ => (",", "."),
    };
    Some(Separators { group, decimal })
}

/// A parsed number format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    prefix: String,
    grouped: bool,
    /// Fewest digits before the point.
    whole: usize,
    /// Fewest and most digits behind it.
    decimals: (usize, usize),
    percent: bool,
    suffix: String,
}

/// Most digits a format may ask for on either side of the point.
const MAX_DIGITS: usize = 12;

impl NumberFormat {
    /// Reads a pattern: text, then `0`, `#,##0` and the like with decimals, `%`, then text.
    pub fn parse(pattern: &str) -> Option<NumberFormat> {
        if pattern.chars().count() > 40 || pattern.chars().any(char::is_control) {
            return None;
        }
        let start = pattern.find(['#', '0'])?;
        let (prefix, rest) = pattern.split_at(start);
        let end = rest.find(|c| !matches!(c, '#' | '0' | ',')).unwrap_or(rest.len());
        let (whole, rest) = rest.split_at(end);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(behind) => {
                behind.split_at(behind.find(|c| !matches!(c, '#' | '0')).unwrap_or(behind.len()))
            }
            None => ("", rest),
        };
        let grouped = whole.contains(',');
        let plain = whole.replace(',', "");
        let zeros = plain.bytes().filter(|b| *b == b'0').count();
        let least = fraction.bytes().take_while(|b| *b == b'0').count();
        let sound = !plain.trim_start_matches('#').contains('#')
            && !fraction.trim_start_matches('0').contains('0')
            && (!grouped || whole.rsplit(',').next().is_some_and(|last| last.len() == 3))
            && zeros <= MAX_DIGITS
            && fraction.len() <= MAX_DIGITS
            && !rest.contains(['#', '0']);
        sound.then(|| NumberFormat {
            prefix: prefix.to_owned(),
            grouped,
            whole: zeros,
            decimals: (least, fraction.len()),
            percent: rest.starts_with('%'),
            suffix: rest.to_owned(),
        })
    }

    /// Grouped, with `decimals` digits behind the point.
    pub fn plain(decimals: usize) -> NumberFormat {
        NumberFormat {
            prefix: String::new(),
            grouped: true,
            whole: 1,
            decimals: (decimals, decimals),
            percent: false,
            suffix: String::new(),
        }
    }

    /// The number as people read it.
    pub fn apply(&self, number: &Decimal, separators: Separators) -> String {
        let scaled = if self.percent { number.clone().percent() } else { number.clone() };
        let rounded = scaled.round(self.decimals.1);
        let (whole, fraction) = rounded.parts();
        let whole = whole.trim_start_matches('0');
        let whole = format!("{whole:0>width$}", width = self.whole);
        let least = self.decimals.0.min(fraction.len());
        let trimmed = fraction[least..].trim_end_matches('0').len() + least;
        let sign = if rounded.is_negative() { "-" } else { "" };
        let whole = if self.grouped { group(&whole, separators.group) } else { whole };
        let point = if trimmed == 0 { "" } else { separators.decimal };
        let (prefix, suffix) = (&self.prefix, &self.suffix);
        format!("{sign}{prefix}{whole}{point}{}{suffix}", &fraction[..trimmed])
    }
}

/// Puts `separator` between groups of three digits.
fn group(digits: &str, separator: &str) -> String {
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push_str(separator);
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pattern: &str, number: &str) -> String {
        let format = NumberFormat::parse(pattern).unwrap();
        format.apply(&Decimal::parse(number).unwrap(), Separators::default())
    }

    #[test]
    fn patterns_shape_numbers() {
        for (pattern, number, want) in [
            ("#,##0", "1234567.5", "1,234,568"),
            ("#,##0", "-999", "-999"),
            ("#,##0.0 ms", "1234.56", "1,234.6 ms"),
            ("0%", "0.256", "26%"),
            ("0.0%", "-0.2565", "-25.7%"),
            ("0", "1234", "1234"),
            ("000", "7", "007"),
            ("0.0#", "1.5", "1.5"),
            ("0.0#", "1.255", "1.26"),
            ("0.##", "2", "2"),
            ("#.00", "0.5", ".50"),
            ("CHF #,##0.00", "-1234", "-CHF 1,234.00"),
            ("#,##0", "-0.2", "0"),
            ("#,##0", "123456789012345678901234567890", "123,456,789,012,345,678,901,234,567,890"),
        ] {
            assert_eq!(show(pattern, number), want, "{pattern} {number}");
        }
    }

    #[test]
    fn unsound_patterns_are_refused() {
        for bad in ["", "ms", "0#", "#,#0", "0.#0", "0 0", "0.0000000000000", "0\u{7}"] {
            assert_eq!(NumberFormat::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn locales_have_separators() {
        let swiss = separators("de-CH").unwrap();
        let number = Decimal::parse("1234.5").unwrap();
        let format = NumberFormat::parse("#,##0.00").unwrap();
        assert_eq!(format.apply(&number, swiss), "1\u{2019}234.50");
        assert_eq!(format.apply(&number, separators("de_DE").unwrap()), "1.234,50");
        assert_eq!(separators("en-GB"), Some(Separators::default()));
        assert_eq!(separators("xx"), None);
        assert!(LOCALES.iter().all(|l| separators(l).is_some()));
    }
}
