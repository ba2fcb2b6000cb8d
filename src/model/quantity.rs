//! Quantities: `500m`, `64Mi`, `1e3` (`k8s.io/apimachinery/pkg/api/resource`), exact to a billionth.

use std::fmt;
use std::str::FromStr;

/// A quantity in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

/// Text that is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl Quantity {
    /// A whole number.
    pub fn whole(value: i64) -> Self {
        Self(i128::from(value) * NANO)
    }

    /// How many `divisor`s it is, rounded up (`ExtractContainerResourceValue`). A divisor of 0 counts as 1.
    pub fn divided_by(self, divisor: Self) -> i128 {
        let divisor = if divisor.0 == 0 { NANO } else { divisor.0 };
        let quotient = self.0.div_euclid(divisor);
        if self.0.rem_euclid(divisor) == 0 {
            quotient
        } else {
            quotient + 1
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (numerator, denominator) = scale(suffix)?;
        let magnitude = nano(digits)?.checked_mul(numerator).ok_or(QuantityError)?;
        // Finer than a billionth rounds up, as upstream does.
        let value = (magnitude + denominator - 1) / denominator;
        Ok(Self(if negative { -value } else { value }))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 % NANO, self.0 % 1_000_000, self.0 % 1_000) {
            (0, ..) => write!(f, "{}", self.0 / NANO),
            (_, 0, _) => write!(f, "{}m", self.0 / 1_000_000),
            (_, _, 0) => write!(f, "{}u", self.0 / 1_000),
            _ => write!(f, "{}n", self.0),
        }
    }
}

/// Plain decimal digits in billionths.
fn nano(digits: &str) -> Result<i128, QuantityError> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    // Longer numbers than this are no amount of anything, and would overflow.
    if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) || digits.len() > 24 {
        return Err(QuantityError);
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| QuantityError)?
    };
    let mut value = whole * NANO;
    for (place, digit) in fraction.bytes().enumerate().take(9) {
        value += i128::from(digit - b'0') * 10_i128.pow(8 - u32::try_from(place).map_err(|_| QuantityError)?);
    }
    Ok(value)
}

/// What a suffix multiplies by, as a fraction.
fn scale(suffix: &str) -> Result<(i128, i128), QuantityError> {
    Ok(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (NANO * 1_000, 1),
        "P" => (NANO * 1_000_000, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => power_of_ten(exponent.strip_prefix(['e', 'E']).ok_or(QuantityError)?)?,
    })
}

fn power_of_ten(exponent: &str) -> Result<(i128, i128), QuantityError> {
    let exponent: i32 = exponent.parse().map_err(|_| QuantityError)?;
    // 10^18 is the largest suffix there is; a larger exponent is a mistake or an attack.
    if exponent.abs() > 18 {
        return Err(QuantityError);
    }
    let power = 10_i128.pow(exponent.unsigned_abs());
    Ok(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_divided_as_upstream_does() {
        let cases = [
            ("500m", "1m", 500),
            ("500m", "1", 1),
            ("2", "1m", 2000),
            ("64Mi", "1Mi", 64),
            ("64Mi", "1", 67_108_864),
            ("1.5Gi", "1Mi", 1536),
            ("1e3", "1", 1000),
            ("5E-1", "1m", 500),
            ("100k", "0", 100_000),
            ("2E", "1", 2_000_000_000_000_000_000),
        ];
        for (value, divisor, expected) in cases {
            let parse = |text: &str| text.parse::<Quantity>().expect("a quantity");
            assert_eq!(parse(value).divided_by(parse(divisor)), expected, "{value} / {divisor}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "m",
            "1.2.3",
            "1x",
            "--1",
            "1e99",
            "1 Gi",
            ".",
            "99999999999999999999999999999",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }
}
