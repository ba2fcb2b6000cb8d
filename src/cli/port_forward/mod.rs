//! `port-forward`: ports of this machine that lead into a pod, and into the next one when it is replaced.

mod ports;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use clap::Args;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::client::{Node, Resource};
use super::context::{Context, write};
use super::error::{CliError, Result};
use super::node;
use super::pods::{name_of, pod_kind, pods_of};
use super::resource::Selection;
use crate::model::Kind;
use crate::spdy::{self, Headers, Input};
use ports::{Mapping, Port, plan_local, plan_remote};

/// How much is carried at once.
const CHUNK: usize = 32 << 10;

/// Forward local ports to a pod. When the pod is replaced, the next connection goes to its successor.
#[derive(Debug, Args)]
pub struct PortForwardArgs {
    /// A pod, or kind/name of what has pods: deploy/web, svc/web
    #[arg(value_name = "POD | TYPE/NAME")]
    target: String,
    /// Ports: 8080:80, 80, :80 for any free port, or a port's name instead of the last number
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    ports: Vec<Mapping>,
    /// Where to listen, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "localhost", value_parser = addresses, value_name = "ADDRESS")]
    address: Vec<Addresses>,
}

/// What one word of `--address` means: addresses, of which one has to be listened on. So an address that is named has to be had, and of
/// `localhost` only one family.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Addresses(Vec<IpAddr>);

fn addresses(word: &str) -> std::result::Result<Addresses, String> {
    if word == "localhost" {
        return Ok(Addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
    }
    let ip = word.trim_matches(['[', ']']).parse();
    ip.map(|ip| Addresses(vec![ip]))
        .map_err(|_| format!("{word:?} is not a valid IP"))
}

/// What is forwarded to.
struct Target {
    node: Node,
    kind: &'static Kind,
    namespace: String,
    name: String,
    /// The pod to which the last connection went: its name and uid.
    last: Mutex<(String, String)>,
}

/// Runs `port-forward`. It does not end by itself.
///
/// # Errors
/// When there is no such object or port, no pod of it runs, or none of the ports can be listened on; those that can't are told of each.
pub async fn run(args: &PortForwardArgs, context: &Context) -> Result {
    let node = node::connect().await?;
    let (kind, name) = Selection::one(std::slice::from_ref(&args.target), pod_kind())?;
    let target = Arc::new(Target {
        node,
        kind,
        namespace: context.namespace().to_owned(),
        name,
        last: Mutex::default(),
    });
    let (object, pod) = target.resolve().await?;
    let mut listeners = Vec::new();
    for mapping in &args.ports {
        // Wrong ports are told before the first connection.
        plan_remote(&object, &pod, &mapping.remote).map_err(CliError::local)?;
        let own = || plan_local(&object, &pod, &mapping.remote).map_err(CliError::local);
        let local = mapping.local.map_or_else(own, Ok)?;
        let remote = plan_remote(&object, &pod, &mapping.remote).map_err(CliError::local)?;
        match listen(&args.address, local).await {
            Ok(opened) => {
                for listener in opened {
                    write(&format!("Forwarding from {} -> {remote}\n", listener.local_addr()?))?;
                    listeners.push((listener, mapping.remote.clone()));
                }
            }
            Err(why) => eprintln!("Unable to listen on port {local}: {why}"),
        }
    }
    if listeners.is_empty() {
        return Err(CliError::local("unable to listen on any of the requested ports"));
    }
    let mut accepting = JoinSet::new();
    for (listener, port) in listeners {
        accepting.spawn(accept(target.clone(), listener, port));
    }
    while let Some(ended) = accepting.join_next().await {
        ended.map_err(CliError::local)??;
    }
    Ok(())
}

/// Listens on one port of all of the addresses (client-go `PortForwarder.listenOnPort`).
///
/// # Errors
/// When it can't for one of the words; it says so of each address.
async fn listen(words: &[Addresses], port: u16) -> std::result::Result<Vec<TcpListener>, String> {
    let (mut listeners, mut port, mut errors, mut is_missing) = (Vec::new(), port, Vec::new(), false);
    for Addresses(ips) in words {
        for ip in ips {
            if listeners.iter().any(|(of, _)| of == ip) {
                continue;
            }
            let address = SocketAddr::new(*ip, port);
            let bound = TcpListener::bind(address).await;
            match bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener))) {
                Ok((chosen, listener)) => {
                    // The first one chooses for all.
                    port = chosen;
                    listeners.push((*ip, listener));
                }
                Err(error) => errors.push(format!("unable to create listener: Error listen {address}: {error}")),
            }
        }
        let is_there = |ip: &IpAddr| listeners.iter().any(|(of, _)| of == ip);
        is_missing |= !ips.iter().any(is_there);
    }
    if is_missing {
        let errors = errors.join(" ");
        return Err(format!(
            "Listeners failed to create with the following errors: [{errors}]"
        ));
    }
    Ok(listeners.into_iter().map(|(_, listener)| listener).collect())
}

async fn accept(target: Arc<Target>, listener: TcpListener, port: Port) -> Result {
    let local = listener.local_addr()?.port();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                write(&format!("Handling connection for {local}\n"))?;
                let (target, port) = (target.clone(), port.clone());
                connections.spawn(async move {
                    if let Err(error) = forward(&target, &port, stream).await {
                        let message = error.message.trim_start_matches("error: ");
                        eprintln!("error: an error occurred forwarding {local}: {message}");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Target {
    /// The object, and a pod of it that runs.
    ///
    /// # Errors
    /// When it is not there, or nothing of it runs.
    async fn resolve(&self) -> Result<(Value, Value)> {
        let resource = Resource::object(self.kind, &self.namespace, &self.name);
        let mut object = self.node.get(&resource, &[]).await?;
        object["kind"] = self.kind.kind.into();
        let pods = pods_of(&self.node, self.kind, &self.namespace, &self.name).await?;
        let phase = |pod: &Value| {
            pod.pointer("/status/phase")
                .and_then(Value::as_str)
                .unwrap_or("Pending")
                .to_owned()
        };
        let is_leaving = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_some();
        let running = pods.iter().find(|pod| phase(pod) == "Running" && !is_leaving(pod));
        match (running, pods.first()) {
            (Some(pod), _) => Ok((object, pod.clone())),
            (None, Some(pod)) => Err(CliError::local(format_args!(
                "unable to forward port because pod is not running. Current status={}",
                phase(pod)
            ))),
            (None, None) => Err(CliError::local(format_args!(
                "{} {:?} has no pods",
                self.kind.singular, self.name
            ))),
        }
    }

    /// Says so when connections go to another pod than they did.
    fn tell(&self, pod: &Value) {
        let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        let now = (name_of(pod).to_owned(), uid.to_owned());
        let mut last = self.last.lock().expect("nothing panics with it");
        if !last.1.is_empty() && *last != now {
            eprintln!("pod/{} is gone, forwarding to pod/{}", last.0, now.0);
        }
        *last = now;
    }
}

/// One connection: to the pod that runs now.
async fn forward(target: &Target, port: &Port, local: TcpStream) -> Result {
    let (object, pod) = target.resolve().await?;
    target.tell(&pod);
    let port = plan_remote(&object, &pod, port).map_err(CliError::local)?;
    let pod = Resource::object(pod_kind(), &target.namespace, name_of(&pod));
    let path = format!("{}/portforward", pod.path());
    let upgraded = target.node.upgrade(&path, "SPDY/3.1", "portforward.k8s.io").await?;
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let (client, connection) = spdy::connect(reader, writer);
    let mut connection = std::pin::pin!(connection);
    let carried = tokio::select! {
        ended = &mut connection => return Err(CliError::local(match ended {
            Err(error) => error.to_string(),
            Ok(()) => "lost connection to pod".to_owned(),
        })),
        carried = carry(client, port, local) => carried,
    };
    // Whatever is left to say is for a node that may be gone by now.
    let _ = connection.await;
    carried
}

/// Carries data both ways until the pod's side has ended or this one is gone.
async fn carry(client: spdy::Client, port: u16, local: TcpStream) -> Result {
    let port = port.to_string();
    let headers = |kind| Headers::new([("streamtype", kind), ("port", port.as_str()), ("requestid", "0")]);
    let error = client.open(headers("error"), true).await.map_err(CliError::local)?;
    let data = client.open(headers("data"), false).await.map_err(CliError::local)?;
    let (mut from_local, mut to_local) = local.into_split();
    let (output, mut input) = (data.output, data.input);
    let up = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_local.read(&mut buffer).await {
            output.send(&buffer[..count]).await;
        }
        output.finish().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        while let Some(Ok(bytes)) = input.recv().await {
            if to_local.write_all(&bytes).await.is_err() {
                return false;
            }
        }
        // Who has closed already needs no telling.
        let _ = to_local.shutdown().await;
        true
    };
    let has_ended = tokio::select! {
        () = up => false,
        has_ended = down => has_ended,
    };
    // Only a stream that the pod's side ended has said all that it had to.
    match has_ended {
        true => told(error.input).await,
        false => Ok(()),
    }
}

/// What the node says of a connection that could not be made.
async fn told(mut input: Input) -> Result {
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = input.recv().await {
        text.extend_from_slice(&bytes);
    }
    match text.as_slice() {
        [] => Ok(()),
        text => Err(CliError::local(String::from_utf8_lossy(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_that_is_named_has_to_be_had_and_of_localhost_one() {
        let words = |text: &str| -> Vec<Addresses> {
            let words = text.split(',').map(addresses);
            words.collect::<std::result::Result<_, _>>().expect("are addresses")
        };
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = taken.local_addr().expect("is bound").port();
        let why = listen(&words("127.0.0.1"), port).await.expect_err("is taken");
        assert!(
            why.starts_with("Listeners failed to create") && why.contains(&format!("127.0.0.1:{port}")),
            "{why}"
        );
        // 192.0.2.0/24 is nobody's (RFC 5737).
        let why = listen(&words("127.0.0.1,192.0.2.1"), 0)
            .await
            .expect_err("the second is not here");
        assert!(why.contains("192.0.2.1"), "{why}");
        let opened = listen(&words("127.0.0.1"), 0).await.expect("is free");
        assert_eq!(opened.len(), 1);
        assert!(
            !listen(&words("localhost"), 0)
                .await
                .expect("one of them is there")
                .is_empty()
        );
    }
}
