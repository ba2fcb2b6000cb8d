//! What a scalar's text allows: which of the ways to write it would read back the same.
//!
//! The reference is cautious: what it does not allow would often read back all the same.

/// Which ways of writing are allowed, and whether the text has line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis {
    pub is_multiline: bool,
    pub plain_in_flow: bool,
    pub plain_in_block: bool,
    pub single_quoted: bool,
    pub block: bool,
}

/// What was found in a text.
#[derive(Default)]
struct Findings {
    block_indicators: bool,
    flow_indicators: bool,
    line_breaks: bool,
    special_characters: bool,
    tabs: bool,
    leading_white: bool,
    trailing_space: bool,
    trailing_break: bool,
    break_then_space: bool,
    space_then_break: bool,
}

/// Analyses a text. The older printer, which prints builds, takes a tab for a special character; the newer does not.
pub fn analyze(text: &str, tab_is_special: bool) -> Analysis {
    if text.is_empty() {
        return Analysis {
            is_multiline: false,
            plain_in_flow: false,
            plain_in_block: true,
            single_quoted: true,
            block: false,
        };
    }
    if is_simple_word(text) {
        return Analysis {
            is_multiline: false,
            plain_in_flow: true,
            plain_in_block: true,
            single_quoted: true,
            block: true,
        };
    }
    conclude(&find(text), tab_is_special)
}

/// Most texts are names and numbers, in which nothing needs to be looked for.
fn is_simple_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

fn conclude(found: &Findings, tab_is_special: bool) -> Analysis {
    let special = found.special_characters || tab_is_special && found.tabs;
    let single_quoted = !(found.break_then_space || found.space_then_break || found.tabs || special);
    let plain =
        single_quoted && !(found.leading_white || found.trailing_space || found.trailing_break || found.line_breaks);
    Analysis {
        is_multiline: found.line_breaks,
        plain_in_flow: plain && !found.flow_indicators,
        plain_in_block: plain && !found.block_indicators,
        single_quoted,
        block: !(found.trailing_space || found.space_then_break || special),
    }
}

fn find(text: &str) -> Findings {
    let mut found = Findings::default();
    if text.starts_with("---") || text.starts_with("...") {
        found.block_indicators = true;
        found.flow_indicators = true;
    }
    let (mut before, mut characters) = (None, text.chars().peekable());
    while let Some(character) = characters.next() {
        let after = characters.peek().copied();
        find_indicators(&mut found, before, character, after);
        if character == '\t' {
            found.tabs = true;
        } else if !is_printable(character) {
            found.special_characters = true;
        }
        if character == ' ' {
            found.leading_white |= before.is_none();
            found.trailing_space |= after.is_none();
            found.break_then_space |= before.is_some_and(is_break);
        } else if is_break(character) {
            found.line_breaks = true;
            found.leading_white |= before.is_none();
            found.trailing_break |= after.is_none();
            found.space_then_break |= before == Some(' ');
        }
        before = Some(character);
    }
    found
}

fn find_indicators(found: &mut Findings, before: Option<char>, character: char, after: Option<char>) {
    let blank_follows = after.is_none_or(|after| matches!(after, ' ' | '\t'));
    let follows_white = before.is_none_or(|before| matches!(before, ' ' | '\t' | '\0') || is_break(before));
    let (flow, block) = match (before, character) {
        (None, ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => {
            (true, true)
        }
        (None, '?') | (_, ':') => (true, blank_follows),
        (None, '-') => (blank_follows, blank_follows),
        (Some(_), ',' | '?' | '[' | ']' | '{' | '}') => (true, false),
        (Some(_), '#') => (follows_white, follows_white),
        _ => (false, false),
    };
    found.flow_indicators |= flow;
    found.block_indicators |= block;
}

/// The line breaks of YAML 1.1.
pub fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What the reference prints without escaping it. Nothing beyond the basic plane, no byte order mark, and no tab.
pub fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{A0}'..='\u{FFFD}') && character != '\u{FEFF}'
}
