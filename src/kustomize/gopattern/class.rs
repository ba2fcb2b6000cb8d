//! Classes of characters: brackets, and what escapes stand for in Go.

use super::translate::{Cursor, literal};

/// Classes that escapes stand for; of ASCII only.
pub fn perl(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Names of general categories, as far as they are not scripts.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "LC",
];

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The class that `\p` or `\P` stands for; the cursor is behind that letter.
pub fn unicode(cursor: &mut Cursor<'_>, is_negated: bool) -> Result<String, String> {
    let whole = cursor.from(-2);
    let name = match cursor.next() {
        None => return Err(format!("invalid character class range: `{}`", cursor.shown(whole))),
        Some('{') => cursor
            .until("}")
            .ok_or_else(|| format!("invalid character class range: `{}`", cursor.rest_from(whole)))?,
        Some(letter) => letter.to_string(),
    };
    let (name, is_inverse) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name.as_str(), false),
    };
    let class = match name {
        "Any" => "any".to_owned(),
        _ if CATEGORIES.contains(&name) => format!("gc={name}"),
        // Letters only: what else the regex crate takes here, such as properties, is none of Go's.
        _ if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') => {
            format!("sc={name}")
        }
        _ => String::new(),
    };
    let letter = if is_negated == is_inverse { 'p' } else { 'P' };
    let translated = format!(r"\{letter}{{{class}}}");
    match regex_syntax_knows(&translated) {
        true => Ok(translated),
        false => Err(format!("invalid character class range: `{}`", cursor.shown(whole))),
    }
}

fn regex_syntax_knows(class: &str) -> bool {
    regex::Regex::new(class).is_ok()
}

/// A class in brackets; the cursor is behind the opening one.
pub fn brackets(cursor: &mut Cursor<'_>) -> Result<String, String> {
    let whole = cursor.from(-1);
    let mut class = String::from(if cursor.eat("^") { "[^" } else { "[" });
    let mut is_first = true;
    while is_first || !cursor.eat("]") {
        is_first = false;
        if let Some(named) = named(cursor)? {
            class.push_str(&named);
        } else if let Some(group) = group(cursor)? {
            class.push_str(&group);
        } else {
            class.push_str(&range(cursor, whole)?);
        }
    }
    class.push(']');
    Ok(class)
}

/// `[:alpha:]`.
fn named(cursor: &mut Cursor<'_>) -> Result<Option<String>, String> {
    if !cursor.looks_at("[:") || !cursor.rest()[2..].contains(":]") {
        return Ok(None);
    }
    cursor.eat("[:");
    let name = cursor.until(":]").expect("the end was seen");
    match POSIX.contains(&name.trim_start_matches('^')) && !name.starts_with("^^") {
        true => Ok(Some(format!("[:{name}:]"))),
        false => Err(format!("invalid character class range: `[:{name}:]`")),
    }
}

/// An escape that stands for a class.
fn group(cursor: &mut Cursor<'_>) -> Result<Option<String>, String> {
    let mut after = cursor.rest().chars();
    let (Some('\\'), Some(letter)) = (after.next(), after.next()) else {
        return Ok(None);
    };
    if let Some(class) = perl(letter) {
        cursor.skip(2);
        return Ok(Some(class.to_owned()));
    }
    if matches!(letter, 'p' | 'P') {
        cursor.skip(2);
        return unicode(cursor, letter == 'P').map(Some);
    }
    Ok(None)
}

/// A character, or a range of them. A hyphen that does not stand between two is one itself.
fn range(cursor: &mut Cursor<'_>, whole: usize) -> Result<String, String> {
    let begin = cursor.from(0);
    let low = character(cursor, whole)?;
    let rest = cursor.rest();
    if rest.len() < 2 || !rest.starts_with('-') || rest.starts_with("-]") {
        return Ok(literal(low));
    }
    cursor.eat("-");
    let high = character(cursor, whole)?;
    match high < low {
        true => Err(format!("invalid character class range: `{}`", cursor.shown(begin))),
        false => Ok(format!("{}-{}", literal(low), literal(high))),
    }
}

fn character(cursor: &mut Cursor<'_>, whole: usize) -> Result<char, String> {
    match cursor.next() {
        None => Err(format!("missing closing ]: `{}`", cursor.rest_from(whole))),
        Some('\\') => cursor.escape(),
        Some(other) => Ok(other),
    }
}
