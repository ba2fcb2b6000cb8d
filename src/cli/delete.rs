//! `delete`: objects by name, selector or file, all at once, and then waiting until they are gone.

use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::apply::DryRun;
use super::client::{Node, Resource, items_of};
use super::context::{Context, Failures, parse_duration, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::Files;
use super::resource::Selection;
use super::selectors::Selectors;
use super::{follow, node, print};

/// How many requests are under way at once; the node answers each in well under a millisecond.
const PARALLEL: usize = 64;

/// Delete objects.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Kind and names, or kind/name
    #[arg(value_name = "TYPE NAME | TYPE/NAME")]
    resources: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// All objects of the kind in the namespace
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    how: How,
    /// Objects that are not there are no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Say what would go, and delete nothing; server: having asked the node
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    /// How long to wait until they are gone; 0 is without end
    #[arg(long, default_value = "0", value_parser = parse_duration)]
    timeout: Duration,
    /// name: print only the names
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = ["", "name"], value_name = "FORMAT")]
    output: String,
}

/// How to delete, as far as several verbs share it.
#[derive(Debug, Clone, Args)]
pub struct How {
    /// Seconds that a pod gets to end by itself; -1 is what the pod itself says
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    pub grace_period: i64,
    /// With --grace-period=0: at once, and without waiting for the end
    #[arg(long)]
    pub force: bool,
    /// A second of grace
    #[arg(long, conflicts_with = "grace_period")]
    pub now: bool,
    /// Wait until they are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub wait: bool,
    /// What becomes of the objects that they own
    #[arg(long, value_enum, default_value_t = Cascade::Background, num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    pub cascade: Cascade,
}

/// What becomes of owned objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cascade {
    /// They follow.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

impl How {
    /// The body of the DELETE.
    ///
    /// # Errors
    /// When the flags contradict each other, in kubectl's words.
    pub fn options(&self) -> Result<Value> {
        let policy = match self.cascade {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        };
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        // Without --force a pod still gets a second, so that its end is confirmed (kubectl's rule).
        let grace = match (self.force, self.now, self.grace_period) {
            (true, _, -1 | 0) => Some(0),
            (true, ..) => {
                return Err(CliError::usage(
                    "--force and --grace-period greater than 0 cannot be specified together",
                ));
            }
            (false, true, _) | (false, _, 0) => Some(1),
            (false, _, seconds) if seconds > 0 => Some(seconds),
            (false, ..) => None,
        };
        if let Some(grace) = grace {
            options["gracePeriodSeconds"] = grace.into();
        }
        Ok(options)
    }

    /// Whether to wait for the end: never for what was forced.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wait && !self.force
    }
}

/// An object that is to go, with the file that names it.
struct Doomed {
    resource: Resource,
    file: Option<String>,
}

/// Runs `delete`.
///
/// # Errors
/// When an argument is wrong, the node refuses, or the time is over.
pub async fn run(args: &DeleteArgs, context: &Context) -> Result {
    let mut options = args.how.options()?;
    if args.dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    if args.how.force {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely."
        );
    }
    let node = node::connect().await?;
    let doomed = if args.files.is_empty() {
        named(args, context, &node).await?
    } else {
        in_files(args, context)?
    };
    if doomed.is_empty() {
        return write("No resources found\n");
    }
    let mut work = stream::iter(&doomed)
        .map(|one| delete_one(&node, one, args, &options))
        .buffered(PARALLEL);
    let (mut failures, mut going) = (Failures::default(), Vec::new());
    while let Some(outcome) = work.next().await {
        match outcome {
            Ok(Some((line, gone))) => {
                write(&line)?;
                going.push(gone);
            }
            Ok(None) => {}
            Err(error) => failures.add(error),
        }
    }
    if args.how.is_waiting() && args.dry_run == DryRun::None {
        let limit = (!args.timeout.is_zero()).then_some(args.timeout);
        if follow::within(limit, follow::until_all_gone(&node, &going, |_| Ok(())))
            .await?
            .is_none()
        {
            failures.add(CliError::new(
                ErrorKind::NotReached,
                "timed out waiting for the condition",
            ));
        }
    }
    failures.into_result()
}

async fn named(args: &DeleteArgs, context: &Context, node: &Node) -> Result<Vec<Doomed>> {
    let selection = Selection::parse(&args.resources)?;
    let doomed = |resource| Doomed { resource, file: None };
    if selection.has_names() {
        args.selectors.refuse_beside_names()?;
        return Ok(selection
            .resources(Some(context.namespace()))
            .into_iter()
            .map(doomed)
            .collect());
    }
    if !args.all && args.selectors.labels.is_none() && args.selectors.fields.is_none() {
        return Err(CliError::usage("resource(s) were provided, but no name was specified"));
    }
    let mut found = Vec::new();
    for collection in selection.resources(context.scope(args.selectors.all_namespaces)) {
        let list = node.get(&collection, &args.selectors.query()).await?;
        found.extend(
            items_of(list, collection.kind)
                .iter()
                .filter_map(super::client::resource_of)
                .map(doomed),
        );
    }
    Ok(found)
}

fn in_files(args: &DeleteArgs, context: &Context) -> Result<Vec<Doomed>> {
    if !args.resources.is_empty() {
        return Err(CliError::usage(
            "when paths are provided as input, you may not specify resources by arguments as well",
        ));
    }
    let documents = args.files.read_refs(context.namespace())?;
    let doomed = |(resource, file)| Doomed {
        resource,
        file: Some(file),
    };
    Ok(documents.into_iter().map(doomed).collect())
}

/// Asks for one end; the answer is the line to print and what to wait for.
async fn delete_one(
    node: &Node,
    doomed: &Doomed,
    args: &DeleteArgs,
    options: &Value,
) -> Result<Option<(String, follow::Doomed)>> {
    let resource = &doomed.resource;
    let answer = match args.dry_run {
        // kubectl looks at nothing either.
        DryRun::Client => Ok(Value::Null),
        DryRun::None | DryRun::Server => node.delete(resource, options).await,
    };
    let answer = match answer {
        Err(error) if error.kind == ErrorKind::NotFound && args.ignore_not_found => return Ok(None),
        Err(error) => return Err(name_file(error, doomed.file.as_deref())),
        Ok(answer) => answer,
    };
    let name = resource.name.as_deref().unwrap_or_default();
    let line = print::full_name(resource.kind, name);
    let kind = line.strip_suffix(name).unwrap_or(&line).trim_end_matches('/');
    let how = if args.how.force { "force deleted" } else { "deleted" };
    let line = match args.output.as_str() {
        "name" => format!("{line}\n"),
        _ => format!("{kind} \"{name}\" {how}{}\n", args.dry_run.note()),
    };
    Ok(Some((line, (resource.clone(), uid_of(&answer).to_owned()))))
}

/// The uid in the answer to a DELETE: the object itself, or a Status with details.
#[must_use]
pub fn uid_of(answer: &Value) -> &str {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    text("/metadata/uid")
        .or_else(|| text("/details/uid"))
        .unwrap_or_default()
}

fn name_file(mut error: CliError, file: Option<&str>) -> CliError {
    if let (Some(file), Some((class, message))) = (file, error.message.split_once(": ")) {
        error.message = format!("{class}: error when deleting {file:?}: {message}");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how() -> How {
        How {
            grace_period: -1,
            force: false,
            now: false,
            wait: true,
            cascade: Cascade::Background,
        }
    }

    #[test]
    fn grace_follows_kubectls_flags() {
        let grace = |how: How| {
            how.options()
                .map(|options| options.get("gracePeriodSeconds").and_then(Value::as_i64))
        };
        assert_eq!(grace(how()).expect("default"), None);
        assert_eq!(
            grace(How {
                grace_period: 5,
                ..how()
            })
            .expect("five"),
            Some(5)
        );
        assert_eq!(
            grace(How {
                grace_period: 0,
                ..how()
            })
            .expect("zero"),
            Some(1),
            "without --force the end is confirmed"
        );
        assert_eq!(grace(How { now: true, ..how() }).expect("now"), Some(1));
        assert_eq!(grace(How { force: true, ..how() }).expect("force"), Some(0));
        assert!(
            grace(How {
                force: true,
                grace_period: 5,
                ..how()
            })
            .is_err()
        );
    }

    #[test]
    fn an_error_names_the_file_that_named_the_object() {
        let error = CliError {
            kind: ErrorKind::NotFound,
            message: "Error from server (NotFound): x".into(),
            hint: None,
            causes: Vec::new(),
        };
        assert_eq!(
            name_file(error, Some("a.yaml")).message,
            "Error from server (NotFound): error when deleting \"a.yaml\": x"
        );
    }
}
