//! `debug`: one more container in a pod that runs, to look around in it.

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::client::{Node, Resource};
use super::context::Context;
use super::error::{CliError, Result};
use super::exec::refuse_ended;
use super::pods::{containers_of, name_of, pod_kind, pod_of};
use super::resource::Selection;
use super::session::{self, Streams};
use super::{follow, logs, node};
use crate::model::names;

/// Add a container to a running pod, to look around in it.
#[derive(Debug, Args)]
pub struct DebugArgs {
    /// A pod, or kind/name of what has pods
    #[arg(value_name = "POD | TYPE/NAME")]
    target: String,
    /// The image of the new container
    #[arg(long)]
    image: String,
    /// See the processes of this container of the pod
    #[arg(long = "target", value_name = "CONTAINER")]
    target_container: Option<String>,
    /// The name of the new container; one is chosen if there is none
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Join its streams even without -i
    #[arg(long)]
    attach: bool,
    /// Environment variables of the new container
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// Say only what the process says
    #[arg(short, long)]
    quiet: bool,
    /// The command and its arguments instead of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs `debug`.
///
/// # Errors
/// When there is no such pod, the container is refused, or it ends with another code than 0.
pub async fn run(args: &DebugArgs, context: &Context) -> Result {
    let node = node::connect().await?;
    let (kind, name) = Selection::one(std::slice::from_ref(&args.target), pod_kind())?;
    let pod = pod_of(&node, kind, context.namespace(), &name).await?;
    refuse_ended(&pod, "debug")?;
    let streams = Streams::from_flags(args.stdin, args.tty);
    let container = container_name(args, &pod);
    let spec = plan_container(args, &container, streams);
    let pods: Api<Pod> = Api::namespaced(node.client(), context.namespace());
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": [spec]}}));
    pods.patch_ephemeral_containers(name_of(&pod), &PatchParams::default(), &patch)
        .await?;
    if !args.stdin && !args.attach {
        return Ok(());
    }
    let place = Resource::object(pod_kind(), context.namespace(), name_of(&pod));
    match started(&node, &place, &container).await? {
        Started::Runs => {
            if streams.tty && !args.quiet {
                eprintln!("If you don't see a command prompt, try pressing enter.");
            }
            match pods.attach(name_of(&pod), &streams.params(&container)).await {
                Ok(process) => session::interact(process, streams).await,
                // It has ended meanwhile, which its log survives.
                Err(error) => {
                    eprintln!(
                        "warning: couldn't attach to pod/{}, falling back to its log: {error}",
                        name_of(&pod)
                    );
                    logs::print_all(&node, &place, &container).await
                }
            }
        }
        Started::Ended => logs::print_all(&node, &place, &container).await,
    }
}

/// The name that is wanted, or a new one.
fn container_name(args: &DebugArgs, pod: &Value) -> String {
    if let Some(name) = &args.container {
        return name.clone();
    }
    let taken = containers_of(pod);
    let mut name = format!("debugger-{}", names::random_suffix());
    while taken.iter().any(|(taken, _)| *taken == name) {
        name = format!("debugger-{}", names::random_suffix());
    }
    if !args.quiet {
        eprintln!("Defaulting debug container name to {name}.");
    }
    name
}

/// The container as it is asked for. What is not said is left to the image and the node.
fn plan_container(args: &DebugArgs, name: &str, streams: Streams) -> Value {
    let mut spec = json!({"name": name, "image": args.image, "terminationMessagePolicy": "File"});
    let mut set = |field: &str, value: Value| spec[field] = value;
    if streams.stdin {
        set("stdin", true.into());
        // What comes from a pipe has an end, which the process sees.
        set("stdinOnce", (!streams.tty).into());
    }
    if streams.tty {
        set("tty", true.into());
    }
    if let Some(target) = &args.target_container {
        set("targetContainerName", target.as_str().into());
    }
    if let Some(policy) = &args.image_pull_policy {
        set("imagePullPolicy", policy.as_str().into());
    }
    if !args.command.is_empty() {
        set("command", json!(args.command));
    }
    if !args.env.is_empty() {
        let variable = |(name, value): &(String, String)| json!({"name": name, "value": value});
        set("env", args.env.iter().map(variable).collect());
    }
    spec
}

/// How far the container has come.
#[derive(Debug, PartialEq, Eq)]
enum Started {
    Runs,
    /// It was faster than we are.
    Ended,
}

/// Waits until the container runs or has run; says on standard error what keeps it waiting.
async fn started(node: &Node, pod: &Resource, container: &str) -> Result<Started> {
    let mut told = String::new();
    let outcome = follow::until(node, pod, |found| {
        let Some(pod) = found else {
            return Some(Err(CliError::local("the pod is gone")));
        };
        let state = state_of(pod, container)?;
        if state.get("running").is_some() {
            return Some(Ok(Started::Runs));
        }
        if state.get("terminated").is_some() {
            return Some(Ok(Started::Ended));
        }
        let word = |field: &str| state.pointer(field).and_then(Value::as_str).unwrap_or_default();
        let message = word("/waiting/message");
        if !message.is_empty() && message != told {
            eprintln!("Warning: container {container}: {}: {message}", word("/waiting/reason"));
            told = message.to_owned();
        }
        None
    });
    outcome.await?
}

fn state_of<'p>(pod: &'p Value, container: &str) -> Option<&'p Value> {
    let statuses = pod.pointer("/status/ephemeralContainerStatuses")?.as_array()?;
    let own = statuses
        .iter()
        .find(|s| s.get("name").is_some_and(|name| name == container));
    own?.get("state")
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
