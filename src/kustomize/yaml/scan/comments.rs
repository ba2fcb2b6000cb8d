//! Comments, and whether they belong to what stands before them or to what follows.
//!
//! The rules in short: on the line of a value, it is the value's. Above a value without an empty line between, it is the
//! value's head. Below a value and before an empty line, it is the value's foot, and so is one that stands further to
//! the left than what follows it, or before a closing bracket.
//!
//! All of them look at no more than [`MAX_LOOK_AHEAD`] bytes of blanks at a time, as the reference does.

use super::Scanner;
use super::token::{Comment, Mark, Side, TokenKind};

/// How far the reference looks for a `#`.
const MAX_LOOK_AHEAD: usize = 512;

/// What is known while a run of comments is read. Columns count from one here, as in [`Comment`].
struct Run {
    /// Where the search began that will find the next comment.
    scan: Mark,
    /// The token that a foot goes to.
    token: Mark,
    /// The first character of `text`.
    start: Mark,
    text: String,
    line: u32,
    column: u32,
    /// No empty line was seen so far.
    before_first_empty: bool,
    /// The line before was empty.
    after_empty: bool,
    /// The line where a foot must start.
    foot_line: Option<u32>,
    /// A comment further to the left than this is no foot of the token before.
    next_indent: u32,
    follows_value_indicator: bool,
}

/// What the character after a comment means for it.
enum Next {
    GoOn,
    Stop,
    Comment,
}

impl Scanner<'_> {
    /// Reads the comment on the rest of this line, for the token at the mark.
    pub(super) fn scan_line_comment(&mut self, token: Mark) {
        if self.cursor.newlines > 0 {
            return;
        }
        let blanks = (0..MAX_LOOK_AHEAD)
            .take_while(|ahead| self.cursor.is_blank_at(*ahead))
            .count();
        if blanks == MAX_LOOK_AHEAD || self.cursor.at(blanks) != b'#' {
            return;
        }
        self.cursor.skip_ascii(blanks);
        let start = self.cursor.mark;
        self.cursor.skip_to_break();
        self.comments.push(Comment {
            side: Side::Line,
            text: self.cursor.since(start).to_owned(),
            scan: Mark::default(),
            token,
            start,
            end: Mark::default(),
        });
    }

    /// A line comment behind the first `-` of a sequence was read as such only because nothing followed on the line. It
    /// is the head of what follows:
    ///
    /// ```yaml
    /// - # the head of `a`
    ///   a: 1
    /// ```
    pub(super) fn turn_entry_comment_into_head(&mut self) {
        let count = self.tokens.len();
        if count < 2
            || self.tokens[count - 1].kind != TokenKind::BlockEntry
            || self.tokens[count - 2].kind != TokenKind::BlockSequenceStart
            || self.cursor.is_break_at(0)
        {
            return;
        }
        let now = self.cursor.mark;
        // A comment that has a node already has lost its text and cannot change sides.
        if let Some(comment) = self.comments.last_mut()
            && comment.side == Side::Line
            && !comment.text.is_empty()
        {
            comment.side = Side::Head;
            if comment.start.line + 1 == now.line {
                comment.token = now;
            }
        }
    }

    /// Reads all comments from this `#` to the next token. `scan` is where the search for that token began.
    pub(super) fn scan_comments(&mut self, scan: Mark) {
        let mut run = self.begin_run(scan);
        let mut ahead = 0;
        while ahead < MAX_LOOK_AHEAD {
            run.column += 1;
            if !self.cursor.is_blank_at(ahead) {
                match self.look_at(&mut run, ahead) {
                    Next::GoOn => {}
                    Next::Stop => break,
                    Next::Comment => {
                        self.read_comment(&mut run, ahead);
                        // The break that ends the comment is passed over here, without counting a line.
                        ahead = 0;
                    }
                }
            }
            ahead += 1;
        }
        if !run.text.is_empty() {
            let end = run.mark(self.cursor.mark, ahead - 1);
            self.comments.push(Comment {
                side: Side::Head,
                text: run.text,
                scan: run.scan,
                token: run.start,
                start: run.start,
                end,
            });
        }
    }

    fn begin_run(&self, scan: Mark) -> Run {
        let mut tokens = self.tokens.iter().rev();
        let mut last = tokens
            .next()
            .expect("the parser never takes a token before two more are known");
        if last.kind == TokenKind::FlowEntry {
            last = tokens.next().unwrap_or(last);
        }
        let (mark, newlines) = (self.cursor.mark, self.cursor.newlines);
        let foot_line = (scan.line > 0).then(|| {
            let behind_content = u32::from(newlines == 0 && mark.column > 1);
            mark.line + 1 + behind_content - newlines
        });
        Run {
            scan,
            token: last.start,
            start: Mark::default(),
            text: String::new(),
            line: mark.line,
            column: mark.column,
            before_first_empty: newlines <= 1,
            after_empty: false,
            foot_line,
            next_indent: self.next_indent(),
            follows_value_indicator: last.kind == TokenKind::Value,
        }
    }

    fn next_indent(&self) -> u32 {
        u32::try_from(self.indent).unwrap_or(0)
    }

    /// Decides about the comment read so far by a character that is no blank.
    fn look_at(&mut self, run: &mut Run, ahead: usize) -> Next {
        let byte = self.cursor.at(ahead);
        let closes_flow = self.flow_level > 0 && matches!(byte, b']' | b'}');
        if closes_flow || self.cursor.is_break_or_end_at(ahead) {
            if closes_flow || !run.after_empty {
                if closes_flow || run.before_first_empty && run.is_foot() {
                    self.push_foot(run, ahead, true);
                } else if !run.text.is_empty() && byte != 0 {
                    run.text.push('\n');
                }
            }
            if !self.cursor.is_break_at(ahead) {
                return Next::Stop;
            }
            run.before_first_empty = false;
            run.after_empty = true;
            run.column = 0;
            run.line += 1;
            return Next::GoOn;
        }
        // At another indentation than the comment it is the foot of what was before, not the head of this.
        if run.column - 1 < run.next_indent && run.column != run.start.column {
            self.push_foot(run, ahead, false);
        }
        if byte != b'#' {
            return Next::Stop;
        }
        if run.text.is_empty() {
            run.start = run.mark(self.cursor.mark, ahead);
        } else {
            run.text.push('\n');
        }
        run.after_empty = false;
        Next::Comment
    }

    /// Ends the comment read so far as a foot.
    fn push_foot(&mut self, run: &mut Run, ahead: usize, may_be_unrelated: bool) {
        if run.text.is_empty() {
            return;
        }
        if may_be_unrelated && run.start.column - 1 < run.next_indent {
            run.token = run.start;
        }
        let end = run.mark(self.cursor.mark, ahead);
        self.comments.push(Comment {
            side: Side::Foot,
            text: std::mem::take(&mut run.text),
            scan: run.scan,
            token: run.token,
            start: run.start,
            end,
        });
        run.scan = end;
        run.token = end;
    }

    /// Moves to the `#` that is so far ahead and over its line, up to the break.
    fn read_comment(&mut self, run: &mut Run, ahead: usize) {
        let first = run.mark(self.cursor.mark, ahead);
        while self.cursor.mark.index < first.index {
            if self.cursor.is_break_at(0) {
                self.cursor.read_break();
            } else {
                self.cursor.skip();
            }
        }
        let start = self.cursor.mark;
        self.cursor.skip_to_break();
        run.text.push_str(self.cursor.since(start));
        run.column = 0;
        run.line = self.cursor.mark.line;
        run.next_indent = self.next_indent();
    }
}

impl Run {
    /// The mark so many bytes ahead of another, which are no more than [`MAX_LOOK_AHEAD`].
    fn mark(&self, now: Mark, ahead: usize) -> Mark {
        Mark {
            index: now.index + ahead as u32,
            line: self.line,
            column: self.column,
        }
    }

    fn is_foot(&self) -> bool {
        Some(self.start.line) == self.foot_line && !self.follows_value_indicator
            || self.start.column.wrapping_sub(1) < self.next_indent
    }
}
