//! Text to tokens and comments, on demand.
//!
//! The grammar is libyaml's, which is YAML 1.1 with its known liberties. What is peculiar is the comments: which node
//! one belongs to depends on what stands before it, what follows, its indentation and the empty lines around, and the
//! rules are those of the reference down to their accidents. For them the scanner always knows two tokens more than the
//! parser asked for.
//!
//! This module must not know nodes.

mod block;
mod comments;
mod cursor;
mod keys;
mod plain;
mod quoted;
mod tags;
mod token;

use std::collections::VecDeque;

use super::error::{Problem, YamlError};
use super::node::{FileId, Form, Pos};
use cursor::Cursor;
use keys::SimpleKey;
pub use token::{Comment, Mark, Side, Token, TokenKind};

type Result<T> = std::result::Result<T, YamlError>;

/// Where a text's places count from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// The text's file.
    pub file: FileId,
    /// How many lines of the file stand before this text.
    pub lines_before: u32,
}

impl Origin {
    /// The place of a mark.
    pub fn pos(&self, mark: Mark) -> Pos {
        Pos {
            file: self.file,
            line: self.lines_before + mark.line + 1,
            column: mark.column + 1,
        }
    }
}

/// The scanner of one text.
#[derive(Debug)]
pub struct Scanner<'a> {
    cursor: Cursor<'a>,
    origin: Origin,
    /// Tokens that the parser has not taken.
    tokens: VecDeque<Token>,
    /// How many it has taken.
    taken: usize,
    /// Comments in the order in which they were found; those before `comments_taken` have a node.
    comments: Vec<Comment>,
    comments_taken: usize,
    /// The column of the innermost block collection; minus one outside of all.
    indent: i64,
    outer_indents: Vec<i64>,
    flow_level: usize,
    /// One for each flow level, the block context's first.
    simple_keys: Vec<SimpleKey>,
    simple_key_allowed: bool,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, origin: Origin) -> Self {
        let cursor = Cursor::new(text);
        Self {
            tokens: VecDeque::from([Token::bare(TokenKind::StreamStart, cursor.mark)]),
            cursor,
            origin,
            taken: 0,
            comments: Vec::new(),
            comments_taken: 0,
            indent: -1,
            outer_indents: Vec::new(),
            flow_level: 0,
            simple_keys: vec![SimpleKey::default()],
            simple_key_allowed: true,
        }
    }

    /// Makes the next token known, which stays.
    pub fn peek(&mut self) -> Result<()> {
        // Two tokens more, so that comments behind this one are known; and as many as it takes to learn whether this
        // one begins a key, because then another goes before it.
        while self.tokens.len() < 3 || self.may_begin_key(self.taken)? {
            self.fetch()?;
        }
        Ok(())
    }

    /// The token that was peeked at.
    pub fn current(&self) -> &Token {
        &self.tokens[0]
    }

    /// Takes the token that was peeked at.
    pub fn take(&mut self) -> Token {
        self.taken += 1;
        self.tokens
            .pop_front()
            .expect("a token is taken only after it was peeked at")
    }

    /// The next comment that belongs to a token starting at this mark or before it.
    pub fn peek_comment(&self, token: Mark) -> Option<&Comment> {
        self.comments
            .get(self.comments_taken)
            .filter(|comment| comment.token.index <= token.index)
    }

    /// Takes the text of the comment that was peeked at.
    pub fn take_comment(&mut self) -> String {
        let comment = &mut self.comments[self.comments_taken];
        self.comments_taken += 1;
        // A comment that has its node must not draw the end of a collection to itself any more.
        (comment.scan, comment.start, comment.end) = Default::default();
        std::mem::take(&mut comment.text)
    }

    /// The place of a mark in the file.
    pub fn pos(&self, mark: Mark) -> Pos {
        self.origin.pos(mark)
    }

    fn fail<T>(&self, problem: &'static str, mark: Mark) -> Result<T> {
        Err(Problem::Syntax(problem).at(self.pos(mark)))
    }

    fn push(&mut self, kind: TokenKind, start: Mark) {
        self.push_text(kind, start, String::new());
    }

    fn push_text(&mut self, kind: TokenKind, start: Mark, text: String) {
        self.tokens.push_back(Token {
            kind,
            start,
            end: self.cursor.mark,
            text,
            rest: Box::default(),
        });
    }

    fn last(&self) -> Option<&Token> {
        self.tokens.back()
    }

    fn column(&self) -> i64 {
        signed(self.cursor.mark.column)
    }

    fn fetch(&mut self) -> Result<()> {
        let scan = self.cursor.mark;
        self.skip_to_next_token();
        self.unroll_indent(self.column(), scan);

        if self.cursor.is_end() {
            return self.fetch_stream_end();
        }
        if self.cursor.mark.column == 0 && self.cursor.at(0) == b'%' {
            return self.fetch_directive();
        }
        if self.cursor.is_document_indicator() {
            let kind = if self.cursor.at(0) == b'-' {
                TokenKind::DocumentStart
            } else {
                TokenKind::DocumentEnd
            };
            return self.fetch_document_indicator(kind);
        }
        let first = self.cursor.at(0);
        let belongs_to_last = if self.flow_level == 0 {
            first == b':'
        } else {
            first == b','
        };
        let comment_mark = match self.last() {
            Some(last) if belongs_to_last => last.start,
            _ => self.cursor.mark,
        };
        self.fetch_content(first)?;
        // What follows a `-` is no line comment of its own; it becomes the head of what comes next.
        if !self.last().is_some_and(|last| last.kind == TokenKind::BlockEntry) {
            self.scan_line_comment(comment_mark);
        }
        Ok(())
    }

    fn fetch_content(&mut self, first: u8) -> Result<()> {
        let in_flow = self.flow_level > 0;
        let white_follows = self.cursor.is_white_at(1);
        match first {
            b'[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if white_follows => self.fetch_block_entry(),
            b'?' if in_flow || white_follows => self.fetch_key(),
            b':' if in_flow || white_follows => self.fetch_value(),
            b'*' | b'&' => self.fetch_anchor(first),
            b'!' => self.fetch_tag(),
            b'|' if !in_flow => self.fetch_block_scalar(Form::Literal),
            b'>' if !in_flow => self.fetch_block_scalar(Form::Folded),
            b'\'' => self.fetch_quoted_scalar(Form::SingleQuoted),
            b'"' => self.fetch_quoted_scalar(Form::DoubleQuoted),
            _ if self.can_begin_plain(first) => self.fetch_plain_scalar(),
            _ => self.fail("found character that cannot start any token", self.cursor.mark),
        }
    }

    fn can_begin_plain(&self, first: u8) -> bool {
        match first {
            b'-' => !self.cursor.is_blank_at(1),
            b'?' | b':' => self.flow_level == 0 && !self.cursor.is_white_at(1),
            b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@'
            | b'`' => false,
            _ => !self.cursor.is_white_at(0),
        }
    }

    /// Moves over blanks, breaks and comments.
    ///
    /// Tabs are blanks, but not where a block collection's indentation is expected.
    fn skip_to_next_token(&mut self) {
        let scan = self.cursor.mark;
        loop {
            self.cursor.skip_spaces_below(u32::MAX);
            while self.cursor.at(0) == b' '
                || (self.cursor.at(0) == b'\t' && (self.flow_level > 0 || !self.simple_key_allowed))
            {
                self.cursor.skip();
            }
            self.turn_entry_comment_into_head();
            if self.cursor.at(0) == b'#' {
                self.scan_comments(scan);
            }
            if !self.cursor.is_break_at(0) {
                return;
            }
            self.cursor.read_break();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    fn fetch_stream_end(&mut self) -> Result<()> {
        if self.cursor.mark.column != 0 {
            self.cursor.mark.column = 0;
            self.cursor.mark.line += 1;
        }
        self.unroll_indent(-1, self.cursor.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push(TokenKind::StreamEnd, self.cursor.mark);
        Ok(())
    }

    fn fetch_document_indicator(&mut self, kind: TokenKind) -> Result<()> {
        self.unroll_indent(-1, self.cursor.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        self.cursor.skip_ascii(3);
        self.push(kind, start);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<()> {
        self.save_simple_key()?;
        if self.flow_level == super::MAX_DEPTH {
            return Err(Problem::TooDeep.at(self.pos(self.cursor.mark)));
        }
        self.simple_keys.push(SimpleKey::default());
        self.flow_level += 1;
        self.simple_key_allowed = true;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<()> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            self.simple_keys.pop();
        }
        self.simple_key_allowed = false;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<()> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::FlowEntry);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<()> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.fail(
                    "block sequence entries are not allowed in this context",
                    self.cursor.mark,
                );
            }
            self.roll_indent(self.cursor.mark, None, TokenKind::BlockSequenceStart)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::BlockEntry);
        Ok(())
    }

    fn push_indicator(&mut self, kind: TokenKind) {
        let start = self.cursor.mark;
        self.cursor.skip();
        self.push(kind, start);
    }
}

/// A column beside the indentation outside of all, which is minus one.
fn signed(column: u32) -> i64 {
    i64::from(column)
}
