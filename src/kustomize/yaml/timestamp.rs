//! Points in time in a YAML scalar: the four forms that the reference accepts, and RFC 3339 on the way out.
//!
//! The reference reads these forms with Go's `time.Parse`, whose liberties are kept: one or two digits in every field but
//! the year, a comma before the fraction, more fraction digits than count, and any number of spaces between date and
//! time.

use std::fmt;

/// A valid point in time in its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    /// The zone's distance from UTC in minutes.
    offset: i32,
}

/// Reads one of the four forms, or says that this is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Rest(text.as_bytes());
    let mut time = rest.date()?;
    if rest.0.is_empty() {
        return Some(time);
    }
    match rest.0[0] {
        b'T' | b't' => {
            rest.0 = &rest.0[1..];
            rest.clock(&mut time)?;
            rest.zone(&mut time)?;
        }
        b' ' => {
            while let [b' ', tail @ ..] = rest.0 {
                rest.0 = tail;
            }
            rest.clock(&mut time)?;
        }
        _ => return None,
    }
    rest.0.is_empty().then_some(time)
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn digit(&mut self) -> Option<u32> {
        let (first, tail) = self.0.split_first()?;
        let digit = first.is_ascii_digit().then(|| u32::from(first - b'0'))?;
        self.0 = tail;
        Some(digit)
    }

    fn one_or_two_digits(&mut self) -> Option<u32> {
        let tens = self.digit()?;
        Some(match self.digit() {
            Some(ones) => tens * 10 + ones,
            None => tens,
        })
    }

    fn two_digits(&mut self) -> Option<u32> {
        Some(self.digit()? * 10 + self.digit()?)
    }

    fn byte(&mut self, expected: u8) -> Option<()> {
        let (first, tail) = self.0.split_first()?;
        self.0 = tail;
        (*first == expected).then_some(())
    }

    fn date(&mut self) -> Option<Timestamp> {
        let mut year = 0;
        for _ in 0..4 {
            year = year * 10 + self.digit()?;
        }
        self.byte(b'-')?;
        let month = self.one_or_two_digits()?;
        self.byte(b'-')?;
        let day = self.one_or_two_digits()?;
        let is_valid = (1..=12).contains(&month) && (1..=days_in(month, year)).contains(&day);
        is_valid.then_some(Timestamp {
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            offset: 0,
        })
    }

    fn clock(&mut self, time: &mut Timestamp) -> Option<()> {
        time.hour = self.one_or_two_digits().filter(|hour| *hour < 24)?;
        self.byte(b':')?;
        time.minute = self.one_or_two_digits().filter(|minute| *minute < 60)?;
        self.byte(b':')?;
        time.second = self.one_or_two_digits().filter(|second| *second < 60)?;
        if let [b'.' | b',', b'0'..=b'9', ..] = self.0 {
            self.0 = &self.0[1..];
            time.nanos = self.fraction();
        }
        Some(())
    }

    /// Nine digits count; what follows them is read and dropped.
    fn fraction(&mut self) -> u32 {
        let (mut nanos, mut counted) = (0, 0);
        while let Some(digit) = self.digit() {
            if counted < 9 {
                nanos = nanos * 10 + digit;
                counted += 1;
            }
        }
        nanos * 10_u32.pow(9 - counted)
    }

    fn zone(&mut self, time: &mut Timestamp) -> Option<()> {
        let sign = match self.0.split_first()? {
            (b'Z', tail) => {
                self.0 = tail;
                return Some(());
            }
            (b'+', tail) => {
                self.0 = tail;
                1
            }
            (b'-', tail) => {
                self.0 = tail;
                -1
            }
            _ => return None,
        };
        // Go allows a distance of 24 hours and of 60 minutes.
        let hours = self.two_digits().filter(|hours| *hours <= 24)?;
        self.byte(b':')?;
        let minutes = self.two_digits().filter(|minutes| *minutes <= 60)?;
        time.offset = sign * i32::try_from(hours * 60 + minutes).expect("at most 25 hours");
        Some(())
    }
}

fn days_in(month: u32, year: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            nanos,
            offset,
        } = *self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        if offset == 0 {
            return f.write_str("Z");
        }
        let sign = if offset < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_are_read_and_printed_as_rfc_3339() {
        for (text, expected) in [
            ("2001-1-2", "2001-01-02T00:00:00Z"),
            ("2001-01-02T3:4:5Z", "2001-01-02T03:04:05Z"),
            ("2001-01-02t03:04:05.120+02:00", "2001-01-02T03:04:05.12+02:00"),
            ("2001-01-02T03:04:05-00:30", "2001-01-02T03:04:05-00:30"),
            ("2001-01-02   03:04:05.1234567899", "2001-01-02T03:04:05.123456789Z"),
            ("2001-01-02 03:04:05,5", "2001-01-02T03:04:05.5Z"),
            ("2000-02-29", "2000-02-29T00:00:00Z"),
        ] {
            assert_eq!(
                parse(text).map(|time| time.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for text in [
            "2001-02-29",
            "2001-13-01",
            "2001-1-0",
            "201-1-1",
            "20011-1-1",
            "2001-01-02T03:04:05",
            "2001-01-02 03:04:05Z",
            "2001-01-02T24:00:00Z",
            "2001-01-02T03:04Z",
            "2001-01-02x",
            "2001-01-02 ",
            "2001-01-02T03:04:05+0200",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
