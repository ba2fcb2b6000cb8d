//! The output so far: where it stands, and what was written last.

use super::super::node::Comments;
use super::analysis::is_break;

/// Lines are indented by this.
pub const INDENT: isize = 2;

/// A line of a build's output ends before the first word that begins behind this column.
pub const MAX_WIDTH: usize = 80;

/// Which of the reference's two printers to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printer {
    /// The one that prints trees: lines are never folded.
    Tree,
    /// The one that prints builds: lines are folded where a word ends beyond column 80.
    Build,
}

/// The output, its state, and the comments that wait to be written.
#[derive(Debug)]
pub struct Writer {
    pub out: String,
    pub printer: Printer,
    /// Characters in the last line.
    pub column: usize,
    /// The column of the collection that is written; minus one outside of all.
    pub indent: isize,
    /// White space was written last.
    pub has_white: bool,
    /// Nothing but indentation and indicators of block collections stands in this line.
    pub is_indentation: bool,
    pub flow_level: usize,
    /// The indentation at which an empty line must come first, because a foot comment was written there.
    pub foot_indent: Option<isize>,
    /// Comments of the value that is written now.
    pub comments: Comments,
    /// The foot of the key before, written when its value is complete.
    pub tail: String,
    /// The line comment of a key whose value is not written yet.
    pub key_line: String,
}

impl Writer {
    pub fn new(printer: Printer, capacity: usize) -> Self {
        Self {
            out: String::with_capacity(capacity),
            printer,
            column: 0,
            indent: -1,
            has_white: true,
            is_indentation: true,
            flow_level: 0,
            foot_indent: None,
            comments: Comments::default(),
            tail: String::new(),
            key_line: String::new(),
        }
    }

    /// Whether the line is so long that it should end.
    pub fn is_beyond_width(&self) -> bool {
        match self.printer {
            Printer::Tree => false,
            Printer::Build => self.column > MAX_WIDTH,
        }
    }

    pub fn put(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    /// Writes a text without line breaks.
    pub fn put_all(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += if text.is_ascii() {
            text.len()
        } else {
            text.chars().count()
        };
    }

    pub fn put_break(&mut self) {
        self.put_break_as('\n');
    }

    /// Writes a line break as it is in the text.
    pub fn put_break_as(&mut self, character: char) {
        self.out.push(character);
        self.column = 0;
        self.is_indentation = true;
    }

    pub fn write_indent(&mut self) {
        let indent = self.indent.max(0);
        let target = usize::try_from(indent).expect("not negative");
        if !self.is_indentation || self.column > target || (self.column == target && !self.has_white) {
            self.put_break();
        }
        if self.foot_indent == Some(indent) {
            self.put_break();
        }
        while self.column < target {
            self.put(' ');
        }
        self.has_white = true;
        self.foot_indent = None;
    }

    /// Writes `[`, `-`, `"` and the like, behind a space if it needs one.
    pub fn write_indicator(&mut self, indicator: &str, needs_white: bool, is_white: bool, is_indentation: bool) {
        if needs_white && !self.has_white {
            self.put(' ');
        }
        self.put_all(indicator);
        self.has_white = is_white;
        self.is_indentation = self.is_indentation && is_indentation;
    }

    /// Indents by one step; outside of all, block collections begin at the left.
    pub fn increase_indent(&mut self, is_flow: bool) -> isize {
        let outer = self.indent;
        self.indent = match (outer < 0, is_flow) {
            (true, true) => INDENT,
            (true, false) => 0,
            (false, _) => outer + INDENT,
        };
        outer
    }

    pub fn write_head_comment(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.write_indent();
            self.write_comment(&tail);
            self.foot_indent = Some(self.indent.max(0));
        }
        if !self.comments.head.is_empty() {
            let head = std::mem::take(&mut self.comments.head);
            self.write_indent();
            self.write_comment(&head);
        }
    }

    pub fn write_line_comment(&mut self) {
        if !self.comments.line.is_empty() {
            let line = std::mem::take(&mut self.comments.line);
            self.write_behind(&line);
        }
    }

    /// Writes a comment behind what is in this line.
    pub fn write_behind(&mut self, comment: &str) {
        if !self.has_white {
            self.put(' ');
        }
        self.write_comment(comment);
    }

    pub fn write_foot_comment(&mut self) {
        if !self.comments.foot.is_empty() {
            let foot = std::mem::take(&mut self.comments.foot);
            self.write_indent();
            self.write_comment(&foot);
            self.foot_indent = Some(self.indent.max(0));
        }
    }

    /// Whether a comment waits that must be written before the next comma.
    pub fn has_comment_behind(&self) -> bool {
        !(self.comments.line.is_empty() && self.comments.foot.is_empty() && self.tail.is_empty())
    }

    fn write_comment(&mut self, comment: &str) {
        let (mut after_break, mut has_pound) = (false, false);
        for character in comment.chars() {
            if is_break(character) {
                self.put_break_as(character);
                after_break = true;
                has_pound = false;
                continue;
            }
            if after_break {
                self.write_indent();
            }
            if !has_pound {
                if character != '#' {
                    self.put_all("# ");
                }
                has_pound = true;
            }
            self.put(character);
            self.is_indentation = false;
            after_break = false;
        }
        if !after_break {
            self.put_break();
        }
        self.has_white = true;
    }
}
