//! Connections from within a pod's network: to its loopback, above all. A socket belongs to the network namespace of the thread
//! that made it, whoever uses it afterwards: a thread enters the namespace, makes one socket there and ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::thread::ThreadNameSpaceType;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::record::{PodDir, SandboxRecord, read_json};
use super::spawn::Process;
use crate::net;

/// The thread makes system calls and nothing else.
const STACK: usize = 64 << 10;

/// Connects from within the network namespace of a pod's supervisor, which `dir` is about.
pub(super) async fn connect(process: Arc<Process>, dir: PodDir, address: SocketAddr) -> io::Result<TcpStream> {
    let (answer, answered) = oneshot::channel();
    let thread = move || {
        // Who asked may have given up.
        let _ = answer.send(enter(&process, &dir).and_then(|()| net::tcp_socket(address)));
    };
    let builder = std::thread::Builder::new().name("pod-socket".into()).stack_size(STACK);
    builder.spawn(thread)?;
    let socket = answered.await.map_err(io::Error::other)??;
    net::connect_from(socket, address).await
}

/// Moves this thread into the pod's network. By the pidfd: a pid may name another process by now.
fn enter(process: &Process, dir: &PodDir) -> io::Result<()> {
    let record: Option<SandboxRecord> = read_json(&dir.sandbox());
    if record.is_some_and(|record| record.config.host_network) {
        // It is in the host's network, as the node is; and the host's network may be left, but not entered again.
        return Ok(());
    }
    Ok(rustix::thread::move_into_thread_name_spaces(
        process.pidfd(),
        ThreadNameSpaceType::NETWORK,
    )?)
}
