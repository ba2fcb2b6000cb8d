//! Bytes to documents: encodings, forbidden characters, and the lines that separate documents.

use std::borrow::Cow;

use super::compose::compose;
use super::error::{Problem, YamlError};
use super::node::{Document, FileId, Pos};
use super::scan::Origin;
use super::{MAX_TEXT, anchor};

/// Text from bytes: UTF-8, or UTF-16 if a byte order mark says so. The mark is dropped.
///
/// # Errors
/// If the bytes are no text, or longer than [`MAX_TEXT`].
pub fn decode(bytes: &[u8], file: FileId) -> Result<Cow<'_, str>, YamlError> {
    if bytes.len() > MAX_TEXT {
        return Err(Problem::TooLong(bytes.len()).at(Pos { file, ..Pos::default() }));
    }
    let units = |of: fn([u8; 2]) -> u16| -> Result<Cow<'_, str>, YamlError> {
        let here = Pos {
            file,
            line: 1,
            column: 1,
        };
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Problem::Encoding("incomplete UTF-16 character").at(here));
        }
        let text = char::decode_utf16(pairs.iter().map(|pair| of(*pair))).collect::<Result<String, _>>();
        text.map(Cow::Owned)
            .map_err(|_| Problem::Encoding("unexpected low surrogate area").at(here))
    };
    match bytes {
        [0xFF, 0xFE, ..] => units(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => units(u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                Problem::Encoding("invalid UTF-8 sequence").at(place_behind(&valid, Origin { file, lines_before: 0 }))
            })
        }
    }
}

/// The first document of a text, with anchors and aliases as they were written. `None` if there is none.
///
/// What follows the first document is not looked at, as in the reference.
///
/// # Errors
/// If the text is not YAML, too long or too deep.
pub fn parse_document(text: &str, file: FileId) -> Result<Option<Document>, YamlError> {
    Ok(parse_part(text, Origin { file, lines_before: 0 })?.map(|(document, _)| document))
}

fn parse_part(text: &str, origin: Origin) -> Result<Option<(Document, bool)>, YamlError> {
    if text.len() > MAX_TEXT {
        return Err(Problem::TooLong(text.len()).at(Pos {
            file: origin.file,
            ..Pos::default()
        }));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_characters(text, origin)?;
    compose(text, origin)
}

/// All documents of a text that hold something, with aliases replaced by what they stand for and merge keys merged.
///
/// # Errors
/// If the text is not YAML, too long, too deep or multiplied too often by aliases, or if a line begins with `---` and
/// goes on with something else than a comment.
pub fn parse_documents(text: &str, file: FileId) -> Result<Vec<Document>, YamlError> {
    let text = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let mut documents = Vec::new();
    for (part, lines_before) in split_documents(&text, file)? {
        let Some((mut document, needs_expansion)) = parse_part(part, Origin { file, lines_before })? else {
            continue;
        };
        if !document.root.is_null() {
            if needs_expansion {
                anchor::expand(&mut document.root)?;
            }
            documents.push(document);
        }
    }
    Ok(documents)
}

/// The parts between lines that begin with `---`, each with the number of lines before it. A line that is the very
/// first or the very last, without a break behind it, separates nothing: the parser deals with it.
fn split_documents(text: &str, file: FileId) -> Result<Vec<(&str, u32)>, YamlError> {
    let mut parts = Vec::new();
    let (mut start, mut from, mut lines_before) = (0, 0, 0);
    while let Some(found) = text[from..].find("\n---") {
        let at = from + found;
        let Some(length) = text[at + 1..].find('\n') else { break };
        let (line_end, separator) = (at + 1 + length, &text[at + 1..at + 1 + length]);
        let line = lines_before + count_lines(&text[start..=at]);
        let behind = separator[3..].trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            let problem = Problem::Separator(separator.trim().to_owned());
            return Err(problem.at(Pos {
                file,
                line: line + 1,
                column: 1,
            }));
        }
        parts.push((&text[start..=at], lines_before));
        (start, from, lines_before) = (line_end + 1, line_end + 1, line + 1);
    }
    parts.push((&text[start..], lines_before));
    Ok(parts)
}

fn count_lines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}

fn check_characters(text: &str, origin: Origin) -> Result<(), YamlError> {
    // Nearly every text is plain ASCII without control characters; that is known in one pass that compiles to vectors.
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
    {
        return Ok(());
    }
    match text.char_indices().find(|(_, character)| !is_allowed(*character)) {
        Some((at, character)) => {
            Err(Problem::ControlCharacter(u32::from(character)).at(place_behind(&text[..at], origin)))
        }
        None => Ok(()),
    }
}

fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{FFFD}' | '\u{10000}'..)
}

fn place_behind(text: &str, origin: Origin) -> Pos {
    let last_line = text.rsplit('\n').next().unwrap_or("");
    let column = u32::try_from(last_line.chars().count())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    Pos {
        file: origin.file,
        line: origin.lines_before + count_lines(text) + 1,
        column,
    }
}
