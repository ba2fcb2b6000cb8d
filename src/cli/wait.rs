//! `wait`: until objects are gone, made, or in a condition.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::client::{Node, Resource, items_of, resource_of};
use super::context::{Context, Failures, parse_duration, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::Files;
use super::jsonpath::{Template, render_value};
use super::resource::Selection;
use super::selectors::Selectors;
use super::{follow, node, print};
use crate::model::value_at;

/// Wait for a condition of objects.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Kind and names, or kind/name
    #[arg(value_name = "TYPE [NAME] | TYPE/NAME")]
    resources: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// All objects of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// delete, create, condition=NAME[=VALUE] or jsonpath='{PATH}'[=VALUE]
    #[arg(long = "for", value_name = "CONDITION", value_parser = Goal::parse)]
    goal: Goal,
    /// How long to wait; a negative time is a week
    #[arg(long, default_value = "30s", value_parser = parse_timeout, allow_hyphen_values = true)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
    /// The object is gone.
    Deleted,
    /// The object is there.
    Created,
    /// A condition has a status.
    Condition {
        /// Its type.
        name: String,
        /// The status, in any case.
        status: String,
    },
    /// A path finds a value; without one, anything at all.
    JsonPath(Template, Option<String>),
}

impl Goal {
    /// Reads `--for`.
    fn parse(text: &str) -> Result<Self, String> {
        let (word, argument) = text.split_once('=').unwrap_or((text, ""));
        match word.to_lowercase().as_str() {
            "delete" => Ok(Self::Deleted),
            "create" => Ok(Self::Created),
            "condition" if !argument.is_empty() => {
                let (name, status) = argument.split_once('=').unwrap_or((argument, "True"));
                Ok(Self::Condition {
                    name: name.to_owned(),
                    status: status.to_owned(),
                })
            }
            "jsonpath" => Self::parse_jsonpath(argument),
            _ => Err(format!("unrecognized condition: {text:?}")),
        }
    }

    fn parse_jsonpath(argument: &str) -> Result<Self, String> {
        // The last `}=` parts path and value: filters have `==` of their own.
        let (path, value) = match argument.rfind("}=") {
            Some(brace) => (&argument[..=brace], Some(&argument[brace + 2..])),
            None if argument.ends_with('}') => (argument, None),
            None => argument
                .split_once('=')
                .map_or((argument, None), |(path, value)| (path, Some(value))),
        };
        if value == Some("") {
            return Err(
                "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.phase}'=Running"
                    .into(),
            );
        }
        let template = Template::parse_relaxed(path).map_err(|error| error.to_string())?;
        Ok(Self::JsonPath(template, value.map(str::to_owned)))
    }

    /// Whether the object, or its absence, is what is waited for.
    ///
    /// # Errors
    /// When the path finds something that is no single value.
    pub fn is_reached(&self, object: Option<&Value>) -> Result<bool> {
        match (self, object) {
            (Self::Deleted, found) => Ok(found.is_none()),
            (Self::Created, found) => Ok(found.is_some()),
            (_, None) => Ok(false),
            (Self::Condition { name, status }, Some(object)) => Ok(has_condition(object, name, status)),
            (Self::JsonPath(path, wanted), Some(object)) => {
                let Ok(found) = path.find(object) else { return Ok(false) };
                match (found.as_slice(), wanted) {
                    ([], _) => Ok(false),
                    (_, None) => Ok(true),
                    ([Value::Array(_) | Value::Object(_)], Some(_)) | ([_, _, ..], Some(_)) => Err(CliError::local(
                        "jsonpath leads to a nested object or list and cannot be compared",
                    )),
                    ([value], Some(wanted)) => Ok(render_value(value) == *wanted),
                }
            }
        }
    }
}

/// `wait` and `kubelocal watch --once` agree on what a condition is: it counts only once it speaks of this generation.
#[must_use]
pub fn has_condition(object: &Value, name: &str, status: &str) -> bool {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let generation = value_at(object, "/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let conditions = value_at(object, "/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let is_current = |value: &Value| {
        let observed = |pointer: &str, of: &Value| of.pointer(pointer).and_then(Value::as_i64);
        let seen = observed("/observedGeneration", value).or_else(|| observed("/status/observedGeneration", object));
        seen.is_none_or(|seen| seen >= generation)
    };
    let mut named = conditions.filter(|condition| text(condition, "type").eq_ignore_ascii_case(name));
    named.any(|condition| is_current(condition) && text(condition, "status").eq_ignore_ascii_case(status))
}

/// Runs `wait`.
///
/// # Errors
/// When an argument is wrong, there is nothing to wait for, or the time is over.
pub async fn run(args: &WaitArgs, context: &Context) -> Result {
    let node = node::connect().await?;
    let objects = choose(args, context, &node).await?;
    if objects.is_empty() {
        return match args.goal {
            Goal::Deleted => Ok(()),
            _ => Err(CliError::new(ErrorKind::NotReached, "no matching resources found")),
        };
    }
    let wait = |object| wait_for(&node, object, &args.goal, args.timeout);
    let mut waits = stream::iter(&objects).map(wait).buffer_unordered(objects.len().max(1));
    let mut failures = Failures::default();
    while let Some(outcome) = waits.next().await {
        if let Err(error) = outcome {
            failures.add(error);
        }
    }
    failures.into_result()
}

async fn choose(args: &WaitArgs, context: &Context, node: &Node) -> Result<Vec<Resource>> {
    if !args.files.is_empty() {
        let refs = args.files.read_refs(context.namespace())?;
        return Ok(refs.into_iter().map(|(resource, _)| resource).collect());
    }
    let selection = Selection::parse(&args.resources)?;
    if selection.has_names() {
        return Ok(selection.resources(Some(context.namespace())));
    }
    if !args.all && args.selectors.labels.is_none() && args.selectors.fields.is_none() {
        return Err(CliError::usage("resource(s) were provided, but no name was specified"));
    }
    let mut found = Vec::new();
    for collection in selection.resources(context.scope(args.selectors.all_namespaces)) {
        let list = node.get(&collection, &args.selectors.query()).await?;
        found.extend(items_of(list, collection.kind).iter().filter_map(resource_of));
    }
    Ok(found)
}

async fn wait_for(node: &Node, object: &Resource, goal: &Goal, timeout: Duration) -> Result {
    let name = object.name.as_deref().unwrap_or_default();
    let found = node.find(object).await?;
    if *goal != Goal::Created && found.is_none() {
        return match goal {
            Goal::Deleted => Ok(()),
            // The server's own words for what is not there.
            _ => node.get(object, &[]).await.map(drop),
        };
    }
    let is_reached = match timeout.is_zero() {
        true => goal.is_reached(found.as_ref())?,
        false => {
            let reached = follow::until(node, object, |found| match goal.is_reached(found) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            });
            follow::within(Some(timeout), reached).await?.transpose()?.is_some()
        }
    };
    if is_reached {
        return write(&format!("{} condition met\n", print::full_name(object.kind, name)));
    }
    let place = format!("{}/{name}", object.kind.plural);
    let message = match goal {
        Goal::Created => "timed out waiting for the condition".to_owned(),
        _ if timeout.is_zero() => format!("condition not met for {place}"),
        _ => format!("timed out waiting for the condition on {place}"),
    };
    Err(CliError::new(ErrorKind::NotReached, message))
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    if text.starts_with('-') {
        Ok(WEEK)
    } else {
        parse_duration(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals_are_reached_as_kubectl_reaches_them() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "observedGeneration": 2,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}],
            "containerStatuses": [{"ready": true}]}});
        for (goal, there, gone) in [
            ("delete", false, true),
            ("create", true, false),
            ("condition=Ready", true, false),
            ("condition=ready=true", true, false),
            ("condition=Ready=False", false, false),
            ("condition=Old", false, false),
            ("jsonpath={.status.phase}=Running", true, false),
            ("jsonpath={.status.phase}=Pending", false, false),
            ("jsonpath=.status.phase=Running", true, false),
            (
                "jsonpath={.status.containerStatuses[?(@.ready==true)].ready}=true",
                true,
                false,
            ),
            ("jsonpath={.status.podIP}", false, false),
            ("jsonpath={.status.phase}", true, false),
        ] {
            let parsed = Goal::parse(goal).expect(goal);
            assert_eq!(parsed.is_reached(Some(&pod)).expect(goal), there, "{goal}");
            assert_eq!(parsed.is_reached(None).expect(goal), gone, "{goal} without the object");
        }
    }

    #[test]
    fn a_condition_of_an_older_generation_does_not_count() {
        let deployment = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2,
            "conditions": [{"type": "Available", "status": "True"}]}});
        assert!(!has_condition(&deployment, "Available", "True"));
    }

    #[test]
    fn goals_that_nobody_knows_are_refused() {
        for text in ["nonsense", "condition=", "jsonpath={.x}="] {
            assert!(Goal::parse(text).is_err(), "{text}");
        }
    }
}
