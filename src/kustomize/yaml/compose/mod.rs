//! Tokens to a tree, each comment at its node.
//!
//! Comments come along with tokens and are held here until a node takes them. When a node takes them is the reference's
//! choice and looks arbitrary in places (the head of a block collection is its first key's; the foot of a value is its
//! key's; the end of a block sequence takes nothing); what is printed depends on it.

mod block;
mod flow;

use std::collections::HashSet;

use super::MAX_DEPTH;
use super::error::{Problem, YamlError};
use super::node::{Comments, Data, Document, Entry, Form, Node, Pos, Tag};
use super::resolve::plain_tag;
use super::scan::{Mark, Origin, Scanner, Side, Token, TokenKind};
use super::tag;

type Result<T> = std::result::Result<T, YamlError>;

/// The first document of a text, and whether it has anything that [`super::anchor::expand`] would change; `None` if there is
/// nothing but white space and comments.
pub fn compose(text: &str, origin: Origin) -> Result<Option<(Document, bool)>> {
    let mut composer = Composer {
        scanner: Scanner::new(text, origin),
        held: Comments::default(),
        stem: String::new(),
        anchors: HashSet::new(),
        tag_handles: Vec::new(),
        depth: 0,
        peeked: None,
        has_odd_key: false,
    };
    let document = composer.document()?;
    let needs_expansion = composer.has_odd_key || !composer.anchors.is_empty();
    Ok(document.map(|document| (document, needs_expansion)))
}

struct Composer<'a> {
    scanner: Scanner<'a>,
    /// Comments that no node has taken.
    held: Comments,
    /// The head comment of a collection below a `-`, which its first key must not take.
    stem: String,
    anchors: HashSet<String>,
    /// Handles and prefixes of `%TAG`, and the two that always are.
    tag_handles: Vec<(String, String)>,
    depth: usize,
    /// The token at hand, if it is known and its comments are taken in.
    peeked: Option<TokenKind>,
    /// A merge key, or one that is null, was seen.
    has_odd_key: bool,
}

/// What stands before a value.
#[derive(Default)]
struct Properties {
    anchor: String,
    /// The whole tag after its handle was replaced; empty if there is none.
    tag: String,
    start: Option<Mark>,
}

impl Properties {
    fn is_empty(&self) -> bool {
        self.anchor.is_empty() && self.tag.is_empty()
    }
}

impl Composer<'_> {
    /// Makes the next token known and takes in the comments before it.
    fn peek(&mut self) -> Result<TokenKind> {
        if let Some(kind) = self.peeked {
            return Ok(kind);
        }
        self.scanner.peek()?;
        let (start, kind) = (self.mark(), self.scanner.current().kind);
        while let Some(comment) = self.scanner.peek_comment(start) {
            let held = match comment.side {
                // An end has no head: the comment waits for what follows.
                Side::Head if kind == TokenKind::BlockEnd => break,
                Side::Head => &mut self.held.head,
                Side::Line => &mut self.held.line,
                Side::Foot => &mut self.held.foot,
            };
            if !held.is_empty() {
                held.push('\n');
            }
            held.push_str(&self.scanner.take_comment());
        }
        self.peeked = Some(kind);
        Ok(kind)
    }

    fn take(&mut self) -> Token {
        self.peeked = None;
        self.scanner.take()
    }

    fn mark(&self) -> Mark {
        self.scanner.current().start
    }

    fn end_mark(&self) -> Mark {
        self.scanner.current().end
    }

    fn pos(&self, mark: Mark) -> Pos {
        self.scanner.pos(mark)
    }

    fn take_comments(&mut self) -> Comments {
        self.stem.clear();
        std::mem::take(&mut self.held)
    }

    fn fail<T>(&self, problem: &'static str, mark: Mark) -> Result<T> {
        Err(Problem::Syntax(problem).at(self.pos(mark)))
    }

    fn document(&mut self) -> Result<Option<Document>> {
        self.peek()?;
        self.take();
        let mut comments = Comments::default();
        let root = match self.peek()? {
            TokenKind::StreamEnd => return Ok(None),
            TokenKind::VersionDirective | TokenKind::TagDirective | TokenKind::DocumentStart => {
                self.directives()?;
                if self.peek()? != TokenKind::DocumentStart {
                    return self.fail("did not find expected <document start>", self.mark());
                }
                self.take();
                self.document_content()?
            }
            _ => {
                self.directives()?;
                comments.head = self.split_document_head();
                self.node(true, false)?
            }
        };
        self.peek()?;
        let end = self.take_comments();
        comments.foot = if end.foot.is_empty() { end.head } else { end.foot };
        Ok(Some(Document { root, comments }))
    }

    fn document_content(&mut self) -> Result<Node> {
        match self.peek()? {
            TokenKind::VersionDirective
            | TokenKind::TagDirective
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => Ok(self.empty(self.mark())),
            _ => self.node(true, false),
        }
    }

    /// What stands above the last empty line of the first comment belongs to the document.
    fn split_document_head(&mut self) -> String {
        let head = &mut self.held.head;
        if let Some(without_break) = head.strip_suffix('\n') {
            let document = without_break.to_owned();
            head.clear();
            return document;
        }
        let Some(at) = head.rfind("\n\n") else {
            return String::new();
        };
        let document = head[..at].to_owned();
        head.drain(..at + 2);
        document
    }

    fn directives(&mut self) -> Result<()> {
        let mut has_version = false;
        loop {
            match self.peek()? {
                TokenKind::VersionDirective => {
                    let token = self.take();
                    if has_version {
                        return self.fail("found duplicate %YAML directive", token.start);
                    }
                    if token.text != "1.1" {
                        return self.fail("found incompatible YAML document", token.start);
                    }
                    has_version = true;
                }
                TokenKind::TagDirective => {
                    let token = self.take();
                    if self.tag_handles.iter().any(|(known, _)| *known == token.text) {
                        return self.fail("found duplicate %TAG directive", token.start);
                    }
                    self.tag_handles.push((token.text, token.rest.into()));
                }
                _ => break,
            }
        }
        // Those written come first, so that they win.
        self.tag_handles.push(("!".to_owned(), "!".to_owned()));
        self.tag_handles.push(("!!".to_owned(), tag::LONG_PREFIX.to_owned()));
        Ok(())
    }

    /// A value: in a block collection if `block`, and if `indentless` perhaps a sequence that is no further to the
    /// right than its key.
    fn node(&mut self, block: bool, indentless: bool) -> Result<Node> {
        if self.depth == MAX_DEPTH {
            return Err(Problem::TooDeep.at(self.pos(self.mark())));
        }
        self.depth += 1;
        let node = self.node_here(block, indentless)?;
        self.depth -= 1;
        Ok(node)
    }

    fn node_here(&mut self, block: bool, indentless: bool) -> Result<Node> {
        if self.peek()? == TokenKind::Alias {
            return self.alias();
        }
        let properties = self.properties()?;
        let start = properties.start.unwrap_or(self.mark());
        let data = match self.peek()? {
            TokenKind::BlockEntry if indentless => Data::Sequence(Vec::new()),
            TokenKind::Scalar(form) => return Ok(self.scalar(form, properties, start)),
            TokenKind::FlowSequenceStart => Data::Sequence(Vec::new()),
            TokenKind::FlowMappingStart => Data::Mapping(Vec::new()),
            TokenKind::BlockSequenceStart if block => Data::Sequence(Vec::new()),
            TokenKind::BlockMappingStart if block => Data::Mapping(Vec::new()),
            _ if properties.is_empty() => return self.fail("did not find expected node content", self.mark()),
            _ => {
                let mut node = Node::scalar("").at(self.pos(start));
                self.apply(properties, &mut node, Tag::Null);
                return Ok(node);
            }
        };
        self.collection(data, properties, start)
    }

    fn collection(&mut self, data: Data, properties: Properties, start: Mark) -> Result<Node> {
        let default_tag = if matches!(data, Data::Sequence(_)) {
            Tag::Seq
        } else {
            Tag::Map
        };
        let mut node = Node::new(data).at(self.pos(start));
        self.apply(properties, &mut node, default_tag);
        match self.scanner.current().kind {
            TokenKind::FlowSequenceStart => self.flow_sequence(&mut node)?,
            TokenKind::FlowMappingStart => self.flow_mapping(&mut node)?,
            TokenKind::BlockSequenceStart => self.block_sequence(&mut node)?,
            TokenKind::BlockMappingStart => self.block_mapping(&mut node)?,
            _ => self.indentless_sequence(&mut node)?,
        }
        Ok(node)
    }

    fn alias(&mut self) -> Result<Node> {
        let pos = self.pos(self.mark());
        let comments = self.take_comments();
        let name = self.take().text;
        if !self.anchors.contains(&name) {
            return Err(Problem::UnknownAnchor(name).at(pos));
        }
        let mut node = Node::new(Data::Alias(name)).at(pos);
        node.set_comments(comments);
        Ok(node)
    }

    /// An anchor and a tag in either order.
    fn properties(&mut self) -> Result<Properties> {
        let mut properties = Properties::default();
        let (mut has_anchor, mut has_tag) = (false, false);
        loop {
            match self.peek()? {
                TokenKind::Anchor if !has_anchor => has_anchor = true,
                TokenKind::Tag if !has_tag => has_tag = true,
                _ => return Ok(properties),
            }
            let token = self.take();
            let start = *properties.start.get_or_insert(token.start);
            if token.kind == TokenKind::Anchor {
                properties.anchor = token.text;
            } else {
                properties.tag = self.whole_tag(&token.text, &token.rest, start)?;
            }
        }
    }

    fn whole_tag(&self, handle: &str, suffix: &str, start: Mark) -> Result<String> {
        if handle.is_empty() {
            return Ok(suffix.to_owned());
        }
        match self.tag_handles.iter().find(|(known, _)| known == handle) {
            Some((_, prefix)) => Ok(format!("{prefix}{suffix}")),
            None => self.fail("found undefined tag handle", start),
        }
    }

    fn scalar(&mut self, form: Form, properties: Properties, start: Mark) -> Node {
        let comments = self.take_comments();
        let text = self.take().text;
        let default_tag = match form {
            Form::Default if text == "<<" => Tag::Merge,
            Form::Default if properties.tag.len() <= 1 => plain_tag(&text),
            _ => Tag::Str,
        };
        let mut node = Node::scalar(text).with_form(form).at(self.pos(start));
        node.set_comments(comments);
        self.apply(properties, &mut node, default_tag);
        node
    }

    /// Gives a node its anchor and its tag. The tag `!` alone asks for the default.
    fn apply(&mut self, properties: Properties, node: &mut Node, default_tag: Tag) {
        node.style.tagged = !matches!(properties.tag.as_str(), "" | "!");
        node.tag = if node.style.tagged {
            tag::from_long(&properties.tag)
        } else {
            default_tag
        };
        if !properties.anchor.is_empty() {
            self.anchors.insert(properties.anchor.clone());
            node.set_anchor(properties.anchor);
        }
    }

    /// A field. Its value's foot is its key's.
    fn entry(&mut self, mut key: Node, mut value: Node) -> Entry {
        self.has_odd_key |= key.is_null() || key.text() == "<<";
        if key.comments().is_none_or(|comments| comments.foot.is_empty()) {
            set_foot(&mut key, take_foot(&mut value));
        }
        Entry { key, value }
    }

    /// A value that was not written.
    fn empty(&self, mark: Mark) -> Node {
        Node::scalar("").with_tag(Tag::Null).at(self.pos(mark))
    }
}

fn take_foot(node: &mut Node) -> String {
    let Some(comments) = node.comments().filter(|comments| !comments.foot.is_empty()) else {
        return String::new();
    };
    let mut comments = comments.clone();
    let foot = std::mem::take(&mut comments.foot);
    node.set_comments(comments);
    foot
}

fn set_foot(node: &mut Node, foot: String) {
    if !foot.is_empty() {
        let comments = node.comments().cloned().unwrap_or_default();
        node.set_comments(Comments { foot, ..comments });
    }
}
