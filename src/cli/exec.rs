//! `exec`: a command in a running container; its exit code becomes ours.

use std::path::PathBuf;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;

use super::client::Resource;
use super::context::Context;
use super::error::{CliError, Result};
use super::files::Files;
use super::node;
use super::pods::{choose_container, name_of, pod_kind, pod_of};
use super::resource::Selection;
use super::session::{self, Streams};

/// Run a command in a container.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// A pod, or kind/name of what has pods
    #[arg(value_name = "POD | TYPE/NAME", required_unless_present = "filename")]
    target: Option<String>,
    /// The pod, or what has pods, that stands in this file
    #[arg(short, long, value_name = "PATH|-", conflicts_with = "target")]
    filename: Option<PathBuf>,
    #[command(flatten)]
    session: SessionArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What `exec` and `attach` have in common.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// The container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Say only what the process says
    #[arg(short, long)]
    pub quiet: bool,
}

/// Runs `exec`.
///
/// # Errors
/// When there is no such pod or container, or the command ends with another code than 0.
pub async fn run(args: &ExecArgs, context: &Context) -> Result {
    let target = target(args, context)?;
    let (namespace, name) = (
        target.namespace.as_deref().unwrap_or_default(),
        target.name.as_deref().unwrap_or_default(),
    );
    let node = node::connect().await?;
    let pod = pod_of(&node, target.kind, namespace, name).await?;
    refuse_ended(&pod, "exec")?;
    let container = choose_container(&pod, args.session.container.as_deref(), args.session.quiet);
    let container = container.map_err(as_of_server)?;
    let streams = Streams::from_flags(args.session.stdin, args.session.tty);
    let pods: Api<Pod> = Api::namespaced(node.client(), namespace);
    let process = pods
        .exec(name_of(&pod), &args.command, &streams.params(&container))
        .await?;
    session::interact(process, streams).await
}

/// What is named, on the command line or by a file.
fn target(args: &ExecArgs, context: &Context) -> Result<Resource> {
    let Some(file) = &args.filename else {
        let named: Vec<String> = args.target.iter().cloned().collect();
        let (kind, name) = Selection::one(&named, pod_kind())?;
        return Ok(Resource::object(kind, context.namespace(), &name));
    };
    match Files::of_path(file, false).read_refs(context.namespace())?.as_slice() {
        [(resource, _)] => Ok(resource.clone()),
        all => Err(CliError::usage(format_args!(
            "{}: one object is to be named, and {} stand there",
            file.display(),
            all.len()
        ))),
    }
}

/// What of kubectl only the server refuses, in its words.
pub fn as_of_server(error: CliError) -> CliError {
    match error.message.strip_prefix("error: ") {
        Some(message) => CliError {
            message: format!("Error from server (BadRequest): {message}"),
            ..error
        },
        None => error,
    }
}

/// # Errors
/// When the pod has come to its end: nothing runs in it any more.
pub fn refuse_ended(pod: &Value, verb: &str) -> Result {
    match pod.pointer("/status/phase").and_then(Value::as_str) {
        Some(phase @ ("Succeeded" | "Failed")) => Err(CliError::usage(format_args!(
            "cannot {verb} into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(()),
    }
}
