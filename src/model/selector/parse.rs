//! The text form of label selectors, read as `labels.Parse` of apimachinery reads it.

use std::collections::BTreeSet;

use super::Requirement;

/// A piece of a selector's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// `in` and `notin`, which are names where names are wanted.
    Keyword(&'a str),
    /// A key or a value.
    Word(&'a str),
    /// An operator, a comma, a parenthesis.
    Symbol(&'a str),
    End,
}

/// The longer ones first: they begin like the others.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", ">", "<", "(", ")", ","];

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Keyword(text) | Self::Word(text) | Self::Symbol(text) => text,
            Self::End => "",
        }
    }

    /// The token where a key or a value may stand.
    fn as_word(self) -> Self {
        match self {
            Self::Keyword(text) => Self::Word(text),
            other @ (Self::Word(_) | Self::Symbol(_) | Self::End) => other,
        }
    }
}

/// The requirements of a text, or why it is no selector.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek().as_word() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => return Ok(requirements),
            other => {
                let found = other.text();
                return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
            }
        }
        let requirement = parser.requirement();
        requirements.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match parser.peek().as_word() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        Self { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        self.rest = self.rest.trim_start_matches(is_blank);
        if self.rest.is_empty() {
            return Token::End;
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest.starts_with(**symbol)) {
            self.rest = &self.rest[symbol.len()..];
            return Token::Symbol(symbol);
        }
        let is_end = |c: char| is_blank(c) || "=!(),><".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(is_end).unwrap_or(self.rest.len()));
        self.rest = rest;
        match word {
            "in" | "notin" => Token::Keyword(word),
            _ => Token::Word(word),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_absent = self.peek() == Token::Symbol("!");
        if is_absent {
            self.next();
        }
        let Token::Word(key) = self.peek().as_word() else {
            return Err(format!("found '{}', expected: identifier", self.next().text()));
        };
        self.next();
        if !is_key(key) {
            return Err(format!("invalid label key {key:?}"));
        }
        let key = key.to_owned();
        if is_absent {
            return Ok(Requirement::Absent(key));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement::Exists(key));
        }
        match self.next() {
            Token::Keyword("in") => Ok(Requirement::In(key, self.values()?)),
            Token::Keyword("notin") => Ok(Requirement::NotIn(key, self.values()?)),
            Token::Symbol("=" | "==") => Ok(Requirement::In(key, BTreeSet::from([self.value()?]))),
            Token::Symbol("!=") => Ok(Requirement::NotIn(key, BTreeSet::from([self.value()?]))),
            Token::Symbol(">") => Ok(Requirement::Greater(key, self.number()?)),
            Token::Symbol("<") => Ok(Requirement::Less(key, self.number()?)),
            other => Err(format!("found '{}', expected: {OPERATORS}", other.text())),
        }
    }

    /// One value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        match self.peek().as_word() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(value) => {
                self.next();
                checked(value)
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        let wrong = |_| "for 'Gt', 'Lt' operators, the value must be an integer".to_owned();
        value.parse().map_err(wrong)
    }

    /// Values in parentheses. What is left out, before, between or after commas, is the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        if !matches!(self.peek().as_word(), Token::Word(_) | Token::Symbol("," | ")")) {
            let found = self.peek().text();
            return Err(format!("found '{found}', expected: ',', ')' or identifier"));
        }
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek().as_word() {
                Token::Word(value) => {
                    self.next();
                    checked(value)?
                }
                Token::Symbol("," | ")") => String::new(),
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            };
            values.insert(value);
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

/// The longest name of a key, and the longest value.
const MAX_NAME: usize = 63;

/// The longest domain before a key's name.
const MAX_DOMAIN: usize = 253;

/// A word that is empty or a name.
fn checked(value: &str) -> Result<String, String> {
    match value.is_empty() || is_name(value) {
        true => Ok(value.to_owned()),
        false => Err(format!("invalid label value: {value:?}")),
    }
}

/// Letters and digits, and between them also hyphens, underscores and dots.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [text.as_bytes().first(), text.as_bytes().last()];
    text.len() <= MAX_NAME
        && text.bytes().all(is_inner)
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

/// A name, below a domain where there is one.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((domain, name)) => is_domain(domain) && is_name(name),
    }
}

fn is_domain(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= MAX_DOMAIN && text.split('.').all(is_part)
}
