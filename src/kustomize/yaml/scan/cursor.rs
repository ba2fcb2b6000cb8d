//! The position in the text, and the only code that moves it.
//!
//! Line breaks are those of YAML 1.1: CR LF, CR, LF, NEL, LS and PS. The end of the text reads as a NUL byte, which the
//! text itself never contains ([`super::super::reader`] refuses it).

use super::token::Mark;

#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    pub mark: Mark,
    /// Line breaks since the last character that was neither blank nor a break.
    pub newlines: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, mark: Mark::default(), newlines: 0 }
    }

    /// The byte so many bytes ahead; NUL behind the end.
    #[inline]
    pub fn at(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.mark.index + ahead).copied().unwrap_or(0)
    }

    /// The text between a former position and this one.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.mark.index]
    }

    pub fn is_end(&self) -> bool {
        self.mark.index >= self.text.len()
    }

    pub fn is_blank_at(&self, ahead: usize) -> bool {
        matches!(self.at(ahead), b' ' | b'\t')
    }

    #[inline]
    pub fn is_break_at(&self, ahead: usize) -> bool {
        match self.at(ahead) {
            b'\r' | b'\n' => true,
            0xC2 => self.at(ahead + 1) == 0x85,
            0xE2 => self.at(ahead + 1) == 0x80 && matches!(self.at(ahead + 2), 0xA8 | 0xA9),
            _ => false,
        }
    }

    pub fn is_break_or_end_at(&self, ahead: usize) -> bool {
        self.at(ahead) == 0 || self.is_break_at(ahead)
    }

    /// Blank, break or end.
    #[inline]
    pub fn is_white_at(&self, ahead: usize) -> bool {
        match self.at(ahead) {
            b' ' | b'\t' | 0 => true,
            // Nothing else below this is a break, and nearly every byte ends here.
            b'!'..=0x7F => false,
            _ => self.is_break_at(ahead),
        }
    }

    /// Whether `---` or `...` stands alone at the start of this line.
    pub fn is_document_indicator(&self) -> bool {
        self.mark.column == 0
            && matches!([self.at(0), self.at(1), self.at(2)], [b'-', b'-', b'-'] | [b'.', b'.', b'.'])
            && self.is_white_at(3)
    }

    /// Moves over one character that is no break.
    #[inline]
    pub fn skip(&mut self) {
        let byte = self.at(0);
        if !matches!(byte, b' ' | b'\t') {
            self.newlines = 0;
        }
        self.mark.index += width(byte);
        self.mark.column += 1;
    }

    /// Moves over so many one-byte characters.
    pub fn skip_ascii(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    pub fn skip_blanks(&mut self) {
        while self.is_blank_at(0) {
            self.skip();
        }
    }

    /// Moves to the next break or the end.
    pub fn skip_to_break(&mut self) {
        while !self.is_break_or_end_at(0) {
            self.skip();
        }
    }

    /// Moves over a line break, if there is one, and says what it means in a scalar: all but LS and PS mean LF.
    pub fn read_break(&mut self) -> &'static str {
        let (width, meaning) = match (self.at(0), self.at(1), self.at(2)) {
            (b'\r', b'\n', _) => (2, "\n"),
            (b'\r' | b'\n', _, _) => (1, "\n"),
            (0xC2, 0x85, _) => (2, "\n"),
            (0xE2, 0x80, 0xA8) => (3, "\u{2028}"),
            (0xE2, 0x80, 0xA9) => (3, "\u{2029}"),
            _ => return "",
        };
        self.mark.index += width;
        self.mark.column = 0;
        self.mark.line += 1;
        self.newlines += 1;
        meaning
    }
}

/// How many bytes a character has, by its first.
#[inline]
pub fn width(first: u8) -> usize {
    match first {
        0x00..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xFF => 4,
    }
}
