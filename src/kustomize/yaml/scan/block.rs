//! Block scalars: `|` and `>` with their indicators, indentation and chomping.

use super::super::node::Form;
use super::token::{Mark, TokenKind};
use super::{Result, Scanner};

/// What happens to the line breaks at the end.
#[derive(Clone, Copy, PartialEq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

impl Scanner<'_> {
    pub(super) fn fetch_block_scalar(&mut self, form: Form) -> Result<()> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        let start = self.cursor.mark;
        self.cursor.skip();
        let (chomping, increment) = self.scan_block_indicators(start)?;
        self.scan_block_header_end(start)?;
        let outer = u32::try_from(self.indent).unwrap_or(0);
        let (text, end) = self.scan_block_text(form, chomping, increment.map(|by| outer + by))?;
        self.push_text(TokenKind::Scalar(form), start, text);
        self.tokens.back_mut().expect("just pushed").end = end;
        Ok(())
    }

    /// Chomping and indentation, in either order, each at most once.
    fn scan_block_indicators(&mut self, start: Mark) -> Result<(Chomping, Option<u32>)> {
        let (mut chomping, mut increment) = (None, None);
        for _ in 0..2 {
            match self.cursor.at(0) {
                b'+' if chomping.is_none() => chomping = Some(Chomping::Keep),
                b'-' if chomping.is_none() => chomping = Some(Chomping::Strip),
                b'0' if increment.is_none() => {
                    return self.fail("found an indentation indicator equal to 0", start);
                }
                digit @ b'1'..=b'9' if increment.is_none() => increment = Some(u32::from(digit - b'0')),
                _ => break,
            }
            self.cursor.skip();
        }
        Ok((chomping.unwrap_or(Chomping::Clip), increment))
    }

    fn scan_block_header_end(&mut self, start: Mark) -> Result<()> {
        self.cursor.skip_blanks();
        if self.cursor.at(0) == b'#' {
            self.scan_line_comment(start);
            self.cursor.skip_to_break();
        }
        if !self.cursor.is_break_or_end_at(0) {
            return self.fail("did not find expected comment or line break", self.cursor.mark);
        }
        self.cursor.read_break();
        Ok(())
    }

    fn scan_block_text(&mut self, form: Form, chomping: Chomping, indent: Option<u32>) -> Result<(String, Mark)> {
        let mut text = String::new();
        let mut last_break = "";
        let mut more_breaks = String::new();
        let mut end = self.cursor.mark;
        let indent = self.scan_block_breaks(indent, &mut more_breaks, &mut end)?;
        let mut last_began_blank = false;
        while self.cursor.mark.column == indent && !self.cursor.is_end() {
            let begins_blank = self.cursor.is_blank_at(0);
            let folds = form == Form::Folded && !last_began_blank && !begins_blank && last_break == "\n";
            if !folds {
                text.push_str(last_break);
            } else if more_breaks.is_empty() {
                text.push(' ');
            }
            text.push_str(&more_breaks);
            more_breaks.clear();
            last_began_blank = begins_blank;

            let line = self.cursor.mark;
            self.cursor.skip_to_break();
            text.push_str(self.cursor.since(line));
            last_break = self.cursor.read_break();
            self.scan_block_breaks(Some(indent), &mut more_breaks, &mut end)?;
        }
        if chomping != Chomping::Strip {
            text.push_str(last_break);
        }
        if chomping == Chomping::Keep {
            text.push_str(&more_breaks);
        }
        Ok((text, end))
    }

    /// Moves over indentation and empty lines. Returns the indentation, which the first line with content decides if
    /// the header did not.
    fn scan_block_breaks(&mut self, indent: Option<u32>, breaks: &mut String, end: &mut Mark) -> Result<u32> {
        *end = self.cursor.mark;
        let mut deepest = 0;
        loop {
            let is_indentation = |column: u32| indent.is_none_or(|indent| column < indent);
            self.cursor.skip_spaces_below(indent.unwrap_or(u32::MAX));
            deepest = deepest.max(self.cursor.mark.column);
            if is_indentation(self.cursor.mark.column) && self.cursor.at(0) == b'\t' {
                return self.fail(
                    "found a tab character where an indentation space is expected",
                    self.cursor.mark,
                );
            }
            if !self.cursor.is_break_at(0) {
                break;
            }
            breaks.push_str(self.cursor.read_break());
            *end = self.cursor.mark;
        }
        let least = u32::try_from(self.indent + 1).unwrap_or(0).max(1);
        Ok(indent.unwrap_or(deepest.max(least)))
    }
}
