//! Text to template (`jsonpath.Parser`).

use serde_json::Value;

use super::{Filter, JsonPathError, Operator, Part, Path, Slice, Step, Template};

type Result<T> = std::result::Result<T, JsonPathError>;

/// What one `{…}` is.
enum Action {
    Path(Path),
    Range(Path),
    End,
}

pub(super) fn template(text: &str) -> Result<Vec<Part>> {
    let mut rest = text;
    // The parts of each open range, outermost first; the first entry is the template itself.
    let mut open: Vec<(Path, Vec<Part>)> = vec![(Path::new(), Vec::new())];
    while let Some(brace) = rest.find('{') {
        push(&mut open, Part::Text(rest[..brace].to_owned()));
        let (inside, after) = inside_braces(&rest[brace + 1..])?;
        rest = after;
        for action in actions(inside)? {
            match action {
                Action::Path(path) => push(&mut open, Part::Path(path)),
                Action::Range(path) => open.push((path, Vec::new())),
                Action::End if open.len() == 1 => return Err(JsonPathError::NotInRange),
                Action::End => {
                    let (path, parts) = open.pop().expect("more than one is open");
                    push(&mut open, Part::Range(path, parts));
                }
            }
        }
    }
    push(&mut open, Part::Text(rest.to_owned()));
    match open.len() {
        1 => Ok(open.pop().expect("one is open").1),
        _ => Err(JsonPathError::UnterminatedRange),
    }
}

fn push(open: &mut [(Path, Vec<Part>)], part: Part) {
    let innermost = open.last_mut().expect("the template itself is never closed");
    if !matches!(&part, Part::Text(text) if text.is_empty()) {
        innermost.1.push(part);
    }
}

/// What stands before the closing brace, and what after; quotes may hide braces.
fn inside_braces(text: &str) -> Result<(&str, &str)> {
    let end = find_outside_quotes(text, |c, depth| c == '}' && depth == 0).ok_or(JsonPathError::Unclosed("action"))?;
    Ok((&text[..end], &text[end + 1..]))
}

/// The first place outside of quotes for which `is_end` holds; it is told the depth of brackets there.
fn find_outside_quotes(text: &str, is_end: impl Fn(char, usize) -> bool) -> Option<usize> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0_usize);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, _) if is_end(c, depth) => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

fn actions(inside: &str) -> Result<Vec<Action>> {
    let trimmed = inside.trim();
    if trimmed == "end" {
        return Ok(vec![Action::End]);
    }
    match trimmed
        .strip_prefix("range")
        .filter(|rest| rest.starts_with([' ', '\t', '.', '$', '@', '[']))
    {
        Some(rest) => Ok(vec![Action::Range(path(rest)?)]),
        None => Ok(vec![Action::Path(path(trimmed)?)]),
    }
}

/// A chain of steps. Blanks between them mean nothing, `$` and `@` are where we are.
pub(super) fn path(text: &str) -> Result<Path> {
    let mut steps = Path::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '$' | '@' | ' ' | '\t' | '\n' => &rest[1..],
            '.' if rest.starts_with("..") => {
                steps.push(Step::Recursive);
                // `..name` goes on as a field: one dot stays, unless a bracket follows.
                if rest[2..].starts_with('[') {
                    &rest[2..]
                } else {
                    &rest[1..]
                }
            }
            '.' => field(&rest[1..], &mut steps),
            '[' => {
                let end = find_outside_quotes(&rest[1..], |c, depth| c == ']' && depth == 0);
                let end = 1 + end.ok_or(JsonPathError::Unclosed("array"))?;
                steps.push(bracket(&rest[1..end])?);
                &rest[end + 1..]
            }
            '"' | '\'' => {
                let end = closing_quote(rest).ok_or(JsonPathError::Unclosed("quote"))?;
                steps.push(Step::Literal(unquote(&rest[..=end]).into()));
                &rest[end + 1..]
            }
            '0'..='9' | '-' | '+' => number(rest, &mut steps)?,
            _ => word(rest, first, &mut steps)?,
        };
    }
    Ok(steps)
}

/// A field after its dot; a backslash takes the meaning from the next character.
fn field<'a>(text: &'a str, steps: &mut Path) -> &'a str {
    let (mut name, mut escaped, mut end) = (String::new(), false, text.len());
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}' => {
                end = at;
                break;
            }
            c if c.is_whitespace() => {
                end = at;
                break;
            }
            c => name.push(c),
        }
    }
    match name.as_str() {
        // `{.}` is the object itself.
        "" => {}
        "*" => steps.push(Step::Wildcard),
        _ => steps.push(Step::Field(name)),
    }
    &text[end..]
}

fn number<'a>(text: &'a str, steps: &mut Path) -> Result<&'a str> {
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E'))
        .unwrap_or(text.len());
    let number: Value = text[..end]
        .trim_start_matches('+')
        .parse()
        .map_err(|_| JsonPathError::BadIndex(text[..end].to_owned()))?;
    steps.push(Step::Literal(number));
    Ok(&text[end..])
}

fn word<'a>(text: &'a str, first: char, steps: &mut Path) -> Result<&'a str> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    match &text[..end] {
        "true" => steps.push(Step::Literal(true.into())),
        "false" => steps.push(Step::Literal(false.into())),
        _ => return Err(JsonPathError::Unrecognized(first)),
    }
    Ok(&text[end..])
}

/// What stands between brackets.
fn bracket(inside: &str) -> Result<Step> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return Ok(Step::Filter(Box::new(self::filter(filter)?)));
    }
    let pieces = split_union(inside);
    if pieces.len() > 1 {
        let piece = |piece: &&str| Ok(vec![bracket(piece)?]);
        return Ok(Step::Union(pieces.iter().map(piece).collect::<Result<_>>()?));
    }
    if inside == "*" {
        return Ok(Step::Wildcard);
    }
    if inside.starts_with(['\'', '"']) {
        // A quoted name is read as a path again, so that 'metadata.name' works in a union as kubectl lets it.
        return match Template::parse_relaxed(&unquote(inside))?.0.as_slice() {
            [Part::Path(path)] => Ok(Step::Union(vec![path.clone()])),
            _ => Err(JsonPathError::BadIndex(inside.to_owned())),
        };
    }
    slice(inside).ok_or_else(|| JsonPathError::BadIndex(inside.to_owned()))
}

fn split_union(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while let Some(comma) = find_outside_quotes(text, |c, depth| c == ',' && depth == 0) {
        pieces.push(text[..comma].trim());
        text = &text[comma + 1..];
    }
    pieces.push(text.trim());
    pieces
}

/// `n`, `a:b`, `a:b:step`.
fn slice(text: &str) -> Option<Step> {
    let bound = |piece: Option<&&str>| match piece.map_or("", |p| p.trim()) {
        "" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    let pieces: Vec<&str> = text.split(':').collect();
    let (start, end) = (bound(pieces.first())?, bound(pieces.get(1))?);
    let step = bound(pieces.get(2))?.unwrap_or(1);
    let is_index = pieces.len() == 1;
    if pieces.len() > 3 || (is_index && start.is_none()) {
        return None;
    }
    Some(Step::Slice(Slice {
        start,
        end,
        step,
        is_index,
    }))
}

fn filter(text: &str) -> Result<Filter> {
    let is_operator = |c: char| matches!(c, '=' | '!' | '<' | '>');
    let Some(at) = find_outside_quotes(text, |c, _| is_operator(c)) else {
        return Ok(Filter {
            left: path(text)?,
            compare: None,
        });
    };
    let end = text[at..]
        .find(|c| !is_operator(c))
        .map_or(text.len(), |length| at + length);
    let operator = match &text[at..end] {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        other => return Err(JsonPathError::BadOperator(other.to_owned())),
    };
    Ok(Filter {
        left: path(text[..at].trim())?,
        compare: Some((operator, path(text[end..].trim())?)),
    })
}

/// Where the quote that opens `text` ends.
fn closing_quote(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let was_escaped = escaped;
        escaped = c == '\\' && !was_escaped;
        (c == quote && !was_escaped).then_some(at)
    })
}

/// The text of a quoted piece, with Go's escapes.
fn unquote(quoted: &str) -> String {
    let inner = &quoted[1..quoted.len().saturating_sub(1).max(1)];
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                // What quotes hide from the parser of paths stays hidden: `['a\.b']`.
                Some('.') => text.push_str("\\."),
                Some(other) => text.push(other),
                None => {}
            },
            (c, false) => text.push(c),
        }
    }
    text
}
