//! Floating-point numbers as Go prints them: the fewest digits that read back the same, in the notation of Go's choice.

/// The digits without a point, and the power of ten of the first one.
struct Digits {
    is_negative: bool,
    digits: String,
    exponent: i32,
}

impl Digits {
    fn of(value: f64) -> Self {
        // Rust's scientific notation has the fewest digits, too, and at least one.
        Self::parse(&format!("{value:e}"))
    }

    fn of_single(value: f32) -> Self {
        Self::parse(&format!("{value:e}"))
    }

    fn parse(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
        let is_negative = mantissa.starts_with('-');
        let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
        Self {
            is_negative,
            digits,
            exponent: exponent.parse().expect("an exponent is a small integer"),
        }
    }

    fn sign(&self) -> &'static str {
        if self.is_negative { "-" } else { "" }
    }

    fn scientific(&self, least_exponent_digits: usize) -> String {
        let (first, rest) = self.digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if self.exponent < 0 { '-' } else { '+' };
        let exponent = self.exponent.unsigned_abs();
        format!(
            "{}{first}{point}{rest}e{sign}{exponent:0least_exponent_digits$}",
            self.sign()
        )
    }

    fn positional(&self) -> String {
        let digits = &self.digits;
        let (sign, count) = (
            self.sign(),
            i32::try_from(digits.len()).expect("a number has at most 17 digits"),
        );
        let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
        if self.exponent < 0 {
            format!("{sign}0.{}{digits}", zeros(-self.exponent - 1))
        } else if self.exponent + 1 >= count {
            format!("{sign}{digits}{}", zeros(self.exponent + 1 - count))
        } else {
            let (whole, fraction) = digits.split_at(usize::try_from(self.exponent + 1).expect("not negative here"));
            format!("{sign}{whole}.{fraction}")
        }
    }

    /// Go's `%g`: scientific below 10⁻⁴ and, with the fewest digits, from 10⁶ on.
    fn general(&self) -> String {
        if self.exponent < -4 || self.exponent >= 6 {
            self.scientific(2)
        } else {
            self.positional()
        }
    }
}

/// A number in a YAML text.
pub fn in_yaml(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    Digits::of(value).general()
}

/// A number that is a key in a kustomization file, which the reference prints with single precision.
#[expect(
    clippy::cast_possible_truncation,
    reason = "single precision is what the reference prints"
)]
pub fn as_legacy_key(value: f64) -> String {
    let single = value as f32;
    if single.is_finite() {
        Digits::of_single(single).general()
    } else {
        in_yaml(f64::from(single))
    }
}

/// A finite number in a JSON text.
pub fn in_json(value: f64) -> String {
    let magnitude = value.abs();
    let digits = Digits::of(value);
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        digits.scientific(1)
    } else {
        digits.positional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, yaml, json) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (0.5, "0.5", "0.5"),
            (100_000.5, "100000.5", "100000.5"),
            (1_234_567.5, "1.2345675e+06", "1234567.5"),
            (1_000_000.0, "1e+06", "1000000"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (1.5e-7, "1.5e-07", "1.5e-7"),
            (1e20, "1e+20", "100000000000000000000"),
            (1e21, "1e+21", "1e+21"),
            (-1.5e300, "-1.5e+300", "-1.5e+300"),
        ] {
            assert_eq!((in_yaml(value).as_str(), in_json(value).as_str()), (yaml, json));
        }
        assert_eq!(in_yaml(f64::NEG_INFINITY), "-.inf");
        assert_eq!(as_legacy_key(1.1), "1.1");
    }
}
