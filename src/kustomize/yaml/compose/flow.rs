//! Collections in brackets.

use super::super::node::{Comments, Data, Form, Node, Tag};
use super::super::scan::TokenKind;
use super::{Composer, Result};

impl Composer<'_> {
    pub(super) fn flow_sequence(&mut self, node: &mut Node) -> Result<()> {
        let head = self.begin_flow(node);
        let mut items = Vec::new();
        while self.peek()? != TokenKind::FlowSequenceEnd {
            if !items.is_empty() {
                if self.peek()? != TokenKind::FlowEntry {
                    return self.fail("did not find expected ',' or ']'", self.mark());
                }
                self.take();
            }
            match self.peek()? {
                TokenKind::FlowSequenceEnd => break,
                TokenKind::Key => items.push(self.flow_pair()?),
                _ => items.push(self.node(false, false)?),
            }
        }
        self.end_flow(node, head);
        node.data = Data::Sequence(items);
        Ok(())
    }

    /// `key: value` as an item is a mapping of its own.
    fn flow_pair(&mut self) -> Result<Node> {
        let pos = self.pos(self.mark());
        self.take();
        let key = match self.peek()? {
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd => {
                // The reference passes over the token here, even if it is the `:`.
                let end = self.end_mark();
                self.take();
                self.empty(end)
            }
            _ => self.node(false, false)?,
        };
        let value = self.flow_value(|kind| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowSequenceEnd))?;
        self.peek()?;
        let mapping = Node::new(Data::Mapping(vec![self.entry(key, value)]));
        Ok(mapping.with_tag(Tag::Map).with_form(Form::Flow).at(pos))
    }

    pub(super) fn flow_mapping(&mut self, node: &mut Node) -> Result<()> {
        let head = self.begin_flow(node);
        let mut entries = Vec::new();
        let ends_value = |kind: TokenKind| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowMappingEnd);
        while self.peek()? != TokenKind::FlowMappingEnd {
            if !entries.is_empty() {
                if self.peek()? != TokenKind::FlowEntry {
                    return self.fail("did not find expected ',' or '}'", self.mark());
                }
                self.take();
            }
            match self.peek()? {
                TokenKind::FlowMappingEnd => break,
                TokenKind::Key => {
                    self.take();
                    let kind = self.peek()?;
                    let key = if kind == TokenKind::Value || ends_value(kind) {
                        self.empty(self.mark())
                    } else {
                        self.node(false, false)?
                    };
                    let value = self.flow_value(ends_value)?;
                    entries.push(self.entry(key, value));
                }
                _ => {
                    let key = self.node(false, false)?;
                    self.peek()?;
                    let value = self.empty(self.mark());
                    entries.push(self.entry(key, value));
                }
            }
        }
        self.end_flow(node, head);
        node.data = Data::Mapping(entries);
        Ok(())
    }

    fn flow_value(&mut self, ends_value: impl Fn(TokenKind) -> bool) -> Result<Node> {
        if self.peek()? == TokenKind::Value {
            self.take();
            if !ends_value(self.peek()?) {
                return self.node(false, false);
            }
        }
        Ok(self.empty(self.mark()))
    }

    fn begin_flow(&mut self, node: &mut Node) -> String {
        node.style.form = Form::Flow;
        let comments = self.take_comments();
        self.take();
        comments.head
    }

    fn end_flow(&mut self, node: &mut Node, head: String) {
        let end = self.take_comments();
        self.take();
        node.set_comments(Comments { head, ..end });
    }
}
