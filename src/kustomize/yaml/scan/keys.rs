//! Keys that are recognised only by the `:` behind them, and the indentation that opens and closes block collections.

use super::super::error::Problem;
use super::token::{Mark, Token, TokenKind};
use super::{Result, Scanner, signed};

/// How many characters a key may have that no `?` announces; YAML's own number.
const MAX_SIMPLE_KEY: u32 = 1024;

/// A place where a key may have begun, one for each flow level.
#[derive(Debug, Default)]
pub struct SimpleKey {
    possible: bool,
    /// Whether nothing else can stand here, so that a missing `:` is an error.
    required: bool,
    /// The number of its first token, counted from the start of the text.
    token: usize,
    mark: Mark,
}

impl Scanner<'_> {
    /// Whether this token may turn out to begin a key.
    pub(super) fn may_begin_key(&mut self, token: usize) -> Result<bool> {
        match self
            .simple_keys
            .iter()
            .rposition(|key| key.possible && key.token == token)
        {
            Some(level) => self.is_simple_key_valid(level),
            None => Ok(false),
        }
    }

    /// A key must end on its line and within [`MAX_SIMPLE_KEY`] characters.
    fn is_simple_key_valid(&mut self, level: usize) -> Result<bool> {
        let now = self.cursor.mark;
        let key = &mut self.simple_keys[level];
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line == now.line && key.mark.column + MAX_SIMPLE_KEY >= now.column {
            return Ok(true);
        }
        if key.required {
            let mark = key.mark;
            return self.fail("could not find expected ':'", mark);
        }
        key.possible = false;
        Ok(false)
    }

    pub(super) fn save_simple_key(&mut self) -> Result<()> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        let key = SimpleKey {
            possible: true,
            required: self.flow_level == 0 && self.indent == self.column(),
            token: self.taken + self.tokens.len(),
            mark: self.cursor.mark,
        };
        self.remove_simple_key()?;
        *self.innermost_key() = key;
        Ok(())
    }

    pub(super) fn remove_simple_key(&mut self) -> Result<()> {
        let key = self.innermost_key();
        if key.possible && key.required {
            let mark = key.mark;
            return self.fail("could not find expected ':'", mark);
        }
        key.possible = false;
        Ok(())
    }

    fn innermost_key(&mut self) -> &mut SimpleKey {
        self.simple_keys
            .last_mut()
            .expect("the block context's entry is never removed")
    }

    /// `?`
    pub(super) fn fetch_key(&mut self) -> Result<()> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.fail("mapping keys are not allowed in this context", self.cursor.mark);
            }
            self.roll_indent(self.cursor.mark, None, TokenKind::BlockMappingStart)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(TokenKind::Key);
        Ok(())
    }

    /// `:`
    pub(super) fn fetch_value(&mut self) -> Result<()> {
        if self.is_simple_key_valid(self.simple_keys.len() - 1)? {
            let key = self.innermost_key();
            key.possible = false;
            let (token, mark) = (key.token, key.mark);
            self.insert(token, TokenKind::Key, mark);
            self.roll_indent(mark, Some(token), TokenKind::BlockMappingStart)?;
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return self.fail("mapping values are not allowed in this context", self.cursor.mark);
                }
                self.roll_indent(self.cursor.mark, None, TokenKind::BlockMappingStart)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(TokenKind::Value);
        Ok(())
    }

    /// Puts a token without text before the token of that number.
    fn insert(&mut self, token: usize, kind: TokenKind, mark: Mark) {
        self.tokens.insert(token - self.taken, Token::bare(kind, mark));
    }

    /// Opens a block collection if the mark is further to the right than the innermost one; its token goes before the
    /// token of that number, or last.
    pub(super) fn roll_indent(&mut self, mark: Mark, token: Option<usize>, kind: TokenKind) -> Result<()> {
        let column = signed(mark.column);
        if self.flow_level > 0 || self.indent >= column {
            return Ok(());
        }
        if self.outer_indents.len() == super::super::MAX_DEPTH {
            return Err(Problem::TooDeep.at(self.pos(mark)));
        }
        self.outer_indents.push(self.indent);
        self.indent = column;
        self.insert(token.unwrap_or(self.taken + self.tokens.len()), kind, mark);
        Ok(())
    }

    /// Closes the block collections that are further to the right than the column.
    ///
    /// Their ends are put before comments that were found on the way here and stand at the closing collection's own
    /// indentation, so that those become its parents' feet.
    pub(super) fn unroll_indent(&mut self, column: i64, scan: Mark) {
        if self.flow_level > 0 {
            return;
        }
        let mut mark = scan;
        // The reference steps back by one so that an end is not taken for the start of what follows it. At the very
        // start of a text there is nothing to close.
        mark.index = mark.index.saturating_sub(1);
        while self.indent > column {
            let mut stop = mark.index;
            for comment in self.comments.iter().rev() {
                if comment.end.index < stop {
                    break;
                }
                if signed(comment.start.column) == self.indent + 1 {
                    mark = comment.start;
                }
                stop = comment.scan.index;
            }
            self.tokens.push_back(Token::bare(TokenKind::BlockEnd, mark));
            self.indent = self
                .outer_indents
                .pop()
                .expect("every indentation was pushed on the one before it");
        }
    }
}
