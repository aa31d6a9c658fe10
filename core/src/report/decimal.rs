//! Exact decimal numbers as PostgreSQL writes them: totals must not drift.

use std::cmp::Ordering;

/// A decimal number of any length: `digits` of the absolute value, `scale` of them behind the
/// point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Most significant first; never shorter than `scale` + 1.
    digits: Vec<u8>,
    scale: usize,
}

/// Most digits before or behind the point; double precision needs 309 and 324.
const MAX_DIGITS: usize = 2_000;

impl Decimal {
    pub fn zero() -> Decimal {
        Decimal { negative: false, digits: vec![0], scale: 0 }
    }

    /// Reads `-12.50` or `1.5e+20`; `None` for anything else, such as `NaN` or `Infinity`.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) if exponent.len() <= 6 => {
                (mantissa, exponent.parse::<i32>().ok()?)
            }
            Some(_) => return None,
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if digits().next().is_none() || !digits().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        if mantissa.len() > MAX_DIGITS || scale.unsigned_abs() > MAX_DIGITS as u64 {
            return None;
        }
        let mut digits: Vec<u8> = digits().map(|b| b - b'0').collect();
        let scale = if scale < 0 {
            digits.resize(digits.len() + scale.unsigned_abs() as usize, 0);
            0
        } else {
            scale as usize
        };
        Some(Decimal { negative, digits, scale }.tidy())
    }

    /// Drops leading zeros, keeps one digit before the point, and knows no minus zero.
    fn tidy(mut self) -> Decimal {
        let wanted = self.scale + 1;
        if self.digits.len() < wanted {
            let missing = wanted - self.digits.len();
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
        }
        let extra = self.digits.len() - wanted;
        let zeros = self.digits.iter().take(extra).take_while(|d| **d == 0).count();
        self.digits.drain(..zeros);
        self.negative &= self.digits.iter().any(|d| *d != 0);
        self
    }

    /// The same number with at least `scale` digits behind the point.
    fn widened(&self, scale: usize) -> Vec<u8> {
        let mut digits = self.digits.clone();
        digits.resize(digits.len() + scale.saturating_sub(self.scale), 0);
        digits
    }

    pub fn add(&self, other: &Decimal) -> Decimal {
        let scale = self.scale.max(other.scale);
        let (a, b) = (self.widened(scale), other.widened(scale));
        let (negative, digits) = if self.negative == other.negative {
            (self.negative, sum(&a, &b))
        } else if compare(&a, &b) == Ordering::Less {
            (other.negative, difference(&b, &a))
        } else {
            (self.negative, difference(&a, &b))
        };
        Decimal { negative, digits, scale }.tidy()
    }

    /// A hundred times the number.
    pub fn percent(mut self) -> Decimal {
        self.digits.extend(std::iter::repeat_n(0, 2usize.saturating_sub(self.scale)));
        self.scale = self.scale.saturating_sub(2);
        self.tidy()
    }

    /// Rounded to `scale` digits behind the point, half away from zero as numeric rounds.
    pub fn round(&self, scale: usize) -> Decimal {
        if self.scale <= scale {
            return Decimal { digits: self.widened(scale), scale, ..*self };
        }
        let keep = self.digits.len() - (self.scale - scale);
        let up = self.digits.get(keep).is_some_and(|d| *d >= 5);
        let kept = &self.digits[..keep];
        let digits = if up { sum(kept, &[1]) } else { kept.to_vec() };
        Decimal { negative: self.negative, digits, scale }.tidy()
    }

    /// True without digits other than 0 behind the point.
    pub fn is_whole(&self) -> bool {
        self.digits[self.digits.len() - self.scale..].iter().all(|d| *d == 0)
    }

    /// Compares as numbers: 1.0 is 1.
    pub fn order(&self, other: &Decimal) -> Ordering {
        if self.negative != other.negative {
            return if self.negative { Ordering::Less } else { Ordering::Greater };
        }
        let whole = |d: &Decimal| d.digits.len() - d.scale;
        let digits = |d: &Decimal, i: usize| d.digits.get(i).copied().unwrap_or(0);
        let length = self.digits.len().max(other.digits.len());
        let order = whole(self).cmp(&whole(other)).then_with(|| {
            (0..length)
                .map(|i| digits(self, i).cmp(&digits(other, i)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        if self.negative { order.reverse() } else { order }
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The digits before and behind the point.
    pub fn parts(&self) -> (String, String) {
        let text: String = self.digits.iter().map(|d| char::from(b'0' + d)).collect();
        let (whole, fraction) = text.split_at(self.digits.len() - self.scale);
        (whole.to_owned(), fraction.to_owned())
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, fraction) = self.parts();
        let sign = if self.negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// Compares numbers of one scale.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| -> usize {
        digits.iter().position(|d| *d != 0).map_or(0, |zeros| digits.len() - zeros)
    };
    let (x, y) = (significant(a), significant(b));
    x.cmp(&y).then_with(|| a[a.len() - x..].cmp(&b[b.len() - y..]))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (mut a, mut b) = (a.iter().rev(), b.iter().rev());
    let (mut digits, mut carry) = (Vec::new(), 0);
    loop {
        let (x, y) = (a.next(), b.next());
        if x.is_none() && y.is_none() && carry == 0 {
            break;
        }
        let total = x.copied().unwrap_or(0) + y.copied().unwrap_or(0) + carry;
        digits.push(total % 10);
        carry = total / 10;
    }
    digits.reverse();
    digits
}

/// `a - b`, where `a` is not the smaller.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut b = b.iter().rev();
    let (mut digits, mut borrow) = (Vec::with_capacity(a.len()), 0);
    for x in a.iter().rev() {
        let y = b.next().copied().unwrap_or(0) + borrow;
        borrow = u8::from(*x < y);
        digits.push(*x + 10 * borrow - y);
    }
    digits.reverse();
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn parse_reads_what_postgresql_writes() {
        for (text, want) in [
            ("0", "0"),
            ("-0.00", "0.00"),
            ("007.50", "7.50"),
            ("-12.5", "-12.5"),
            ("1.5e+20", "150000000000000000000"),
            ("1.25e-3", "0.00125"),
            (".5", "0.5"),
            ("1e2", "100"),
        ] {
            assert_eq!(d(text).to_string(), want);
        }
        for bad in
            ["", "-", ".", "NaN", "Infinity", "1e", "1e9999999", "1e99999", "1 ", "0x1", "1.2.3"]
        {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn add_is_exact() {
        for (a, b, want) in [
            ("0.1", "0.2", "0.3"),
            ("99.99", "0.01", "100.00"),
            ("1", "-1.00", "0.00"),
            ("-5", "3.25", "-1.75"),
            ("3.25", "-5", "-1.75"),
            ("-1", "-2", "-3"),
            ("1e30", "1", "1000000000000000000000000000001"),
        ] {
            assert_eq!(d(a).add(&d(b)).to_string(), want, "{a} + {b}");
        }
        let tenth = (0..1000).fold(Decimal::zero(), |sum, _| sum.add(&d("0.1")));
        assert_eq!(tenth.to_string(), "100.0");
    }

    #[test]
    fn add_agrees_with_integers() {
        let mut seed = 7u64;
        for _ in 0..2_000 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((seed >> 33) as i64 - (1 << 30)) >> (seed % 29)
            };
            let (a, b) = (next(), next());
            let got = d(&a.to_string()).add(&d(&b.to_string()));
            assert_eq!(got.to_string(), (a + b).to_string());
        }
    }

    #[test]
    fn round_goes_half_away_from_zero() {
        for (text, scale, want) in [
            ("2.345", 2, "2.35"),
            ("-2.345", 2, "-2.35"),
            ("9.99", 1, "10.0"),
            ("0.4", 0, "0"),
            ("-0.4", 0, "0"),
            ("0.5", 0, "1"),
            ("1", 2, "1.00"),
        ] {
            assert_eq!(d(text).round(scale).to_string(), want, "{text}");
        }
        assert_eq!(d("0.1234").percent().to_string(), "12.34");
        assert_eq!(d("3").percent().to_string(), "300");
        assert_eq!(d("0.5").percent().to_string(), "50");
    }
}
