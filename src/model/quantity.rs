//! Quantities (`500m`, `1Gi`, `1e3`) as numbers that can be compared (`apimachinery/pkg/api/resource`).

/// A quantity in billionths: exact down to `n`, and 2^63 of the largest unit that upstream takes still fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity(0);

    /// A whole number.
    pub fn whole(value: i64) -> Self {
        Self(i128::from(value) * NANO)
    }

    /// How many `divisor`s it is, rounded up (`ExtractContainerResourceValue`). A divisor of 0 counts as 1.
    pub fn divided_by(self, divisor: Self) -> i128 {
        let divisor = if divisor.0 == 0 { NANO } else { divisor.0 };
        self.0.div_euclid(divisor) + i128::from(self.0.rem_euclid(divisor) != 0)
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// Reads a quantity; `None` where it is not one. Finer than a billionth is rounded up, as upstream does; more than
    /// 2^63 is cut to that.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let unit = Unit::parse(suffix)?;
        let magnitude = unit.scale(whole, fraction);
        let limit = i128::from(i64::MAX) * NANO;
        let magnitude = magnitude.map_or(limit, |value| value.min(limit));
        Some(Self(if text.starts_with('-') { -magnitude } else { magnitude }))
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    /// Their sum; at most what the largest number holds.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

const NANO: i128 = 1_000_000_000;

/// What a number's suffix multiplies it by.
enum Unit {
    Binary(u32),
    Decimal(i32),
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        let unit = match suffix {
            "Ki" => Unit::Binary(10),
            "Mi" => Unit::Binary(20),
            "Gi" => Unit::Binary(30),
            "Ti" => Unit::Binary(40),
            "Pi" => Unit::Binary(50),
            "Ei" => Unit::Binary(60),
            "n" => Unit::Decimal(-9),
            "u" => Unit::Decimal(-6),
            "m" => Unit::Decimal(-3),
            "" => Unit::Decimal(0),
            "k" => Unit::Decimal(3),
            "M" => Unit::Decimal(6),
            "G" => Unit::Decimal(9),
            "T" => Unit::Decimal(12),
            "P" => Unit::Decimal(15),
            "E" => Unit::Decimal(18),
            exponent => {
                let digits = exponent.strip_prefix(['e', 'E'])?;
                if !digits.ends_with(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                Unit::Decimal(digits.parse().ok()?)
            }
        };
        Some(unit)
    }

    /// In billionths, rounded up; `None` if it does not fit.
    fn scale(&self, whole: &str, fraction: &str) -> Option<i128> {
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let number: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let places = i32::try_from(fraction.len()).ok()?;
        let (factor, exponent) = match self {
            Unit::Binary(bits) => (1_i128 << bits, 9 - places),
            Unit::Decimal(power) => (1, power.checked_add(9)?.checked_sub(places)?),
        };
        let number = number.checked_mul(factor)?;
        if number == 0 {
            return Some(0);
        }
        let power = 10_i128.checked_pow(exponent.unsigned_abs());
        match (exponent >= 0, power) {
            (true, Some(power)) => number.checked_mul(power),
            (true, None) => None,
            (false, Some(power)) => Some(number / power + i128::from(number % power != 0)),
            // Finer than anything: rounds up to the smallest.
            (false, None) => Some(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_whatever_their_notation() {
        for (a, b) in [
            ("1", "1000m"),
            ("1Ki", "1024"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("0.1", "100m"),
            (".5", "0.5"),
            ("1E2", "100"),
            ("12E", "12e18"),
            ("+1", "1."),
            ("0.0000000001", "1n"),
        ] {
            assert_eq!(Quantity::parse(a), Quantity::parse(b), "{a} {b}");
            assert!(Quantity::parse(a).is_some(), "{a}");
        }
        assert!(Quantity::parse("-1") < Some(Quantity::ZERO));
        assert!(Quantity::parse("1Gi") > Quantity::parse("1G"));
        assert_eq!(Quantity::parse("1e99999"), Quantity::parse("9223372036854775807"));
        for bad in ["", "a", "1.2.3", "1GiB", "1 Gi", "--1", "e3", "1e", "1K", "."] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn quantities_are_counted_in_divisors_rounded_up() {
        let cases = [
            ("500m", "1m", 500),
            ("500m", "1", 1),
            ("2", "1m", 2000),
            ("64Mi", "1Mi", 64),
            ("1.5Gi", "1Mi", 1536),
            ("100k", "0", 100_000),
        ];
        for (value, divisor, expected) in cases {
            let parse = |text: &str| Quantity::parse(text).expect("a quantity");
            assert_eq!(parse(value).divided_by(parse(divisor)), expected, "{value} / {divisor}");
        }
    }
}
