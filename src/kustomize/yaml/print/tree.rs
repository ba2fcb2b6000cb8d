//! A tree as it is printed, comments and styles included.
//!
//! Comments are written when the reference's printer comes by a place that writes comments, and until then they wait in
//! the writer, where the next node's replace them. Which places those are is its choice; a comment that it loses is lost
//! here, too.

use super::super::node::{Comments, Data, Document, Entry, Form, Node, Tag};
use super::super::resolve::plain_tag;
use super::super::tag;
use super::analysis::analyze;
use super::value::MAX_SIMPLE_KEY;
use super::writer::{Printer, Writer};

/// Prints a document, with its last line break and without `---`.
pub fn print_document(document: &Document) -> String {
    print(&document.root, &document.comments)
}

/// Prints a node as a document of its own.
pub fn print_node(node: &Node) -> String {
    print(node, &Comments::default())
}

fn print(root: &Node, comments: &Comments) -> String {
    let mut writer = Writer::new(Printer::Tree, 1024);
    if !comments.head.is_empty() {
        writer.comments.head.clone_from(&comments.head);
        writer.write_head_comment();
        writer.put_break();
    }
    writer.load(root, "");
    writer.write_head_comment();
    writer.node(root, Place::Root, false);
    if !comments.foot.is_empty() {
        writer.comments.foot.clone_from(&comments.foot);
    }
    // The document's foot stands apart.
    writer.foot_indent = Some(0);
    writer.write_foot_comment();
    writer.foot_indent = None;
    writer.write_indent();
    writer.out
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    /// Key or value of a mapping.
    Field,
    /// A key that needs no `?`.
    SimpleKey,
}

impl Writer {
    /// Makes the comments of a node that begins wait. Those behind a collection come at its end.
    fn load(&mut self, node: &Node, tail: &str) {
        let takes_tail = matches!(node.data, Data::Scalar(_) | Data::Mapping(_));
        if takes_tail && !tail.is_empty() {
            tail.clone_into(&mut self.tail);
        }
        let Some(comments) = node.comments() else { return };
        replace(&mut self.comments.head, &comments.head);
        if matches!(node.data, Data::Scalar(_) | Data::Alias(_)) {
            replace(&mut self.comments.line, &comments.line);
            replace(&mut self.comments.foot, &comments.foot);
        }
    }

    /// Makes the comments at the end of a collection wait.
    fn load_end(&mut self, node: &Node, tail: &str) {
        if !tail.is_empty() {
            tail.clone_into(&mut self.tail);
        }
        if let Some(comments) = node.comments() {
            replace(&mut self.comments.line, &comments.line);
            replace(&mut self.comments.foot, &comments.foot);
        }
    }

    /// Writes a node whose comments wait; `may_need_comma` in brackets, where a comma comes before comments.
    fn node(&mut self, node: &Node, place: Place, may_need_comma: bool) {
        self.begin(node, place);
        if may_need_comma && self.has_comment_behind() {
            self.write_indicator(",", false, false, false);
        }
        self.write_line_comment();
        self.write_foot_comment();
        self.content(node, place);
    }

    /// Writes a key, whose comments wait longer.
    fn key(&mut self, key: &Node, place: Place) {
        self.begin(key, place);
        self.content(key, place);
    }

    /// Writes a scalar, or what stands before a collection.
    fn begin(&mut self, node: &Node, place: Place) {
        let written = WrittenTag::of(node);
        match &node.data {
            Data::Alias(name) => self.write_anchor("*", name),
            Data::Scalar(text) => {
                let is_simple_key = place == Place::SimpleKey;
                let form = self.choose_form(text, asked_form(node, text, written.forces_quotes), is_simple_key);
                self.write_anchor("&", node.anchor());
                self.write_tag(&written);
                self.write_scalar(text, form, is_simple_key);
            }
            Data::Sequence(_) | Data::Mapping(_) => {
                self.write_anchor("&", node.anchor());
                self.write_tag(&written);
            }
        }
    }

    fn content(&mut self, node: &Node, place: Place) {
        let in_flow = self.flow_level > 0 || node.style.form == Form::Flow;
        match &node.data {
            Data::Sequence(items) if in_flow || items.is_empty() => self.flow_sequence(node, items),
            Data::Sequence(items) => self.block_sequence(node, items, place),
            Data::Mapping(entries) if in_flow || entries.is_empty() => self.flow_mapping(node, entries),
            Data::Mapping(entries) => self.block_mapping(node, entries),
            Data::Scalar(_) | Data::Alias(_) => {}
        }
    }

    fn flow_sequence(&mut self, node: &Node, items: &[Node]) {
        self.write_indicator("[", true, true, false);
        let outer = self.increase_indent(true);
        self.flow_level += 1;
        let mut has_comma = true;
        for item in items {
            self.load(item, "");
            has_comma = self.begin_flow_item(has_comma);
            self.node(item, Place::Item, true);
        }
        self.load_end(node, "");
        self.flow_level -= 1;
        self.indent = outer;
        if self.column == 0 {
            self.write_indent();
        }
        self.write_indicator("]", false, false, false);
        self.write_line_comment();
        self.write_foot_comment();
    }

    /// Writes what stands before an item in brackets. Returns whether the item will be followed by a comma, because
    /// comments come behind it.
    fn begin_flow_item(&mut self, has_comma: bool) -> bool {
        if !has_comma {
            self.write_indicator(",", false, false, false);
        }
        self.write_head_comment();
        if self.column == 0 {
            self.write_indent();
        }
        self.has_comment_behind()
    }

    fn flow_mapping(&mut self, node: &Node, entries: &[Entry]) {
        self.write_indicator("{", true, true, false);
        let outer = self.increase_indent(true);
        self.flow_level += 1;
        let (mut has_comma, mut tail) = (true, "");
        for entry in entries {
            tail = self.load_key(&entry.key, tail);
            self.begin_flow_item(has_comma);
            let is_simple = is_simple_key(&entry.key);
            if !is_simple {
                self.write_indicator("?", true, false, false);
            }
            self.key(&entry.key, if is_simple { Place::SimpleKey } else { Place::Field });
            self.load(&entry.value, "");
            self.write_indicator(":", !is_simple, false, false);
            has_comma = self.has_comment_behind();
            self.node(&entry.value, Place::Field, true);
        }
        self.load_end(node, tail);
        let has_more = !(self.comments.head.is_empty() && self.comments.foot.is_empty() && self.tail.is_empty());
        if has_more && !has_comma {
            self.write_indicator(",", false, false, false);
        }
        self.write_head_comment();
        self.flow_level -= 1;
        self.indent = outer;
        self.write_indicator("}", false, false, false);
        self.write_line_comment();
        self.write_foot_comment();
    }

    /// Makes a key's comments wait. Its foot belongs behind its value: it is returned, and the key after takes it.
    fn load_key<'n>(&mut self, key: &'n Node, tail: &str) -> &'n str {
        let waiting_foot = std::mem::take(&mut self.comments.foot);
        self.load(key, tail);
        self.comments.foot = waiting_foot;
        key.comments().map_or("", |comments| &comments.foot)
    }

    fn block_sequence(&mut self, node: &Node, items: &[Node], place: Place) {
        let outer = self.indent;
        let is_value = matches!(place, Place::Field | Place::SimpleKey);
        // Below a key, items stand at the key's own indentation.
        if !(is_value && (self.column == 0 || !self.is_indentation)) || outer < 0 {
            self.increase_indent(false);
        }
        for item in items {
            self.load(item, "");
            self.write_head_comment();
            self.write_indent();
            self.write_indicator("-", true, false, true);
            self.node(item, Place::Item, false);
        }
        self.load_end(node, "");
        self.indent = outer;
    }

    fn block_mapping(&mut self, node: &Node, entries: &[Entry]) {
        let outer = self.increase_indent(false);
        let mut tail = "";
        for entry in entries {
            tail = self.load_key(&entry.key, tail);
            self.write_head_comment();
            self.write_indent();
            if !self.comments.line.is_empty() {
                self.key_line = std::mem::take(&mut self.comments.line);
            }
            let is_simple = is_simple_key(&entry.key);
            if is_simple {
                self.key(&entry.key, Place::SimpleKey);
                self.load(&entry.value, "");
                self.write_indicator(":", false, false, false);
            } else {
                self.write_indicator("?", true, false, true);
                self.key(&entry.key, Place::Field);
                self.load(&entry.value, "");
                self.write_indent();
                self.write_indicator(":", true, false, true);
            }
            self.write_key_line_comment(&entry.value);
            self.node(&entry.value, Place::Field, false);
        }
        self.load_end(node, tail);
        self.write_head_comment();
        self.indent = outer;
    }

    /// The line comment of a key is its value's, if that is a scalar without one, and stands before a block.
    fn write_key_line_comment(&mut self, value: &Node) {
        if self.key_line.is_empty() {
            return;
        }
        match &value.data {
            Data::Scalar(_) => {
                if self.comments.line.is_empty() {
                    self.comments.line = std::mem::take(&mut self.key_line);
                }
            }
            Data::Mapping(_) | Data::Sequence(_) if value.style.form != Form::Flow => {
                let comment = std::mem::take(&mut self.key_line);
                self.write_behind(&comment);
            }
            Data::Mapping(_) | Data::Sequence(_) | Data::Alias(_) => {}
        }
    }

    fn write_anchor(&mut self, indicator: &str, name: &str) {
        if !name.is_empty() {
            self.write_indicator(indicator, true, false, false);
            self.put_all(name);
        }
    }

    fn write_tag(&mut self, tag: &WrittenTag) {
        if tag.handle.is_empty() && tag.suffix.is_empty() {
            return;
        }
        if !self.has_white {
            self.put(' ');
        }
        let escaped = tag::escape(tag.suffix);
        if tag.handle.is_empty() {
            self.put_all(&format!("!<{escaped}>"));
        } else {
            self.put_all(&format!("{}{escaped}", tag.handle));
        }
        self.has_white = false;
        self.is_indentation = false;
    }
}

fn replace(waiting: &mut String, comment: &str) {
    if !comment.is_empty() {
        comment.clone_into(waiting);
    }
}

fn asked_form(node: &Node, text: &str, forces_quotes: bool) -> Form {
    match node.style.form {
        Form::Default | Form::Flow if text.contains('\n') => Form::Literal,
        Form::Default | Form::Flow if forces_quotes => Form::DoubleQuoted,
        form => form,
    }
}

fn is_simple_key(key: &Node) -> bool {
    let tag = WrittenTag::of(key);
    let length = key.anchor().len() + tag.handle.len() + tag.suffix.len();
    match &key.data {
        Data::Alias(name) => name.len() <= MAX_SIMPLE_KEY,
        Data::Scalar(text) => length + text.len() <= MAX_SIMPLE_KEY && !analyze(text, false).is_multiline,
        Data::Sequence(_) | Data::Mapping(_) => {
            (key.is_empty_sequence() || key.is_empty_mapping()) && length <= MAX_SIMPLE_KEY
        }
    }
}

/// The tag that must be written so that the node reads back with its own.
#[derive(Debug, Default)]
struct WrittenTag<'n> {
    handle: &'static str,
    suffix: &'n str,
    /// Quotes say the same as the tag.
    forces_quotes: bool,
}

impl<'n> WrittenTag<'n> {
    fn of(node: &'n Node) -> Self {
        if !node.style.tagged {
            match (&node.data, &node.tag) {
                (_, Tag::None) | (Data::Sequence(_), Tag::Seq) | (Data::Mapping(_), Tag::Map) | (Data::Alias(_), _) => {
                    return Self::default();
                }
                (Data::Scalar(_), Tag::Str) if !matches!(node.style.form, Form::Default | Form::Flow) => {
                    return Self::default();
                }
                (Data::Scalar(text), tag) => {
                    let resolved = plain_tag(text);
                    if resolved == *tag || *tag == Tag::Str {
                        return Self {
                            forces_quotes: resolved != *tag,
                            ..Self::default()
                        };
                    }
                }
                (Data::Sequence(_) | Data::Mapping(_), _) => {}
            }
        }
        let (handle, suffix) = tag::split(node.tag.as_str());
        Self {
            handle,
            suffix,
            forces_quotes: false,
        }
    }
}
