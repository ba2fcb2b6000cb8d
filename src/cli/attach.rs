//! `attach`: joins the streams of a container's own process.

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;

use super::context::Context;
use super::error::Result;
use super::exec::{SessionArgs, refuse_ended};
use super::node;
use super::pods::{choose_container, name_of, pod_kind, pod_of};
use super::resource::Selection;
use super::session::{self, Streams};

/// Join the streams of a running container.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// A pod, or kind/name of what has pods
    #[arg(value_name = "POD | TYPE/NAME")]
    target: String,
    #[command(flatten)]
    session: SessionArgs,
}

/// Runs `attach`.
///
/// # Errors
/// When there is no such pod or container, or it ends with another code than 0.
pub async fn run(args: &AttachArgs, context: &Context) -> Result {
    let node = node::connect().await?;
    let (kind, name) = Selection::one(std::slice::from_ref(&args.target), pod_kind())?;
    let pod = pod_of(&node, kind, context.namespace(), &name).await?;
    refuse_ended(&pod, "attach")?;
    let container = choose_container(&pod, args.session.container.as_deref(), args.session.quiet)?;
    let mut streams = Streams::from_flags(args.session.stdin, args.session.tty);
    if streams.tty && !has_tty(&pod, &container) {
        eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
        streams.tty = false;
    }
    if streams.tty && !args.session.quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let pods: Api<Pod> = Api::namespaced(node.client(), context.namespace());
    let process = pods.attach(name_of(&pod), &streams.params(&container)).await?;
    session::interact(process, streams).await
}

fn has_tty(pod: &Value, container: &str) -> bool {
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    let mut all = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    all.any(|c| c.get("name").is_some_and(|name| name == container) && c.get("tty") == Some(&Value::Bool(true)))
}
