//! Connections into a pod's own network, for pods that only have their loopback. A socket belongs to the network namespace of the thread
//! that made it, whoever uses it afterwards: a thread enters the namespace, makes one socket there and ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::thread::ThreadNameSpaceType;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::spawn::Process;
use crate::net;

/// The thread makes system calls and nothing else.
const STACK: usize = 64 << 10;

/// Connects from within the network namespace of a pod's supervisor.
pub(super) async fn connect(process: Arc<Process>, address: SocketAddr) -> io::Result<TcpStream> {
    let (answer, answered) = oneshot::channel();
    let thread = move || {
        // Who asked may have given up.
        let _ = answer.send(enter(&process).and_then(|()| net::tcp_socket(address)));
    };
    let builder = std::thread::Builder::new().name("pod-socket".into()).stack_size(STACK);
    builder.spawn(thread)?;
    let socket = answered.await.map_err(io::Error::other)??;
    net::connect_from(socket, address).await
}

/// Moves this thread into the pod's network. By the pidfd: a pid may name another process by now.
fn enter(process: &Process) -> io::Result<()> {
    Ok(rustix::thread::move_into_thread_name_spaces(
        process.pidfd(),
        ThreadNameSpaceType::NETWORK,
    )?)
}
