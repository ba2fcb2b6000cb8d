//! `stop`: ends the node. Pods run on unless they are to stop too.

use std::time::Duration;

use clap::Args;
use http::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::context::{parse_duration, write};
use super::error::{CliError, ErrorKind, Result};
use super::node;
use crate::api::own::{self, NodeStatus, StopRequest};
use crate::model::Paths;
use crate::runtime::native::find_supervisor;

/// Stop the node. Containers run on, and the next node adopts them, unless --pods is given.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Stop all pods first, gracefully
    #[arg(long)]
    pods: bool,
    /// How long to wait for the end
    #[arg(long, default_value = "2m", value_parser = parse_duration)]
    timeout: Duration,
}

/// Runs `stop`.
///
/// # Errors
/// When the node does not end in time.
pub async fn run(args: &StopArgs) -> Result {
    let node = match node::connect_running()? {
        Some(node) => node,
        None => {
            let is_pod_running = find_supervisor(&Paths::discover()?.pods).is_some();
            if !(is_pod_running && args.pods) {
                write("kubelocal is not running\n")?;
                if is_pod_running {
                    tell_of_pods("pods run");
                }
                return Ok(());
            }
            // How a pod is to end stands in its object, which only a node reads.
            node::connect().await?
        }
    };
    let status: NodeStatus = node.own(Method::GET, own::path::STATUS, &[], None::<&()>).await?;
    // The descriptor is taken before the node is asked to go, so that it can't be another process with the same number.
    let process = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let request = StopRequest { pods: args.pods };
    let _: Value = node.own(Method::POST, own::path::STOP, &[], Some(&request)).await?;
    if let Some(process) = process {
        let seconds = i64::try_from(args.timeout.as_secs()).unwrap_or(i64::MAX);
        let limit = Timespec {
            tv_sec: seconds,
            tv_nsec: args.timeout.subsec_nanos().into(),
        };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)).map_err(std::io::Error::from)?;
        if ended == 0 {
            return Err(CliError::new(
                ErrorKind::NotReached,
                format_args!(
                    "the node (pid {}) did not end within {} s",
                    status.pid,
                    args.timeout.as_secs()
                ),
            ));
        }
    }
    write("stopped\n")?;
    if !args.pods && status.running_pods > 0 {
        let pods = if status.running_pods == 1 {
            "1 pod runs".to_owned()
        } else {
            format!("{} pods run", status.running_pods)
        };
        tell_of_pods(&pods);
    }
    Ok(())
}

fn tell_of_pods(run: &str) {
    eprintln!("{run} on without the node; `kubelocal stop --pods` stops them too");
}
