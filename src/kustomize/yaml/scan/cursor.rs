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
    pub newlines: u32,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            mark: Mark::default(),
            newlines: 0,
        }
    }

    fn index(&self) -> usize {
        self.mark.index as usize
    }

    /// The byte so many bytes ahead; NUL behind the end.
    #[inline]
    pub fn at(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.index() + ahead).copied().unwrap_or(0)
    }

    /// The text between a former position and this one.
    pub fn since(&self, start: Mark) -> &'a str {
        &self.text[start.index as usize..self.index()]
    }

    pub fn is_end(&self) -> bool {
        self.index() >= self.text.len()
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
            && matches!(
                [self.at(0), self.at(1), self.at(2)],
                [b'-', b'-', b'-'] | [b'.', b'.', b'.']
            )
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

    /// Moves over all characters up to the first for which `ends` holds; it is asked about ASCII bytes only, and never
    /// about letters and digits. Other characters end at a line break.
    #[inline]
    pub fn skip_until(&mut self, ends: impl Fn(&Self, u8) -> bool) {
        let bytes = self.text.as_bytes();
        let start = self.mark;
        while let Some(byte) = bytes.get(self.index()).copied() {
            if byte.is_ascii_alphanumeric() {
                self.mark.index += 1;
            } else if byte < 0x80 {
                if ends(self, byte) {
                    break;
                }
                self.mark.index += 1;
            } else {
                if self.is_break_at(0) {
                    break;
                }
                self.mark.index += width(byte);
            }
            self.mark.column += 1;
        }
        if self.since(start).bytes().any(|byte| !matches!(byte, b' ' | b'\t')) {
            self.newlines = 0;
        }
    }

    /// Moves over spaces while the column is less than this.
    pub fn skip_spaces_below(&mut self, column: u32) {
        while self.mark.column < column && self.at(0) == b' ' {
            self.mark.index += 1;
            self.mark.column += 1;
        }
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
        self.skip_until(|_, byte| matches!(byte, b'\n' | b'\r'));
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
pub fn width(first: u8) -> u32 {
    match first {
        0x00..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xFF => 4,
    }
}
