//! Scalars in each of the five ways to write them.

use super::super::node::Form;
use super::analysis::{analyze, is_break, is_printable};
use super::writer::{INDENT, MAX_WIDTH, Printer, Writer};

impl Writer {
    /// The way in which a scalar is written: the one that was asked for, or the next that reads back the same.
    pub fn choose_form(&self, text: &str, asked: Form, is_simple_key: bool) -> Form {
        let can = analyze(text, self.printer == Printer::Build);
        let in_flow = self.flow_level > 0;
        let mut form = if is_simple_key && can.is_multiline {
            Form::DoubleQuoted
        } else {
            asked
        };
        if matches!(form, Form::Default | Form::Flow) {
            let allowed = if in_flow { can.plain_in_flow } else { can.plain_in_block };
            let is_lost = text.is_empty() && (in_flow || is_simple_key);
            form = if allowed && !is_lost {
                Form::Default
            } else {
                Form::SingleQuoted
            };
        }
        match form {
            Form::SingleQuoted if !can.single_quoted => Form::DoubleQuoted,
            Form::Literal | Form::Folded if !can.block || in_flow || is_simple_key => Form::DoubleQuoted,
            form => form,
        }
    }

    /// Writes a scalar in a way that was chosen. The lines of a simple key are never broken.
    pub fn write_scalar(&mut self, text: &str, form: Form, is_simple_key: bool) {
        let outer = self.increase_indent(true);
        match form {
            Form::Default | Form::Flow => self.write_plain(text, !is_simple_key),
            Form::SingleQuoted => self.write_single_quoted(text, !is_simple_key),
            Form::DoubleQuoted => self.write_double_quoted(text, !is_simple_key),
            Form::Literal => self.write_literal(text),
            Form::Folded => self.write_folded(text),
        }
        self.indent = outer;
    }

    fn write_plain(&mut self, text: &str, may_break: bool) {
        if !text.is_empty() {
            if !self.has_white {
                self.put(' ');
            }
            self.write_words(text, may_break, false);
            self.has_white = false;
        }
        self.is_indentation = false;
    }

    fn write_single_quoted(&mut self, text: &str, may_break: bool) {
        self.write_indicator("'", true, false, false);
        self.write_words(text, may_break, true);
        self.write_indicator("'", false, false, false);
    }

    /// Words of a plain or single-quoted scalar; a break is written twice, because one alone would read as a space.
    fn write_words(&mut self, text: &str, may_break: bool, is_quoted: bool) {
        let is_short = !may_break || self.printer == Printer::Tree || self.column + text.len() <= MAX_WIDTH;
        if is_short && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\'') {
            self.put_all(text);
            self.is_indentation = false;
            return;
        }
        let (mut after_space, mut after_break) = (false, false);
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            let next = characters.as_str().chars().next();
            if character == ' ' {
                let is_inside = !is_quoted || at > 0 && next.is_some();
                if may_break && !after_space && self.is_beyond_width() && is_inside && next != Some(' ') {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else if is_break(character) {
                if !after_break && character == '\n' {
                    self.put_break();
                }
                self.put_break_as(character);
                after_break = true;
            } else {
                if after_break {
                    self.write_indent();
                }
                if is_quoted && character == '\'' {
                    self.put('\'');
                }
                self.put(character);
                self.is_indentation = false;
                after_space = false;
                after_break = false;
            }
        }
    }

    fn write_double_quoted(&mut self, text: &str, may_break: bool) {
        self.write_indicator("\"", true, false, false);
        // The reference looks for a byte order mark at the start of the text, whichever character it is about to write.
        let escapes_all = text.starts_with('\u{FEFF}');
        let mut after_space = false;
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            let next = characters.as_str().chars().next();
            let is_special = !is_printable(character) || is_break(character) || matches!(character, '"' | '\\');
            if is_special || escapes_all {
                self.write_escaped(character);
                after_space = false;
            } else if character == ' ' {
                if may_break && !after_space && self.is_beyond_width() && at > 0 && next.is_some() {
                    self.write_indent();
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                self.put(character);
                after_space = false;
            }
        }
        self.write_indicator("\"", false, false, false);
    }

    fn write_escaped(&mut self, character: char) {
        let letter = match character {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(character);
                let escape = match code {
                    0..=0xFF => format!("\\x{code:02X}"),
                    0x100..=0xFFFF => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                self.put_all(&escape);
                return;
            }
        };
        self.put('\\');
        self.put(letter);
    }

    fn write_block_header(&mut self, indicator: &str, text: &str) {
        self.write_indicator(indicator, true, false, false);
        let mut from_end = text.chars().rev();
        let (last, before_last) = (from_end.next(), from_end.next());
        if text.starts_with(|first| first == ' ' || is_break(first)) {
            self.write_indicator(&INDENT.to_string(), false, false, false);
        }
        if !last.is_some_and(is_break) {
            self.write_indicator("-", false, false, false);
        } else if before_last.is_none_or(is_break) {
            self.write_indicator("+", false, false, false);
        }
        if self.comments.line.is_empty() {
            self.put_break();
        } else {
            self.write_line_comment();
        }
        self.has_white = true;
    }

    fn write_literal(&mut self, text: &str) {
        self.write_block_header("|", text);
        // After the header's break the first line is indented, whatever it begins with.
        for line in text.split_inclusive(is_break) {
            let content = line.trim_end_matches(is_break);
            if !content.is_empty() {
                self.write_indent();
                self.put_all(content);
                self.is_indentation = false;
            }
            if let Some(character) = line.chars().next_back().filter(|last| is_break(*last)) {
                self.put_break_as(character);
            }
        }
    }

    fn write_folded(&mut self, text: &str) {
        self.write_block_header(">", text);
        // The reference means to look behind the breaks that it is about to write but looks behind those at the very
        // start of the text. What it prints may therefore read back with more or fewer empty lines.
        let behind_first_breaks = text.trim_start_matches(is_break).chars().next();
        let starts_blank = behind_first_breaks.is_none_or(|first| matches!(first, ' ' | '\t'));
        let (mut after_break, mut line_starts_blank) = (true, true);
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if is_break(character) {
                if !after_break && !line_starts_blank && character == '\n' && !starts_blank {
                    self.put_break();
                }
                self.put_break_as(character);
                after_break = true;
                continue;
            }
            if after_break {
                self.write_indent();
                line_starts_blank = matches!(character, ' ' | '\t');
            }
            let may_fold = !after_break && character == ' ' && !characters.as_str().starts_with(' ');
            if may_fold && self.is_beyond_width() {
                self.write_indent();
            } else {
                self.put(character);
            }
            self.is_indentation = false;
            after_break = false;
        }
    }
}
