//! Paths through a graph: splitting their texts and walking them, creating what is missing where asked.

use super::{Cell, Graph, Id, check_path};
use crate::kustomize::error::{Error, Result};
use crate::kustomize::yaml::{Kind, Tag};

/// Splits at a delimiter that a backslash before it makes ordinary. A leading delimiter is dropped.
pub fn split_escaped(path: &str, delimiter: char) -> Vec<String> {
    let mut parts: Vec<&str> = path.split(delimiter).collect();
    if parts.len() > 1 && parts[0].is_empty() {
        parts.remove(0);
    }
    let mut result: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts {
        match result.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push(delimiter);
                last.push_str(part);
            }
            _ => result.push(part.to_owned()),
        }
    }
    result
}

/// As [`split_escaped`], but what stands in brackets stays together: `[a.b=c]` is one part, `[a.b]` is the name `a.b`.
pub fn smart_split(path: &str, delimiter: char) -> Vec<String> {
    let mut parts = split_escaped(path, delimiter).into_iter();
    let mut result = Vec::new();
    while let Some(part) = parts.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            result.push(part);
            continue;
        }
        let mut whole = part;
        for next in parts.by_ref() {
            whole.push(delimiter);
            whole.push_str(&next);
            if next.ends_with(']') {
                break;
            }
        }
        result.push(match whole.contains('=') {
            true => whole,
            false => whole.trim_matches(['[', ']']).to_owned(),
        });
    }
    result
}

/// Whether a part of a path selects items: `[name=value]`.
pub fn is_list_index(part: &str) -> bool {
    part.starts_with('[') && part.ends_with(']')
}

/// The number in a part of a path that is one, as Go's `Atoi` reads it.
pub fn index_of(part: &str) -> Option<i64> {
    part.parse().ok()
}

/// What a path's part selects items by: the field's name and its value or pattern.
pub fn split_selector(part: &str) -> Result<(&str, &str)> {
    let inner = part.strip_suffix(']').unwrap_or(part);
    let inner = inner.strip_prefix('[').unwrap_or(inner);
    inner
        .split_once('=')
        .ok_or_else(|| Error::object("list path element must contain fieldName=fieldValue for element to match"))
}

/// What is created for a part of a path: what the next part needs, or at the end what the caller wants.
pub fn kind_before(next: Option<&str>, last: Kind) -> Kind {
    match next {
        None | Some("") => last,
        Some(next) if is_list_index(next) || index_of(next).is_some_and(|index| index >= 0) => Kind::Sequence,
        Some(_) => Kind::Mapping,
    }
}

impl Graph {
    /// The node at the end of a path, if there is one.
    ///
    /// # Errors
    /// If something on the way has another kind than the path needs.
    pub fn lookup<S: AsRef<str>>(&mut self, root: Id, path: &[S]) -> Result<Option<Id>> {
        self.walk(root, path, None)
    }

    /// The node at the end of a path, which is created with everything on the way if it is missing.
    ///
    /// # Errors
    /// If something on the way has another kind than the path needs, or the path is longer than any real one.
    pub fn lookup_create<S: AsRef<str>>(&mut self, root: Id, path: &[S], kind: Kind) -> Result<Option<Id>> {
        check_path(path)?;
        self.walk(root, path, Some(kind))
    }

    fn walk<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Option<Id>> {
        let mut parts = path
            .iter()
            .map(|part| part.as_ref().trim())
            .filter(|part| !part.is_empty())
            .peekable();
        let mut at = root;
        while let Some(part) = parts.next() {
            let next = parts.peek().copied();
            match self.step(at, part, next, create)? {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn step(&mut self, at: Id, part: &str, next: Option<&str>, create: Option<Kind>) -> Result<Option<Id>> {
        // Nearly all parts are names, and no number begins with a letter.
        let is_name = part.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        if is_name {
            return self.step_field(at, part, create.map(|last| kind_before(next, last)));
        }
        if let Some(index) = index_of(part) {
            let index =
                usize::try_from(index).map_err(|_| Error::object(format!("array index {index} cannot be negative")))?;
            self.expect_kind(at, Kind::Sequence)?;
            return Ok(self.content(at).get(index).copied());
        }
        match part {
            "-" => {
                self.expect_kind(at, Kind::Sequence)?;
                let last = self.content(at).last().copied();
                last.map(Some)
                    .ok_or_else(|| Error::object("a list has no last item: it is empty"))
            }
            "*" => Err(Error::object("wildcard is not supported in PathGetter")),
            _ if is_list_index(part) => self.step_item(at, part, create.is_some()),
            _ => self.step_field(at, part, create.map(|last| kind_before(next, last))),
        }
    }

    fn step_field(&mut self, at: Id, name: &str, create: Option<Kind>) -> Result<Option<Id>> {
        if self.is_null(at) {
            return Ok(None);
        }
        let found = self.find(at, name)?;
        let Some(kind) = create.filter(|_| found.is_none()) else {
            return Ok(found);
        };
        let made = self.add(Cell::new(kind));
        self.set_field(at, name, Some(made), super::Put::default())?;
        Ok(Some(made))
    }

    fn step_item(&mut self, at: Id, part: &str, create: bool) -> Result<Option<Id>> {
        let (name, value) = split_selector(part)?;
        if let Some(found) = self.find_item(at, &[name], &[value])? {
            return Ok(Some(found));
        }
        if !create {
            return Ok(None);
        }
        let text = self.add_scalar(value, Tag::None);
        let made = match name {
            "" => text,
            _ => {
                let key = self.add_scalar(name, Tag::None);
                self.add(Cell {
                    content: vec![key, text],
                    ..Cell::new(Kind::Mapping)
                })
            }
        };
        self.append(at, made)?;
        Ok(Some(made))
    }
}
