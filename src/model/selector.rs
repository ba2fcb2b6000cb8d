//! Label selectors, from both of their forms: `metav1.LabelSelector` in objects and text on command lines and in queries
//! (`k8s.io/apimachinery/pkg/labels`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there and has one of these values.
    In(String, BTreeSet<String>),
    /// The label is not there or has none of these values.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    Absent(String),
}

/// Conditions that must all hold; none at all matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<Requirement>);

/// A selector that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct SelectorError(String);

impl LabelSelector {
    /// The form in objects: `matchLabels` and `matchExpressions`.
    ///
    /// # Errors
    /// On an operator that does not exist.
    pub fn from_json(value: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (label, wanted) in value
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let wanted = wanted.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::In(label.clone(), BTreeSet::from([wanted])));
        }
        for expression in value
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            requirements.push(Requirement::from_expression(expression)?);
        }
        Ok(Self(requirements))
    }

    /// The form with plain labels, as in `Service.spec.selector`.
    pub fn from_map(labels: &BTreeMap<&str, &str>) -> Self {
        let equal = |(k, v): (&&str, &&str)| Requirement::In((*k).to_owned(), BTreeSet::from([(*v).to_owned()]));
        Self(labels.iter().map(equal).collect())
    }

    /// The text form: `app=web,tier in (a, b),!old,new,env!=prod`.
    ///
    /// # Errors
    /// On text that is not a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        split_outside_parentheses(text)
            .into_iter()
            .map(parse_requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the labels fulfil every condition.
    pub fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether it has no condition and so matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        match self {
            Self::In(label, values) => labels.get(label.as_str()).is_some_and(|v| values.contains(*v)),
            Self::NotIn(label, values) => labels.get(label.as_str()).is_none_or(|v| !values.contains(*v)),
            Self::Exists(label) => labels.contains_key(label.as_str()),
            Self::Absent(label) => !labels.contains_key(label.as_str()),
        }
    }

    fn from_expression(expression: &Value) -> Result<Self, SelectorError> {
        let text = |field| {
            expression
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
        match text("operator").as_str() {
            "In" => Ok(Self::In(text("key"), values)),
            "NotIn" => Ok(Self::NotIn(text("key"), values)),
            "Exists" => Ok(Self::Exists(text("key"))),
            "DoesNotExist" => Ok(Self::Absent(text("key"))),
            other => Err(SelectorError(format!(
                "{other:?} is not a valid label selector operator"
            ))),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let pieces = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    pieces.map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

fn parse_requirement(text: &str) -> Result<Requirement, SelectorError> {
    if let Some(label) = text.strip_prefix('!') {
        return Ok(Requirement::Absent(label_key(label)?));
    }
    for operator in ["!=", "==", "="] {
        if let Some((label, value)) = text.split_once(operator) {
            let values = BTreeSet::from([label_value(value)?]);
            let label = label_key(label)?;
            return Ok(if operator == "!=" {
                Requirement::NotIn(label, values)
            } else {
                Requirement::In(label, values)
            });
        }
    }
    let Some((head, list)) = text.split_once('(') else {
        return Ok(Requirement::Exists(label_key(text)?));
    };
    let list = list
        .strip_suffix(')')
        .ok_or_else(|| SelectorError(format!("missing ')' in {text:?}")))?;
    let values = list.split(',').map(label_value).collect::<Result<_, _>>()?;
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [label, "in"] => Ok(Requirement::In(label_key(label)?, values)),
        [label, "notin"] => Ok(Requirement::NotIn(label_key(label)?, values)),
        _ => Err(SelectorError(format!("{text:?}: expected `in` or `notin`"))),
    }
}

fn label_value(text: &str) -> Result<String, SelectorError> {
    let value = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if value.len() > 63 || !value.chars().all(fits) {
        return Err(SelectorError(format!("{value:?} is not a label value")));
    }
    Ok(value.to_owned())
}

fn label_key(text: &str) -> Result<String, SelectorError> {
    let key = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(fits) {
        return Err(SelectorError(format!("{key:?} is not a label key")));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_selectors_select_as_kubectl_does() {
        let labels = BTreeMap::from([("app", "web"), ("tier", "front")]);
        let cases = [
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("!old,tier in (front)", true),
            ("", true),
        ];
        for (text, expected) in cases {
            assert_eq!(
                LabelSelector::parse(text).expect(text).matches(&labels),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn broken_selectors_are_refused() {
        for text in [
            "app in web)",
            "app within (a)",
            "a b",
            "=x",
            "app in (a",
            "a=b=c",
            "a=b c",
            "a in (b,c d)",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }
}
