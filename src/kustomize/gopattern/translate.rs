//! Go's syntax (`regexp/syntax`, with its Perl extensions) to that of the regex crate.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::class;

/// How often anything may be repeated, repetitions of repetitions multiplied.
const MAX_REPEAT: u32 = 1000;

/// A pattern in the regex crate's words, or why it is none in Go's.
pub fn translate(pattern: &str) -> Result<String, String> {
    let mut translation = Translation {
        cursor: Cursor { pattern, at: 0 },
        out: String::new(),
        groups: vec![Group::default()],
        names: HashSet::new(),
    };
    translation.run()?;
    Ok(translation.out)
}

/// One character, so that it stands for nothing but itself.
pub fn literal(c: char) -> String {
    match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!(r"\x{{{:X}}}", u32::from(c)),
    }
}

/// What was read of a group.
#[derive(Debug, Default)]
struct Group {
    /// Whether there is something that could be repeated.
    has_atom: bool,
    /// Where the repetition begins that was just read.
    repeated_at: Option<usize>,
    /// How often what is repeated most is repeated: in all of the group, and in the last thing in it.
    most: u32,
    last: u32,
}

struct Translation<'a> {
    cursor: Cursor<'a>,
    out: String,
    groups: Vec<Group>,
    names: HashSet<String>,
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.cursor.next() {
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.out.push('|');
                    self.group().has_atom = false;
                    self.group().repeated_at = None;
                }
                '^' | '$' | '.' => self.atom(&c.to_string()),
                '[' => {
                    let class = class::brackets(&mut self.cursor)?;
                    self.atom(&class);
                }
                '*' | '+' | '?' => self.repeat(self.cursor.at - 1, &c.to_string(), None)?,
                '{' => self.braces()?,
                '\\' => self.escape()?,
                other => self.atom(&literal(other)),
            }
        }
        match self.groups.len() {
            1 => Ok(()),
            _ => Err(format!("missing closing ): `{}`", self.cursor.pattern)),
        }
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the outermost group is never closed")
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        let group = self.group();
        group.has_atom = true;
        group.repeated_at = None;
        group.last = 1;
        group.most = group.most.max(1);
    }

    fn open(&mut self) -> Result<(), String> {
        if !self.cursor.looks_at("?") {
            self.out.push('(');
            self.groups.push(Group::default());
            return Ok(());
        }
        if self.cursor.looks_at("?P<") || self.cursor.looks_at("?<") {
            return self.open_named();
        }
        self.flags()
    }

    fn open_named(&mut self) -> Result<(), String> {
        let whole = self.cursor.from(-1);
        self.cursor.until("<");
        let Some(name) = self.cursor.until(">") else {
            return Err(format!("invalid named capture: `{}`", self.cursor.rest_from(whole)));
        };
        let is_word = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_word(&name) {
            return Err(format!("invalid named capture: `{}`", self.cursor.shown(whole)));
        }
        if !self.names.insert(name.clone()) {
            return Err(format!("invalid named capture: `{name}`"));
        }
        // Nobody asks for what groups captured.
        self.out.push('(');
        self.groups.push(Group::default());
        Ok(())
    }

    /// `(?i)` and `(?i:`.
    fn flags(&mut self) -> Result<(), String> {
        let whole = self.cursor.from(-1);
        self.cursor.skip(1);
        let mut flags = String::new();
        loop {
            match self.cursor.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => flags.push(flag),
                Some('-') if !flags.contains('-') => flags.push('-'),
                Some(end @ (':' | ')')) if !flags.ends_with('-') => {
                    let is_group = end == ':';
                    if is_group || !flags.is_empty() {
                        write!(self.out, "(?{}{end}", without_doubles(&flags)).expect("written");
                    }
                    if is_group {
                        self.groups.push(Group::default());
                    }
                    return Ok(());
                }
                None => return Err(format!("missing closing ): `{}`", self.cursor.pattern)),
                Some(_) => {
                    let shown = self.cursor.shown(whole);
                    return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), String> {
        if self.groups.len() == 1 {
            return Err(format!("unexpected ): `{}`", self.cursor.pattern));
        }
        let inner = self.groups.pop().expect("there are two at least");
        self.atom(")");
        let group = self.group();
        group.last = inner.most.max(1);
        group.most = group.most.max(group.last);
        Ok(())
    }

    /// A repetition, which begins at a place and is what it is, if it has bounds with these.
    fn repeat(&mut self, begin: usize, operator: &str, bounds: Option<(u32, Option<u32>)>) -> Result<(), String> {
        if !self.group().has_atom {
            return Err(format!(
                "missing argument to repetition operator: `{}`",
                self.cursor.shown(begin)
            ));
        }
        let lazy = if self.cursor.eat("?") { "?" } else { "" };
        if let Some(first) = self.group().repeated_at {
            return Err(format!(
                "invalid nested repetition operator: `{}`",
                self.cursor.shown(first)
            ));
        }
        self.group().repeated_at = Some(begin);
        if let Some((least, most)) = bounds {
            let times = most.unwrap_or(least);
            let last = self.group().last.saturating_mul(times.max(1));
            if last > MAX_REPEAT {
                return Err(format!("invalid repeat count: `{operator}`"));
            }
            let group = self.group();
            group.last = last;
            group.most = group.most.max(last);
        }
        self.out.push_str(operator);
        self.out.push_str(lazy);
        Ok(())
    }

    /// `{2}`, `{2,}` and `{2,3}`; a brace before anything else is one.
    fn braces(&mut self) -> Result<(), String> {
        let begin = self.cursor.from(-1);
        let Some((length, least, most)) = bounds(self.cursor.rest()) else {
            self.atom(&literal('{'));
            return Ok(());
        };
        self.cursor.at += length;
        let shown = self.cursor.shown(begin).to_owned();
        let is_valid = least <= MAX_REPEAT && most.is_none_or(|most| least <= most && most <= MAX_REPEAT);
        if !is_valid {
            return Err(format!("invalid repeat count: `{shown}`"));
        }
        self.repeat(begin, &shown, Some((least, most)))
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(letter) = self.cursor.rest().chars().next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        let fixed = match letter {
            'A' => Some(r"\A"),
            'z' => Some(r"\z"),
            'b' => Some(r"(?-u:\b)"),
            'B' => Some(r"(?-u:\B)"),
            _ => class::perl(letter),
        };
        if let Some(fixed) = fixed {
            self.cursor.skip(1);
            self.atom(fixed);
            return Ok(());
        }
        match letter {
            'Q' => {
                self.cursor.skip(1);
                let quoted = match self.cursor.until(r"\E") {
                    Some(quoted) => quoted,
                    None => self.cursor.take_rest(),
                };
                quoted.chars().for_each(|c| self.atom(&literal(c)));
            }
            'p' | 'P' => {
                self.cursor.skip(1);
                let class = class::unicode(&mut self.cursor, letter == 'P')?;
                self.atom(&class);
            }
            _ => {
                let c = self.cursor.escape()?;
                self.atom(&literal(c));
            }
        }
        Ok(())
    }
}

/// Flags that are said twice are fine in Go.
fn without_doubles(flags: &str) -> String {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let mut result = String::new();
    // What is turned off at last was not turned on.
    for flag in on.chars().filter(|flag| !off.contains(*flag)) {
        if !result.contains(flag) {
            result.push(flag);
        }
    }
    for (at, flag) in off.char_indices() {
        if at == 0 {
            result.push('-');
        }
        if !off[..at].contains(flag) {
            result.push(flag);
        }
    }
    result
}

/// How long the bounds of a repetition are, behind their brace, and what they are. `None` if they are none.
fn bounds(text: &str) -> Option<(usize, u32, Option<u32>)> {
    let (inner, _) = text.split_once('}')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let has_leading_zero = text.len() > 1 && text.starts_with('0');
        (is_number && !has_leading_zero).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (least, most) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((inner.len() + 1, least, most))
}

/// A place in a pattern.
pub struct Cursor<'a> {
    pattern: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next character, which is passed.
    pub fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// What is ahead.
    pub fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    /// Whether a text is ahead.
    pub fn looks_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    /// Passes a text if it is ahead.
    pub fn eat(&mut self, text: &str) -> bool {
        let is_there = self.looks_at(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// Passes so many bytes, which are ASCII.
    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// What stands before a text, which is passed, too.
    pub fn until(&mut self, end: &str) -> Option<String> {
        let (before, _) = self.rest().split_once(end)?;
        self.at += before.len() + end.len();
        Some(before.to_owned())
    }

    fn take_rest(&mut self) -> String {
        let rest = self.rest().to_owned();
        self.at = self.pattern.len();
        rest
    }

    /// A place so many bytes from here, which are ASCII.
    pub fn from(&self, bytes: isize) -> usize {
        self.at.saturating_add_signed(bytes)
    }

    /// What was read since a place.
    pub fn shown(&self, begin: usize) -> &'a str {
        &self.pattern[begin..self.at]
    }

    /// All from a place on.
    pub fn rest_from(&self, begin: usize) -> &'a str {
        &self.pattern[begin..]
    }

    /// The character that an escape stands for; its backslash was passed.
    pub fn escape(&mut self) -> Result<char, String> {
        let begin = self.from(-1);
        let Some(letter) = self.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        let found = match letter {
            '1'..='7' if !self.rest().starts_with(|c: char| ('0'..='7').contains(&c)) => None,
            '0'..='7' => Some(self.octal(letter)),
            'x' => self.hexadecimal(),
            'a' => Some('\x07'),
            'f' => Some('\x0C'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0B'),
            other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then_some(other),
        };
        found.ok_or_else(|| format!("invalid escape sequence: `{}`", self.shown(begin)))
    }

    fn octal(&mut self, first: char) -> char {
        let mut value = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let Some(digit) = self.rest().chars().next().and_then(|c| c.to_digit(8)) else {
                break;
            };
            self.skip(1);
            value = value * 8 + digit;
        }
        char::from_u32(value).expect("three octal digits are below the surrogates")
    }

    fn hexadecimal(&mut self) -> Option<char> {
        if !self.eat("{") {
            let high = self.next()?.to_digit(16)?;
            let low = self.next()?.to_digit(16)?;
            return char::from_u32(high * 16 + low);
        }
        let digits = self.until("}")?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits.trim_start_matches('0'), 16)
            .ok()
            .or((digits.bytes().all(|byte| byte == b'0')).then_some(0))
            .filter(|_| is_number)
            .and_then(char::from_u32)
    }
}
