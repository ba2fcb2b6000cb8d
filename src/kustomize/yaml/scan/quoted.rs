//! Quoted scalars: escapes, and lines that are folded.

use super::super::node::Form;
use super::token::{Mark, TokenKind};
use super::{Result, Scanner};

/// Blanks and breaks between two words, of which no more is kept than the second word needs.
#[derive(Default)]
pub struct Gap {
    /// The blanks, as long as there was no break.
    blanks: String,
    /// The first break.
    first: &'static str,
    /// The breaks after it.
    more: String,
    /// Whether there was a break.
    pub has_break: bool,
}

impl Gap {
    /// Appends what the gap means: blanks as they are, one line break as a space, more of them as one less.
    pub fn flush(&mut self, text: &mut String) {
        if self.has_break {
            if self.first != "\n" {
                text.push_str(self.first);
            } else if self.more.is_empty() {
                text.push(' ');
            }
            text.push_str(&self.more);
        } else {
            text.push_str(&self.blanks);
        }
        self.first = "";
        self.more.clear();
        self.blanks.clear();
        self.has_break = false;
    }

    /// Takes in one break.
    pub fn push_break(&mut self, meaning: &'static str) {
        if self.has_break {
            self.more.push_str(meaning);
        } else {
            self.blanks.clear();
            self.first = meaning;
            self.has_break = true;
        }
    }

    /// Takes in one blank; those at the start of a line mean nothing.
    pub fn push_blank(&mut self, blank: u8) {
        if !self.has_break {
            self.blanks.push(char::from(blank));
        }
    }
}

impl Scanner<'_> {
    pub(super) fn fetch_quoted_scalar(&mut self, form: Form) -> Result<()> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        let quote = self.cursor.at(0);
        self.cursor.skip();
        let mut text = String::new();
        let mut gap = Gap::default();
        loop {
            if self.cursor.is_document_indicator() {
                return self.fail("found unexpected document indicator", self.cursor.mark);
            }
            if self.cursor.is_end() {
                return self.fail("found unexpected end of stream", start);
            }
            self.scan_quoted_word(quote, &mut text, &mut gap)?;
            if self.cursor.at(0) == quote {
                break;
            }
            while self.cursor.is_blank_at(0) || self.cursor.is_break_at(0) {
                if self.cursor.is_blank_at(0) {
                    gap.push_blank(self.cursor.at(0));
                    self.cursor.skip();
                } else {
                    gap.push_break(self.cursor.read_break());
                }
            }
            gap.flush(&mut text);
        }
        self.cursor.skip();
        self.push_text(TokenKind::Scalar(form), start, text);
        Ok(())
    }

    /// Reads up to a blank, a break, or the closing quote.
    fn scan_quoted_word(&mut self, quote: u8, text: &mut String, gap: &mut Gap) -> Result<()> {
        loop {
            let run = self.cursor.mark;
            self.cursor
                .skip_until(|_, byte| byte == quote || matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\\'));
            text.push_str(self.cursor.since(run));
            match (self.cursor.at(0), quote) {
                (b'\'', b'\'') if self.cursor.at(1) == b'\'' => {
                    text.push('\'');
                    self.cursor.skip_ascii(2);
                }
                (b'\\', b'\'') => {
                    text.push('\\');
                    self.cursor.skip();
                }
                (b'\\', _) if self.cursor.is_break_at(1) => {
                    self.cursor.skip();
                    self.cursor.read_break();
                    // The escaped break itself means nothing, but blanks behind it are indentation.
                    gap.push_break("");
                    return Ok(());
                }
                (b'\\', _) => self.scan_escape(text)?,
                _ => return Ok(()),
            }
        }
    }

    fn scan_escape(&mut self, text: &mut String) -> Result<()> {
        let start = self.cursor.mark;
        let digits = match self.cursor.at(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            letter => {
                let Some(meaning) = escaped(letter) else {
                    return self.fail("found unknown escape character", start);
                };
                text.push(meaning);
                self.cursor.skip_ascii(2);
                return Ok(());
            }
        };
        self.cursor.skip_ascii(2);
        text.push(self.scan_code_point(digits, start)?);
        Ok(())
    }

    fn scan_code_point(&mut self, digits: usize, start: Mark) -> Result<char> {
        let mut value = 0_u32;
        for ahead in 0..digits {
            let Some(digit) = char::from(self.cursor.at(ahead)).to_digit(16) else {
                return self.fail("did not find expected hexdecimal number", start);
            };
            value = value << 4 | digit;
        }
        self.cursor.skip_ascii(digits);
        match char::from_u32(value) {
            Some(character) => Ok(character),
            None => self.fail("found invalid Unicode character escape code", start),
        }
    }
}

fn escaped(letter: u8) -> Option<char> {
    Some(match letter {
        b'0' => '\0',
        b'a' => '\u{7}',
        b'b' => '\u{8}',
        b't' | b'\t' => '\t',
        b'n' => '\n',
        b'v' => '\u{b}',
        b'f' => '\u{c}',
        b'r' => '\r',
        b'e' => '\u{1b}',
        b' ' => ' ',
        b'"' => '"',
        b'\'' => '\'',
        b'\\' => '\\',
        b'N' => '\u{85}',
        b'_' => '\u{a0}',
        b'L' => '\u{2028}',
        b'P' => '\u{2029}',
        _ => return None,
    })
}
