//! Plain scalars: words, up to what cannot belong to them.

use super::super::node::Form;
use super::quoted::Gap;
use super::token::TokenKind;
use super::{Result, Scanner};

impl Scanner<'_> {
    pub(super) fn fetch_plain_scalar(&mut self) -> Result<()> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.cursor.mark;
        let mut end = start;
        let mut text = String::new();
        let mut gap = Gap::default();
        while !self.cursor.is_document_indicator() && self.cursor.at(0) != b'#' {
            let word = self.cursor.mark;
            self.skip_plain_word();
            if self.cursor.mark.index > word.index {
                gap.flush(&mut text);
                text.push_str(self.cursor.since(word));
                end = self.cursor.mark;
            }
            if !(self.cursor.is_blank_at(0) || self.cursor.is_break_at(0)) {
                break;
            }
            self.skip_plain_gap(&mut gap)?;
            if self.flow_level == 0 && self.column() <= self.indent {
                break;
            }
        }
        self.push_text(TokenKind::Scalar(Form::Default), start, text);
        self.tokens.back_mut().expect("just pushed").end = end;
        // Behind a line break a key may begin.
        if gap.has_break {
            self.simple_key_allowed = true;
        }
        Ok(())
    }

    fn skip_plain_word(&mut self) {
        let in_flow = self.flow_level > 0;
        self.cursor.skip_until(|cursor, byte| match byte {
            b' ' | b'\t' | b'\n' | b'\r' => true,
            b':' => cursor.is_white_at(1),
            b',' | b'?' | b'[' | b']' | b'{' | b'}' => in_flow,
            _ => false,
        });
    }

    fn skip_plain_gap(&mut self, gap: &mut Gap) -> Result<()> {
        while self.cursor.is_blank_at(0) || self.cursor.is_break_at(0) {
            if !self.cursor.is_blank_at(0) {
                gap.push_break(self.cursor.read_break());
                continue;
            }
            if gap.has_break && self.column() <= self.indent && self.cursor.at(0) == b'\t' {
                return self.fail("found a tab character that violates indentation", self.cursor.mark);
            }
            gap.push_blank(self.cursor.at(0));
            self.cursor.skip();
        }
        Ok(())
    }
}
