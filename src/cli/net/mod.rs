//! `net`: how the node's network is wired, and why one thing in it reaches another or does not.
//!
//! Both are read from the API's objects, of which the node makes its rules: what is shown here is pure.

mod answer;
mod names;
#[cfg(test)]
mod tests;
mod trace;
mod wiring;

use std::net::IpAddr;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::client::{Node, Resource, items_of};
use super::context::{Context, write};
use super::error::{CliError, ErrorKind, Result};
use super::node;
use crate::api::own::{NodeStatus, path};
use crate::model::{Family, Object, PodIps, kind, list_at, pod_ips, text_at};
use crate::policy::Facts;

/// Show the pods' network: addresses, Services, ports, policies, and ways out.
#[derive(Debug, Args)]
pub struct NetArgs {
    #[command(subcommand)]
    verb: Option<NetVerb>,
}

#[derive(Debug, Subcommand)]
enum NetVerb {
    Trace(TraceArgs),
}

/// Say why a pod reaches something, or does not: names, Services, policies, ways out.
#[derive(Debug, Args)]
struct TraceArgs {
    /// The pod that connects: [NAMESPACE/]POD
    from: String,
    /// What it connects to: a pod, a Service or their names as in DNS (svc/web, pod/web, web.shop, db-0.db), or an address; with its port by number or name, which may end in /udp
    #[arg(value_name = "TO[:PORT]")]
    to: String,
    /// Datagrams instead of a connection
    #[arg(long)]
    udp: bool,
}

/// Everything that there is to look at.
#[derive(Debug, Default)]
struct World {
    pods: Vec<Object>,
    namespaces: Vec<Object>,
    services: Vec<Object>,
    slices: Vec<Object>,
    policies: Vec<Object>,
    ingresses: Vec<Object>,
    nodes: Vec<Object>,
    /// Whether pods reach the host's loopback.
    host_loopback: bool,
}

/// Runs `net`.
///
/// # Errors
/// When the node refuses, or what is traced is not there. What can't connect is exit code 1.
pub async fn run(args: &NetArgs, context: &Context) -> Result {
    let node = node::connect().await?;
    let status: NodeStatus = node.own(Method::GET, path::STATUS, &[], None::<&()>).await?;
    let world = World::read(&node, &status).await?;
    match &args.verb {
        None => write(&wiring::show(&world, &status)),
        Some(NetVerb::Trace(args)) => {
            let asked = trace::Asked {
                from: &args.from,
                to: &args.to,
                is_udp: args.udp,
                namespace: context.namespace(),
            };
            let traced = trace::trace(&world, &asked).map_err(|why| CliError::new(ErrorKind::Usage, why))?;
            write(&traced.text())?;
            match traced.reach {
                answer::Reach::All | answer::Reach::Some { .. } => Ok(()),
                answer::Reach::None => Err(CliError::silent(ErrorKind::NotReached)),
            }
        }
    }
}

impl World {
    async fn read(node: &Node, status: &NodeStatus) -> Result<World> {
        let networking = "networking.k8s.io/v1";
        Ok(World {
            pods: list(node, "v1", "Pod").await?,
            namespaces: list(node, "v1", "Namespace").await?,
            services: list(node, "v1", "Service").await?,
            slices: list(node, "discovery.k8s.io/v1", "EndpointSlice").await?,
            policies: list(node, networking, "NetworkPolicy").await?,
            ingresses: list(node, networking, "Ingress").await?,
            nodes: list(node, "v1", "Node").await?,
            host_loopback: status.host_loopback,
        })
    }

    /// What policies decide by; there are none while nobody enforces them.
    fn facts(&self) -> Facts {
        let pods = self.pods.iter().map(|pod| (pod, ips_of(pod)));
        let policies = if self.carried().is_some() {
            &[]
        } else {
            &self.policies[..]
        };
        Facts::read(pods, &self.namespaces, policies)
    }

    /// What the node says of ways out: whether there are any, and in words.
    fn ways_out(&self) -> (bool, &str) {
        self.condition("EgressReady")
            .map_or((false, "the node does not say"), |condition| {
                (condition["status"] == "True", text_at(condition, "/message"))
            })
    }

    /// The families of addresses that pods have.
    fn families(&self) -> &'static [Family] {
        let mut ranges = self
            .nodes
            .iter()
            .flat_map(|node| list_at(node.value(), "/spec/podCIDRs"));
        let is_dual = ranges.any(|range| range.as_str().is_some_and(|range| range.contains(':')));
        &Family::BOTH[..1 + usize::from(is_dual)]
    }

    /// What the node says where its own proxy serves Services.
    fn carried(&self) -> Option<&str> {
        let condition = self.condition("ServiceRules")?;
        (condition["status"] == "False").then(|| text_at(condition, "/message"))
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        let mut conditions = self
            .nodes
            .iter()
            .flat_map(|node| list_at(node.value(), "/status/conditions"));
        conditions.find(|condition| condition["type"] == kind)
    }
}

async fn list(node: &Node, api_version: &str, name: &str) -> Result<Vec<Object>> {
    let kind = kind(api_version, name).expect("in the table");
    let items = items_of(node.get(&Resource::collection(kind, None), &[]).await?, kind);
    Ok(items.into_iter().filter_map(Object::new).collect())
}

/// A pod's addresses in the pods' network.
fn ips_of(pod: &Object) -> Option<PodIps> {
    let is_on_host = pod
        .at("/spec/hostNetwork")
        .is_some_and(|value| *value == Value::Bool(true));
    let first = pod.text("/status/podIP").parse().ok().filter(|_| !is_on_host)?;
    let second = pod_ips(pod).find_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(ip),
    });
    Some(PodIps { first, second })
}
