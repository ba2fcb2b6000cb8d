//! Connections into pods' networks. A socket belongs to the network namespace of the thread that made it, whoever uses it
//! afterwards: one thread enters the namespaces of pods and makes sockets there, and the async runtime connects them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::ThreadNameSpaceType;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::spawn::Process;

/// The thread makes system calls and nothing else.
const STACK: usize = 64 << 10;

/// Wants a socket in the network of this process.
struct Ask {
    process: Arc<Process>,
    family: AddressFamily,
    answer: oneshot::Sender<io::Result<OwnedFd>>,
}

/// The way in. Its thread starts with the first connection and ends with this.
#[derive(Default)]
pub(super) struct Door {
    // Held to send and to start the thread, never across an await.
    thread: Mutex<Option<mpsc::Sender<Ask>>>,
}

impl Door {
    /// Connects from within the network namespace of a pod's supervisor.
    pub async fn connect(&self, process: Arc<Process>, address: SocketAddr) -> io::Result<TcpStream> {
        let family = if address.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        // With the host's network there is nothing to enter, and no right to: the namespace is the machine's.
        let socket = if is_ours(&process)? {
            socket(family)?
        } else {
            self.socket_in(process, family).await?
        };
        TcpSocket::from_std_stream(StdStream::from(socket))
            .connect(address)
            .await
    }

    async fn socket_in(&self, process: Arc<Process>, family: AddressFamily) -> io::Result<OwnedFd> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask {
            process,
            family,
            answer,
        })?;
        answered.await.map_err(io::Error::other)?
    }

    fn ask(&self, ask: Ask) -> io::Result<()> {
        let mut thread = self.thread.lock().expect("nothing panics while it holds the sender");
        if thread.is_none() {
            let (sender, asked) = mpsc::channel();
            let builder = std::thread::Builder::new().name("pod-sockets".into()).stack_size(STACK);
            builder.spawn(move || serve(&asked))?;
            *thread = Some(sender);
        }
        let sender = thread.as_ref().expect("it was started above");
        sender.send(ask).map_err(|_| io::Error::other("the thread has ended"))
    }
}

fn serve(asked: &mpsc::Receiver<Ask>) {
    while let Ok(ask) = asked.recv() {
        // Who asked may have given up.
        let _ = ask.answer.send(enter(&ask.process).and_then(|()| socket(ask.family)));
    }
}

/// Moves this thread into the pod's network. By the pidfd: a pid may name another process by now.
fn enter(process: &Process) -> io::Result<()> {
    Ok(rustix::thread::move_into_thread_name_spaces(
        process.pidfd(),
        ThreadNameSpaceType::NETWORK,
    )?)
}

fn is_ours(process: &Process) -> io::Result<bool> {
    // `self` is the main thread, which never leaves.
    let ours = fs::read_link("/proc/self/ns/net")?;
    Ok(fs::read_link(format!("/proc/{}/ns/net", process.pid()))? == ours)
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}
