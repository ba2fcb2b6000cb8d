//! Collections by indentation.

use super::super::node::{Comments, Data, Entry, Node};
use super::super::scan::TokenKind;
use super::{Composer, Result, set_foot, take_foot};

impl Composer<'_> {
    pub(super) fn block_mapping(&mut self, node: &mut Node) -> Result<()> {
        self.take();
        node.set_comments(Comments {
            head: std::mem::take(&mut self.stem),
            ..Comments::default()
        });
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            match self.peek()? {
                TokenKind::Key => {}
                TokenKind::BlockEnd => break,
                _ => return self.fail("did not find expected key", self.mark()),
            }
            let mut key = self.block_mapping_key()?;
            if let Some(last) = entries.last_mut() {
                // Below the value before and to the left of it.
                set_foot(&mut last.key, take_foot(&mut key));
            }
            let value = self.block_mapping_value()?;
            entries.push(self.entry(key, value));
        }
        let end = self.take_comments();
        self.take();
        let mut comments = node.comments().cloned().unwrap_or_default();
        comments.line = end.line;
        match entries.last_mut() {
            Some(last) if !end.foot.is_empty() => set_foot(&mut last.key, end.foot),
            _ => comments.foot = end.foot,
        }
        node.set_comments(comments);
        node.data = Data::Mapping(entries);
        Ok(())
    }

    fn block_mapping_key(&mut self) -> Result<Node> {
        let end = self.end_mark();
        self.take();
        match self.peek()? {
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd => Ok(self.empty(end)),
            _ => self.node(true, true),
        }
    }

    fn block_mapping_value(&mut self) -> Result<Node> {
        if self.peek()? != TokenKind::Value {
            return Ok(self.empty(self.mark()));
        }
        self.block_mapping_key()
    }

    pub(super) fn block_sequence(&mut self, node: &mut Node) -> Result<()> {
        self.take();
        node.set_comments(Comments {
            head: std::mem::take(&mut self.stem),
            ..Comments::default()
        });
        let mut items = Vec::new();
        loop {
            match self.peek()? {
                TokenKind::BlockEntry => {
                    let ends_item = |kind: TokenKind| matches!(kind, TokenKind::BlockEntry | TokenKind::BlockEnd);
                    items.push(self.block_item(ends_item)?);
                }
                TokenKind::BlockEnd => break,
                _ => return self.fail("did not find expected '-' indicator", self.mark()),
            }
        }
        self.take();
        node.data = Data::Sequence(items);
        Ok(())
    }

    pub(super) fn indentless_sequence(&mut self, node: &mut Node) -> Result<()> {
        let mut items = Vec::new();
        while self.peek()? == TokenKind::BlockEntry {
            items.push(self.block_item(|kind| {
                matches!(
                    kind,
                    TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
                )
            })?);
        }
        node.data = Data::Sequence(items);
        Ok(())
    }

    fn block_item(&mut self, ends_item: impl Fn(TokenKind) -> bool) -> Result<Node> {
        let end = self.end_mark();
        let head_before = self.held.head.len();
        self.take();
        self.split_stem(head_before)?;
        if ends_item(self.peek()?) {
            return Ok(self.empty(end));
        }
        self.node(true, false)
    }

    /// The head comment of an item that is itself a collection is the collection's, not its first key's.
    fn split_stem(&mut self, head_before: usize) -> Result<()> {
        if head_before == 0
            || !matches!(
                self.peek()?,
                TokenKind::BlockSequenceStart | TokenKind::BlockMappingStart
            )
        {
            return Ok(());
        }
        let rest = self.held.head.get(head_before + 1..).unwrap_or("").to_owned();
        self.held.head.truncate(head_before);
        self.stem = std::mem::replace(&mut self.held.head, rest);
        Ok(())
    }
}
