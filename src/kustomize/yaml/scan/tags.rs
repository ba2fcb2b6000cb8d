//! Anchors, aliases, tags and directives.

use super::token::{Mark, Token, TokenKind};
use super::{Result, Scanner};

impl Scanner<'_> {
    /// `&name` or `*name`
    pub(super) fn fetch_anchor(&mut self, indicator: u8) -> Result<()> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        self.cursor.skip();
        let name = self.scan_word();
        let ends_well = self.cursor.is_white_at(0)
            || matches!(self.cursor.at(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !ends_well {
            return self.fail("did not find expected alphabetic or numeric character", start);
        }
        self.push_text(
            if indicator == b'*' {
                TokenKind::Alias
            } else {
                TokenKind::Anchor
            },
            start,
            name,
        );
        Ok(())
    }

    /// Letters, digits, `_` and `-`.
    fn scan_word(&mut self) -> String {
        let start = self.cursor.mark;
        while is_word(self.cursor.at(0)) {
            self.cursor.skip();
        }
        self.cursor.since(start).to_owned()
    }

    /// `!`, `!suffix`, `!handle!suffix` or `!<uri>`
    pub(super) fn fetch_tag(&mut self) -> Result<()> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        let (handle, suffix) = if self.cursor.at(1) == b'<' {
            self.cursor.skip_ascii(2);
            let suffix = self.scan_tag_uri("", start)?;
            if self.cursor.at(0) != b'>' {
                return self.fail("did not find the expected '>'", start);
            }
            self.cursor.skip();
            (String::new(), suffix)
        } else {
            self.scan_short_tag(start)?
        };
        if !self.cursor.is_white_at(0) {
            return self.fail("did not find expected whitespace or line break", start);
        }
        self.push_pair(TokenKind::Tag, start, handle, suffix);
        Ok(())
    }

    fn push_pair(&mut self, kind: TokenKind, start: Mark, text: String, rest: String) {
        self.tokens.push_back(Token {
            kind,
            start,
            end: self.cursor.mark,
            text,
            rest: rest.into(),
        });
    }

    fn scan_short_tag(&mut self, start: Mark) -> Result<(String, String)> {
        let handle = self.scan_tag_handle(false, start)?;
        if handle.len() > 1 && handle.ends_with('!') {
            let suffix = self.scan_tag_uri("", start)?;
            return Ok((handle, suffix));
        }
        // It was no handle but the start of the suffix.
        let suffix = self.scan_tag_uri(&handle, start)?;
        if suffix.is_empty() {
            Ok((suffix, "!".to_owned()))
        } else {
            Ok(("!".to_owned(), suffix))
        }
    }

    fn scan_tag_handle(&mut self, is_directive: bool, start: Mark) -> Result<String> {
        if self.cursor.at(0) != b'!' {
            return self.fail("did not find expected '!'", start);
        }
        self.cursor.skip();
        let mut handle = format!("!{}", self.scan_word());
        if self.cursor.at(0) == b'!' {
            self.cursor.skip();
            handle.push('!');
        } else if is_directive && handle != "!" {
            return self.fail("did not find expected '!'", start);
        }
        Ok(handle)
    }

    /// The rest of a tag. `head` was read as its handle and is one only from its second character on.
    fn scan_tag_uri(&mut self, head: &str, start: Mark) -> Result<String> {
        let mut uri = head.get(1..).unwrap_or("").as_bytes().to_vec();
        let mut is_there = !head.is_empty();
        while is_uri(self.cursor.at(0)) {
            is_there = true;
            if self.cursor.at(0) == b'%' {
                self.scan_uri_escape(&mut uri, start)?;
            } else {
                uri.push(self.cursor.at(0));
                self.cursor.skip();
            }
        }
        if !is_there {
            return self.fail("did not find expected tag URI", start);
        }
        match String::from_utf8(uri) {
            Ok(uri) => Ok(uri),
            Err(_) => self.fail("found an incorrect trailing UTF-8 octet", start),
        }
    }

    fn scan_uri_escape(&mut self, uri: &mut Vec<u8>, start: Mark) -> Result<()> {
        let digit = |at: u8| char::from(at).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(self.cursor.at(1)), digit(self.cursor.at(2))) else {
            return self.fail("did not find URI escaped octet", start);
        };
        uri.push(high << 4 | low);
        self.cursor.skip_ascii(3);
        Ok(())
    }

    /// `%YAML 1.1` or `%TAG !handle! prefix`
    pub(super) fn fetch_directive(&mut self) -> Result<()> {
        self.unroll_indent(-1, self.cursor.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        self.cursor.skip();
        let name = self.scan_word();
        if name.is_empty() {
            return self.fail("could not find expected directive name", start);
        }
        if !self.cursor.is_white_at(0) {
            return self.fail("found unexpected non-alphabetical character", start);
        }
        self.cursor.skip_blanks();
        match name.as_str() {
            "YAML" => self.scan_version(start)?,
            "TAG" => self.scan_tag_directive(start)?,
            _ => return self.fail("found unknown directive name", start),
        }
        self.cursor.skip_blanks();
        if self.cursor.at(0) == b'#' {
            self.cursor.skip_to_break();
        }
        if !self.cursor.is_break_or_end_at(0) {
            return self.fail("did not find expected comment or line break", start);
        }
        self.cursor.read_break();
        Ok(())
    }

    fn scan_version(&mut self, start: Mark) -> Result<()> {
        let major = self.scan_version_number(start)?;
        if self.cursor.at(0) != b'.' {
            return self.fail("did not find expected digit or '.' character", start);
        }
        self.cursor.skip();
        let minor = self.scan_version_number(start)?;
        self.push_text(TokenKind::VersionDirective, start, format!("{major}.{minor}"));
        Ok(())
    }

    fn scan_version_number(&mut self, start: Mark) -> Result<u8> {
        let mut value = 0_u8;
        let mut digits = 0;
        while let digit @ b'0'..=b'9' = self.cursor.at(0) {
            digits += 1;
            if digits > 2 {
                return self.fail("found extremely long version number", start);
            }
            value = value * 10 + (digit - b'0');
            self.cursor.skip();
        }
        if digits == 0 {
            return self.fail("did not find expected version number", start);
        }
        Ok(value)
    }

    fn scan_tag_directive(&mut self, start: Mark) -> Result<()> {
        let handle = self.scan_tag_handle(true, start)?;
        if !self.cursor.is_blank_at(0) {
            return self.fail("did not find expected whitespace", start);
        }
        self.cursor.skip_blanks();
        let prefix = self.scan_tag_uri("", start)?;
        if !self.cursor.is_white_at(0) {
            return self.fail("did not find expected whitespace or line break", start);
        }
        self.push_pair(TokenKind::TagDirective, start, handle, prefix);
        Ok(())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_uri(byte: u8) -> bool {
    is_word(byte) || b";/?:@&=+$,.!~*'()[]%".contains(&byte)
}
