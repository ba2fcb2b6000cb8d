//! `apply`: objects of files into the node, once, through the same gate that sources pass.

use std::collections::{HashMap, HashSet};

use clap::{Args, ValueEnum};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::build::build_beside;
use super::client::{Node, Resource};
use super::context::{Context, Failures, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::{Files, Manifest, refuse};
use super::{node, print};
use crate::admit;
use crate::model::text_at;

/// Who the node keeps as the owner of fields that `apply` names.
pub const FIELD_MANAGER: &str = "kubelocal-apply";

/// How many objects of one kind are sent at once.
const PARALLEL: usize = 16;

/// From how many objects of a kind and namespace on they are asked for by a list.
const WORTH_A_LIST: usize = 4;

/// Make objects as files describe them.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    /// First build the images that are directories with a Containerfile beside the manifests
    #[arg(long)]
    build: bool,
    /// Say what would happen, and change nothing
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// Say so; every apply is done by the server
    #[arg(long)]
    server_side: bool,
    /// yaml, json or name: print the objects as they are afterwards
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = ["", "yaml", "json", "name"], value_name = "FORMAT")]
    output: String,
}

/// How far a dry run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is no dry run.
    None,
    /// The files are read, and compared with what is there.
    Client,
    /// The node does all but keep the result.
    Server,
}

impl DryRun {
    /// What stands behind the word for what happened.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and differed.
    Configured,
    /// It was there and as it should be.
    Unchanged,
}

impl Outcome {
    /// From what was there before and what is there after.
    #[must_use]
    pub fn of(before: Option<&Value>, after: &Value) -> Self {
        match before {
            None => Self::Created,
            Some(before) if content(before) == content(after) => Self::Unchanged,
            Some(_) => Self::Configured,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What of an object its author can change: a dry run keeps the resourceVersion, and the node writes status and
/// bookkeeping at any time.
#[must_use]
pub fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "managedFields",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "uid",
        ] {
            metadata.remove(field);
        }
    }
    content
}

/// Runs `apply`.
///
/// # Errors
/// When a file can't be read (then nothing has been applied), or the node refuses an object.
pub async fn run(args: &ApplyArgs, context: &Context) -> Result {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    let manifests = args.files.read(context.namespace())?;
    if manifests.is_empty() {
        return Err(CliError::usage("no objects passed to apply"));
    }
    refuse_repeated(&manifests)?;
    let node = node::connect().await?;
    if args.build {
        build_beside(&node, &manifests).await?;
    }
    let (mut failures, mut objects) = (Failures::default(), Vec::new());
    // Kinds one after the other, because a namespace has to be there before what lives in it.
    for of_kind in manifests.chunk_by(|a, b| a.resource.kind == b.resource.kind) {
        let present = match Present::of(&node, of_kind).await {
            Ok(present) => present,
            Err(error) => {
                failures.add(error);
                continue;
            }
        };
        let (node, present) = (&node, &present);
        let apply = |manifest| async move { (manifest, apply_one(node, present, manifest, args.dry_run).await) };
        let mut outcomes = stream::iter(of_kind).map(apply).buffered(PARALLEL);
        while let Some((manifest, outcome)) = outcomes.next().await {
            match outcome {
                Ok((object, outcome)) if args.output.is_empty() || args.output == "name" => {
                    write(&line(manifest, &object, outcome, args))?;
                }
                Ok((object, _)) => objects.push(object),
                Err(error) => failures.add(error),
            }
        }
    }
    if !objects.is_empty() {
        let is_list = manifests.len() > 1;
        let whole = print::prepare(objects, is_list, false);
        write(&if args.output == "json" {
            print::json(&whole)?
        } else {
            print::yaml(&whole)
        })?;
    }
    failures.into_result()
}

/// Refuses what several files name, as sources do: which of them came last would be chance.
fn refuse_repeated(manifests: &[Manifest]) -> Result {
    let (mut first_files, mut problems) = (HashMap::new(), Vec::new());
    for manifest in manifests {
        let Resource { kind, namespace, name } = &manifest.resource;
        if let Some(first) = first_files.insert((kind.resource(), namespace, name), manifest.file()) {
            let name = print::full_name(kind, name.as_deref().unwrap_or_default());
            problems.push(manifest.error_at("metadata.name", &format!("{name} is in {first} already")));
        }
    }
    refuse(&problems)
}

fn line(manifest: &Manifest, object: &Value, outcome: Outcome, args: &ApplyArgs) -> String {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let full_name = print::full_name(manifest.resource.kind, name);
    match args.output.as_str() {
        "name" => format!("{full_name}\n"),
        _ if args.server_side => format!("{full_name} serverside-applied{}\n", args.dry_run.note()),
        _ => format!("{full_name} {}{}\n", outcome.word(), args.dry_run.note()),
    }
}

/// Objects of one kind as they were before an apply, by namespace and name.
#[derive(Debug, Default)]
struct Present {
    objects: HashMap<(String, String), Value>,
    /// Namespaces in which there is nothing else.
    whole: HashSet<String>,
}

impl Present {
    /// Lists where many objects are to be applied. A page is a few times as long as what is looked for, so that whatever else there is costs
    /// nothing.
    async fn of(node: &Node, manifests: &[Manifest]) -> Result<Self> {
        let mut wanted: HashMap<&str, usize> = HashMap::new();
        for manifest in manifests {
            *wanted.entry(namespace(&manifest.resource)).or_default() += 1;
        }
        let mut present = Self::default();
        for (namespace, count) in wanted.into_iter().filter(|(_, count)| *count >= WORTH_A_LIST) {
            let collection = Resource::collection(manifests[0].resource.kind, Some(namespace));
            let limit = (4 * count).to_string();
            let mut list = node.get(&collection, &[("limit", limit)]).await?;
            if text_at(&list, "/metadata/continue").is_empty() {
                present.whole.insert(namespace.to_owned());
            }
            let items = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            for mut object in items.unwrap_or_default() {
                let kind = manifests[0].resource.kind;
                object["apiVersion"] = kind.api_version().into();
                object["kind"] = kind.kind.into();
                let name = text_at(&object, "/metadata/name").to_owned();
                present.objects.insert((namespace.to_owned(), name), object);
            }
        }
        Ok(present)
    }

    async fn find(&self, node: &Node, resource: &Resource) -> Result<Option<Value>> {
        let namespace = namespace(resource);
        let name = resource.name.clone().unwrap_or_default();
        match self.objects.get(&(namespace.to_owned(), name)) {
            Some(object) => Ok(Some(object.clone())),
            None if self.whole.contains(namespace) => Ok(None),
            None => node.find(resource).await,
        }
    }
}

fn namespace(resource: &Resource) -> &str {
    resource.namespace.as_deref().unwrap_or_default()
}

/// Sends one object, unless that would write nothing: the node has more to do than to be asked for that.
async fn apply_one(node: &Node, present: &Present, manifest: &Manifest, dry_run: DryRun) -> Result<(Value, Outcome)> {
    let before = present.find(node, &manifest.resource).await?;
    let is_applied = |live: &Value| {
        let now = Timestamp::now();
        dry_run != DryRun::Server && admit::apply::is_applied(live, &manifest.object, FIELD_MANAGER, now)
    };
    match before {
        Some(live) if is_applied(&live) => Ok((live, Outcome::Unchanged)),
        before => {
            let after = apply(node, manifest, dry_run != DryRun::None).await?;
            let outcome = Outcome::of(before.as_ref(), &after);
            Ok((after, outcome))
        }
    }
}

/// Sends one object; the answer is the object as it is, or with `is_dry` as it would be.
///
/// # Errors
/// What the node says; a field that it refuses is shown in the file.
pub async fn apply(node: &Node, manifest: &Manifest, is_dry: bool) -> Result<Value> {
    let mut query = vec![
        ("fieldManager", FIELD_MANAGER.to_owned()),
        ("fieldValidation", "Strict".to_owned()),
        // A file that says how an object should be wins over hands that changed it, as with `kubectl apply`.
        ("force", "true".to_owned()),
    ];
    if is_dry {
        query.push(("dryRun", "All".to_owned()));
    }
    let answer = node.apply(&manifest.resource, &query, &manifest.object).await;
    answer.map_err(|error| place_in_file(error, manifest))
}

/// `web.yaml:7:3: error: spec.foo: …` for every cause that names a field.
fn place_in_file(error: CliError, manifest: &Manifest) -> CliError {
    if error.causes.is_empty() {
        return error;
    }
    let lines: Vec<String> = error
        .causes
        .iter()
        .map(|(field, message)| manifest.error_at(field, message).to_string())
        .collect();
    CliError {
        kind: ErrorKind::Api,
        message: lines.join("\n"),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_outcome_is_told_by_what_was_there_before() {
        let object = |version: &str, data: &str| json!({"metadata": {"resourceVersion": version}, "data": data, "status": version});
        assert_eq!(Outcome::of(None, &object("1", "a")), Outcome::Created);
        assert_eq!(
            Outcome::of(Some(&object("1", "a")), &object("1", "a")),
            Outcome::Unchanged
        );
        assert_eq!(
            Outcome::of(Some(&object("1", "a")), &object("2", "b")),
            Outcome::Configured
        );
        assert_eq!(
            Outcome::of(Some(&object("1", "a")), &object("1", "b")),
            Outcome::Configured,
            "a dry run keeps the version"
        );
        assert_eq!(
            Outcome::of(Some(&object("1", "a")), &object("2", "a")),
            Outcome::Unchanged,
            "only the node wrote, its status"
        );
    }
}
