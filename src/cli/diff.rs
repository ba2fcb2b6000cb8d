//! `diff`: what `apply` would change, as a unified diff of what is there and what would be.

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::apply::{apply, content};
use super::client::Node;
use super::context::{Context, Failures, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::{Files, Manifest};
use super::{node, print};

/// How many objects are looked at at once.
const PARALLEL: usize = 16;

/// Show what apply would change. Exits with 1 if there is anything, with 2 if that can't be told.
#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    files: Files,
}

/// Runs `diff`.
///
/// # Errors
/// When a file can't be read, the node refuses an object, or something differs.
pub async fn run(args: &DiffArgs, context: &Context) -> Result {
    compare(args, context).await.map_err(|error| match error.kind {
        // Nobody reads any more: there is a code for that.
        ErrorKind::Differs | ErrorKind::PipeClosed => error,
        _ => CliError {
            kind: ErrorKind::NotCompared,
            ..error
        },
    })
}

async fn compare(args: &DiffArgs, context: &Context) -> Result {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    let manifests = args.files.read(context.namespace())?;
    let node = node::connect().await?;
    let (mut failures, mut has_failed, mut differs) = (Failures::default(), false, false);
    let mut diffs = stream::iter(&manifests)
        .map(|manifest| diff(&node, manifest))
        .buffered(PARALLEL);
    while let Some(diff) = diffs.next().await {
        match diff {
            Ok(text) => {
                differs |= !text.is_empty();
                write(&text)?;
            }
            Err(error) => {
                has_failed = true;
                failures.add(error);
            }
        }
    }
    match (has_failed, differs) {
        (false, true) => Err(CliError::silent(ErrorKind::Differs)),
        _ => failures.into_result(),
    }
}

async fn diff(node: &Node, manifest: &Manifest) -> Result<String> {
    let live = node.find(&manifest.resource).await?;
    let merged = apply(node, manifest, true).await?;
    let kind = manifest.resource.kind;
    let group = if kind.group.is_empty() {
        String::new()
    } else {
        format!("{}.", kind.group)
    };
    let name = manifest.resource.name.as_deref().unwrap_or_default();
    let namespace = manifest.resource.namespace.as_deref().unwrap_or_default();
    let file = format!("{group}{}.{}.{namespace}.{name}", kind.version, kind.kind);
    Ok(difference(&file, live.as_ref(), &merged))
}

fn difference(file: &str, live: Option<&Value>, merged: &Value) -> String {
    let (mut live, mut merged) = (live.map(content), content(merged));
    mask(live.as_mut(), &mut merged);
    let before = live.map(|live| print::yaml(&live)).unwrap_or_default();
    print::unified(
        &format!("live/{file}"),
        &format!("merged/{file}"),
        &before,
        &print::yaml(&merged),
    )
}

/// What stands in Secrets is not shown, only that it changes (kubectl's masker).
fn mask(live: Option<&mut Value>, merged: &mut Value) {
    if merged.get("kind").is_none_or(|kind| kind != "Secret") {
        return;
    }
    let old = live
        .as_deref()
        .and_then(|live| live.get("data"))
        .cloned()
        .unwrap_or_default();
    let new = merged.get("data").cloned().unwrap_or_default();
    let word = |value: &Value, other: &Value, key: &str, changed: &str| match other.get(key) {
        Some(other) if other != value => format!("*** ({changed})"),
        _ => "***".to_owned(),
    };
    let masked = |of: &Value, other: &Value, changed: &str| -> Value {
        let entries = of.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), Value::from(word(value, other, key, changed))))
            .collect()
    };
    if let Some(live) = live.filter(|live| live.get("data").is_some()) {
        live["data"] = masked(&old, &new, "before");
    }
    if merged.get("data").is_some() {
        merged["data"] = masked(&new, &old, "after");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_an_author_can_change_is_compared() {
        let live =
            json!({"metadata": {"name": "a", "resourceVersion": "1", "uid": "u"}, "data": {"k": "1"}, "status": {}});
        let merged = json!({"metadata": {"name": "a", "resourceVersion": "2"}, "data": {"k": "1"}});
        assert_eq!(difference("f", Some(&live), &merged), "");
        let merged = json!({"metadata": {"name": "a"}, "data": {"k": "2"}});
        assert_eq!(
            difference("f", Some(&live), &merged),
            "--- live/f\n+++ merged/f\n@@ -1,4 +1,4 @@\n data:\n-  k: \"1\"\n+  k: \"2\"\n metadata:\n   name: a\n"
        );
    }

    #[test]
    fn a_secret_shows_that_it_changes_but_not_what() {
        let live = json!({"kind": "Secret", "data": {"same": "QQ==", "new": "QQ=="}});
        let merged = json!({"kind": "Secret", "data": {"same": "QQ==", "new": "Qg=="}});
        let text = difference("f", Some(&live), &merged);
        assert!(
            text.contains("-  new: '*** (before)'\n+  new: '*** (after)'\n   same: '***'\n"),
            "{text}"
        );
        assert!(!text.contains("QQ=="), "{text}");
    }
}
