//! Label selectors, from both of their forms: `metav1.LabelSelector` in objects and text on command lines and in queries
//! (`k8s.io/apimachinery/pkg/labels`).

mod parse;

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
    /// The label is there and a larger number.
    Greater(String, i64),
    /// The label is there and a smaller number.
    Less(String, i64),
}

/// Conditions that must all hold; none at all matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<Requirement>);

/// A selector that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
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

    /// The text form: `app=web,tier in (a, b),!old,new,env!=prod,size>3`.
    ///
    /// # Errors
    /// On text that is not a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self).map_err(SelectorError)
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
        let number = |label: &String| labels.get(label.as_str())?.parse::<i64>().ok();
        match self {
            Self::In(label, values) => labels.get(label.as_str()).is_some_and(|v| values.contains(*v)),
            Self::NotIn(label, values) => labels.get(label.as_str()).is_none_or(|v| !values.contains(*v)),
            Self::Exists(label) => labels.contains_key(label.as_str()),
            Self::Absent(label) => !labels.contains_key(label.as_str()),
            Self::Greater(label, than) => number(label).is_some_and(|number| number > *than),
            Self::Less(label, than) => number(label).is_some_and(|number| number < *than),
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
                "unable to parse requirement: {other:?} is not a valid label selector operator"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_selectors_select_as_kubectl_does() {
        let labels = BTreeMap::from([
            ("app", "web"),
            ("tier", "front"),
            ("n", "7"),
            ("empty", ""),
            ("in", "x"),
        ]);
        for (text, expected) in [
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (web, api)", true),
            ("app in (api,)", false),
            ("empty in (api,)", true),
            ("empty in ()", true),
            ("empty in (,)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("! old", true),
            ("!old,tier in (front)", true),
            ("", true),
            ("  ", true),
            ("empty=", true),
            ("empty=,app=web", true),
            ("app=", false),
            ("n>5", true),
            ("n > 7", false),
            ("n < 10 , n", true),
            ("app>1", false),
            ("other<1", false),
            ("in=x", true),
            ("in in (in, x)", true),
            ("app=notin", false),
            ("example.org/a!=b", true),
        ] {
            let selector = LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn broken_selectors_are_refused_in_upstreams_words() {
        let (long, key) = ("a".repeat(64), "invalid label key");
        for (text, reason) in [
            ("app in web)", "found 'web' expected: '('"),
            (
                "app within (a)",
                "found 'within', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("app in (a", "found '', expected: ',' or ')'"),
            ("app in (a b)", "found 'b', expected: ',' or ')'"),
            ("app in (=)", "found '=', expected: ',', ')' or identifier"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a=(b)", "found '(', expected: identifier"),
            ("n>x", "for 'Gt', 'Lt' operators, the value must be an integer"),
            ("n>", "for 'Gt', 'Lt' operators, the value must be an integer"),
            ("n=-a", "invalid label value: \"-a\""),
            ("n in (a, b/c)", "invalid label value: \"b/c\""),
            ("A_/b", key),
            ("/b", key),
            ("a/b/c", key),
            ("-a", key),
            ("é=b", key),
            (&long, key),
            (&format!("a={long}"), "invalid label value"),
        ] {
            let error = LabelSelector::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
