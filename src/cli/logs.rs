//! `logs`: what containers wrote, of one pod or of many, once or as it is written.

use std::time::Duration;

use clap::Args;
use futures::{AsyncBufReadExt, AsyncReadExt, StreamExt, stream};
use serde_json::Value;

use super::client::{Node, Resource, items_of};
use super::context::{Context, Failures, parse_duration};
use super::error::{CliError, Result};
use super::node;
use super::pods::{choose_container, containers_of, name_of, pod_kind, pods_of};
use super::resource::Selection;

/// Show what containers write.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags are what they are")]
pub struct LogsArgs {
    /// A pod, or kind/name of what has pods
    #[arg(value_name = "POD | TYPE/NAME", required_unless_present = "labels")]
    target: Option<String>,
    /// The container, as a second word
    #[arg(value_name = "CONTAINER", conflicts_with = "container")]
    second: Option<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Pods with these labels
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR", conflicts_with = "target")]
    labels: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    all_containers: bool,
    /// All pods of a workload, not only one
    #[arg(long)]
    all_pods: bool,
    /// Go on while it is written
    #[arg(short, long)]
    follow: bool,
    /// Of the container's last instance
    #[arg(short, long)]
    previous: bool,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Only what is younger: 5s, 2m, 3h
    #[arg(long, value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only what is younger than this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    since_time: Option<String>,
    /// Only so many lines from the end; -1 is all
    #[arg(long, allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only so many bytes
    #[arg(long)]
    limit_bytes: Option<u64>,
    /// Each line with pod and container before it
    #[arg(long)]
    prefix: bool,
    /// How many logs to follow at once
    #[arg(long, default_value_t = 5)]
    max_log_requests: usize,
    /// Go on with the others when one fails
    #[arg(long)]
    ignore_errors: bool,
}

/// One log.
struct Log {
    path: String,
    query: Vec<(&'static str, String)>,
    prefix: String,
}

/// Runs `logs`.
///
/// # Errors
/// When there is no such pod or container, or the node refuses.
pub async fn run(args: &LogsArgs, context: &Context) -> Result {
    if args.tail.is_some_and(|lines| lines < -1) {
        return Err(CliError::usage("--tail must be greater than or equal to -1"));
    }
    let node = node::connect().await?;
    let pods = choose_pods(args, context, &node).await?;
    let mut logs = Vec::new();
    for pod in &pods {
        logs.extend(logs_of(pod, args)?);
    }
    if args.follow && logs.len() > args.max_log_requests {
        return Err(CliError::usage(format_args!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to \
             increase the limit",
            logs.len(),
            args.max_log_requests
        )));
    }
    // One after the other keeps each log in one piece; only following needs them side by side.
    let parallel = if args.follow { logs.len().max(1) } else { 1 };
    let mut copies = stream::iter(&logs)
        .map(|log| copy(&node, log))
        .buffer_unordered(parallel);
    let mut failures = Failures::default();
    while let Some(outcome) = copies.next().await {
        match outcome {
            Err(error) if args.ignore_errors => eprintln!("{}", error.message),
            Err(error) => failures.add(error),
            Ok(()) => {}
        }
    }
    failures.into_result()
}

async fn choose_pods(args: &LogsArgs, context: &Context, node: &Node) -> Result<Vec<Value>> {
    if let Some(labels) = &args.labels {
        let query = [("labelSelector", labels.clone())];
        let list = node
            .get(&Resource::collection(pod_kind(), Some(context.namespace())), &query)
            .await?;
        let pods = items_of(list, pod_kind());
        if pods.is_empty() {
            eprintln!("No resources found in {} namespace.", context.namespace());
        }
        return Ok(pods);
    }
    let target = args.target.clone().unwrap_or_default();
    let (kind, name) = Selection::one(&[target], pod_kind())?;
    let found = pods_of(node, kind, context.namespace(), &name).await;
    let mut pods = found.map_err(|error| name_namespace(error, context.namespace()))?;
    if pods.is_empty() {
        return Err(CliError::local(format_args!("{} {name:?} has no pods", kind.singular)));
    }
    if pods.len() > 1 && !args.all_pods {
        eprintln!("Found {} pods, using pod/{}", pods.len(), name_of(&pods[0]));
        pods.truncate(1);
    }
    Ok(pods)
}

/// kubectl's `logs` says of what is not there also where it looked.
fn name_namespace(error: CliError, namespace: &str) -> CliError {
    match error.message.strip_prefix("Error from server (NotFound): ") {
        Some(message) => CliError {
            message: format!("error: error from server (NotFound): {message} in namespace {namespace:?}"),
            ..error
        },
        None => error,
    }
}

fn logs_of(pod: &Value, args: &LogsArgs) -> Result<Vec<Log>> {
    let wanted = args.container.as_deref().or(args.second.as_deref());
    let containers: Vec<String> = if args.all_containers {
        containers_of(pod)
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    } else {
        vec![choose_container(pod, wanted, args.labels.is_some())?]
    };
    let namespace = pod
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let path = Resource::object(pod_kind(), namespace, name_of(pod)).path() + "/log";
    let log = |container: String| Log {
        path: path.clone(),
        prefix: if args.prefix {
            format!("[pod/{}/{container}] ", name_of(pod))
        } else {
            String::new()
        },
        query: query(args, container),
    };
    Ok(containers.into_iter().map(log).collect())
}

fn query(args: &LogsArgs, container: String) -> Vec<(&'static str, String)> {
    // Many pods at once would drown the screen (kubectl's rule).
    let tail = args
        .tail
        .or((args.labels.is_some() && !args.follow).then_some(10))
        .filter(|lines| *lines >= 0);
    let flags = [
        ("follow", args.follow),
        ("previous", args.previous),
        ("timestamps", args.timestamps),
    ];
    let values = [
        ("tailLines", tail.map(|lines| lines.to_string())),
        (
            "sinceSeconds",
            args.since.map(|since| since.as_secs().max(1).to_string()),
        ),
        ("sinceTime", args.since_time.clone()),
        ("limitBytes", args.limit_bytes.map(|bytes| bytes.to_string())),
    ];
    let mut query = vec![("container", container)];
    query.extend(
        flags
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| (name, "true".to_owned())),
    );
    query.extend(values.into_iter().filter_map(|(name, value)| Some((name, value?))));
    query
}

/// Prints the log of one container as it is now.
///
/// # Errors
/// What the node says.
pub async fn print_all(node: &Node, pod: &Resource, container: &str) -> Result {
    let log = Log {
        path: pod.path() + "/log",
        query: vec![("container", container.to_owned())],
        prefix: String::new(),
    };
    copy(node, &log).await
}

/// Whole lines where several logs may mix; else bytes as they come.
async fn copy(node: &Node, log: &Log) -> Result {
    let mut reader = node.stream(&log.path, &log.query).await?;
    if log.prefix.is_empty() {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match reader.read(&mut chunk).await.map_err(lost)? {
                0 => return Ok(()),
                count => write_bytes(&chunk[..count])?,
            }
        }
    }
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.map_err(lost)? > 0 {
        let mut whole = log.prefix.clone().into_bytes();
        whole.append(&mut line);
        write_bytes(&whole)?;
    }
    Ok(())
}

/// Nothing but the node's end breaks an answer off.
fn lost(_: std::io::Error) -> CliError {
    CliError::lost_node()
}

/// What containers write need not be text.
fn write_bytes(bytes: &[u8]) -> Result {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
