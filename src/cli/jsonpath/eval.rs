//! Templates on values (`jsonpath.JSONPath`).

use std::cmp::Ordering;

use serde_json::Value;

use super::{Filter, JsonPathError, Operator, Part, Slice, Step};

type Result<T> = std::result::Result<T, JsonPathError>;

pub(super) fn render(parts: &[Part], object: &Value, text: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let found = walk(path, object)?;
                let words: Vec<String> = found.into_iter().map(render_value).collect();
                text.push_str(&words.join(" "));
            }
            Part::Range(path, parts) => {
                for item in walk(path, object)? {
                    render(parts, item, text)?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn collect<'a>(parts: &'a [Part], object: &'a Value, found: &mut Vec<&'a Value>) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Path(path) => found.extend(walk(path, object)?),
            Part::Range(path, parts) => {
                for item in walk(path, object)? {
                    collect(parts, item, found)?;
                }
            }
        }
    }
    Ok(())
}

/// Every value to which the steps lead from `start`.
fn walk<'a>(path: &'a [Step], start: &'a Value) -> Result<Vec<&'a Value>> {
    let mut current = vec![start];
    for step in path {
        let mut next = Vec::new();
        match step {
            // One name after the other, each of all values (`evalUnion`).
            Step::Union(paths) => {
                for path in paths {
                    for value in &current {
                        next.extend(walk(path, value)?);
                    }
                }
            }
            _ => {
                for value in current {
                    take(step, value, &mut next)?;
                }
            }
        }
        current = next;
    }
    Ok(current)
}

fn take<'a>(step: &'a Step, value: &'a Value, found: &mut Vec<&'a Value>) -> Result<()> {
    match step {
        Step::Field(name) => found.extend(value.get(name)),
        Step::Wildcard => found.extend(children(value)),
        Step::Recursive => descend(value, found),
        Step::Slice(slice) => found.extend(cut(*slice, value)?),
        Step::Union(paths) => {
            for path in paths {
                found.extend(walk(path, value)?);
            }
        }
        Step::Filter(filter) => {
            for item in array(value)? {
                if is_match(filter, item)? {
                    found.push(item);
                }
            }
        }
        Step::Literal(literal) => found.push(literal),
    }
    Ok(())
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}

/// The value and everything in it.
fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    for child in children(value) {
        if child.is_object() || child.is_array() {
            descend(child, found);
        }
    }
}

fn array(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(&[]),
        other => Err(JsonPathError::NotArray(render_value(other))),
    }
}

fn cut(slice: Slice, value: &Value) -> Result<Vec<&Value>> {
    let items = array(value)?;
    let length = i64::try_from(items.len()).expect("no array has 2^63 items");
    let from_end = |bound: i64| if bound < 0 { bound + length } else { bound };
    let out_of_bounds = |index| JsonPathError::OutOfBounds {
        index,
        length: items.len(),
    };
    let start = from_end(slice.start.unwrap_or(0));
    let end = if slice.is_index {
        start + 1
    } else {
        from_end(slice.end.unwrap_or(length))
    };
    let step = usize::try_from(slice.step)
        .ok()
        .filter(|step| *step > 0)
        .ok_or(JsonPathError::BadStep)?;
    if start == end {
        return Ok(Vec::new());
    }
    if start < 0 || start >= length {
        return Err(out_of_bounds(slice.start.unwrap_or(0)));
    }
    if end > length || end < start {
        return Err(out_of_bounds(end - 1));
    }
    let [start, end] = [start, end].map(|bound| usize::try_from(bound).expect("checked against the length"));
    Ok(items[start..end].iter().step_by(step).collect())
}

fn is_match(filter: &Filter, item: &Value) -> Result<bool> {
    let left = walk(&filter.left, item)?;
    let Some((operator, right)) = &filter.compare else {
        return Ok(!left.is_empty());
    };
    let right = walk(right, item)?;
    let (Some(left), Some(right)) = (left.first(), right.first()) else {
        return Ok(false);
    };
    Ok(match operator {
        Operator::Equal => is_equal(left, right),
        Operator::NotEqual => !is_equal(left, right),
        Operator::Less => less(left, right) == Ordering::Less,
        Operator::LessOrEqual => less(left, right) != Ordering::Greater,
        Operator::Greater => less(left, right) == Ordering::Greater,
        Operator::GreaterOrEqual => less(left, right) != Ordering::Less,
    })
}

fn is_equal(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// How two values order: numbers by size, texts by their letters with numbers in them by size, anything else by kind.
#[must_use]
pub fn less(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(left), Value::String(right)) => natural(left, right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// `web-2` before `web-10` (`sortorder.NaturalLess`).
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (Some(a), Some(b)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len());
        };
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let ((number_a, rest_a), (number_b, rest_b)) = (left.split_at(digits(left)), right.split_at(digits(right)));
            let trimmed = [number_a, number_b].map(|number| number.trim_start_matches('0'));
            let order = trimmed[0]
                .len()
                .cmp(&trimmed[1].len())
                .then_with(|| trimmed[0].cmp(trimmed[1]));
            // `7` before `007`: equal numbers, but the texts must order too.
            match order.then_with(|| number_a.len().cmp(&number_b.len())) {
                Ordering::Equal => (left, right) = (rest_a, rest_b),
                unequal => return unequal,
            }
        } else if a == b {
            (left, right) = (&left[a.len_utf8()..], &right[b.len_utf8()..]);
        } else {
            return a.cmp(&b);
        }
    }
}

/// A value as a template shows it: text as it is, maps and lists as JSON.
#[must_use]
pub fn render_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as a custom column shows it: Go's `%v`, with `map[a:1]` and `[a b]`.
#[must_use]
pub fn sprint(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(sprint).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", sprint(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
