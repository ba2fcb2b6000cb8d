//! Bytes between two connections, both ways, until both have said that they are done.
//!
//! A connection that is silent holds no memory of ours: a chunk lives from the read to the last write of it. One that carries much goes through
//! a pipe in the kernel instead, at twice the throughput. Pipes are lent for one chunk, and there are so many only: whoever finds none
//! is copied, so that clients that never read can't slow the others down further than that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::net::{Shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What is copied at once.
const CHUNK: usize = 16 << 10;
/// From here on a direction is worth a pipe.
const BULK: usize = 128 << 10;
/// How much a pipe holds. Users may have 64 MiB in pipes (`fs.pipe-user-pages-soft`); all of ours are a quarter of it.
const PIPE: usize = 256 << 10;
const PIPES: usize = 64;
/// A silent connection is asked whether it lives after so long, and then so often.
const SILENCE: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_secs(15);
const QUESTIONS: u32 = 4;
/// How many are kept while nobody uses them; they hold nothing then.
const KEPT: usize = 4;

/// Carries bytes until both sides have ended. An error of one side is an error to the other.
pub async fn relay(client: &TcpStream, pod: &TcpStream) {
    let carried = async { tokio::try_join!(pump(client, pod), pump(pod, client)).is_ok() };
    let is_well = tokio::select! {
        is_well = carried => is_well,
        // One who has said all may go without a word more: the other would be waited for in vain.
        () = broken(client) => false,
        () = broken(pod) => false,
    };
    if !is_well {
        abort(client);
        abort(pod);
    }
}

/// Waits until a connection is no more, in either direction.
async fn broken(stream: &TcpStream) {
    loop {
        match stream.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Makes the end of a connection a reset: what was sent is not known to have arrived.
pub fn abort(stream: &TcpStream) {
    // One that is gone can't be aborted, and need not.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Small answers leave at once, and whoever vanishes without a word is noticed within two minutes.
pub fn tune(stream: &TcpStream) {
    let set = || -> rustix::io::Result<()> {
        sockopt::set_tcp_nodelay(stream, true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, SILENCE)?;
        sockopt::set_tcp_keepintvl(stream, BETWEEN)?;
        sockopt::set_tcp_keepcnt(stream, QUESTIONS)
    };
    // A connection that is gone already says so when it is used.
    let _ = set();
}

async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut carried = 0_usize;
    loop {
        from.readable().await?;
        let pipe = if carried >= BULK { Pipe::lend() } else { None };
        let moved = match pipe {
            Some(pipe) => splice(from, to, pipe).await?,
            None => copy(from, to).await?,
        };
        match moved {
            // Nothing to read after all.
            None => {}
            Some(0) => break,
            Some(more) => carried = carried.saturating_add(more),
        }
    }
    match rustix::net::shutdown(to, Shutdown::Write) {
        // The other side has gone altogether.
        Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<Option<usize>> {
    let mut chunk = vec![0; CHUNK];
    let length = match from.try_read(&mut chunk) {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut rest = &chunk[..length];
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let kept = rest.to_vec();
                return write_all(to, kept).await.map(|()| Some(length));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(length))
}

/// The slow way, for a peer that does not keep up: holds what is left and no more.
async fn write_all(to: &TcpStream, kept: Vec<u8>) -> io::Result<()> {
    let mut rest = &kept[..];
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn splice(from: &TcpStream, to: &TcpStream, mut pipe: Lent) -> io::Result<Option<usize>> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let fill = || Ok(rustix::pipe::splice(from, None, pipe.inlet(), None, PIPE, flags)?);
    // The pipe is empty, so that would-block means the socket.
    let length = match from.try_io(Interest::READABLE, fill) {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    pipe.held = length;
    while pipe.held > 0 {
        let drain = || Ok(rustix::pipe::splice(pipe.outlet(), None, to, None, pipe.held, flags)?);
        match to.try_io(Interest::WRITABLE, drain) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => pipe.held -= written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(length))
}

/// The pipes of the process: its user has so much of them, whoever asks.
struct Pipes {
    // Held to take one or to put it back.
    idle: Mutex<Vec<Pipe>>,
    lent: Semaphore,
}

fn pipes() -> &'static Pipes {
    static PIPES_OF_ALL: OnceLock<Pipes> = OnceLock::new();
    PIPES_OF_ALL.get_or_init(|| Pipes {
        idle: Mutex::default(),
        lent: Semaphore::new(PIPES),
    })
}

/// An empty pipe.
struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
}

impl Pipe {
    /// `None` if too many are lent, or the system gives none.
    fn lend() -> Option<Lent> {
        let permit = pipes().lent.try_acquire().ok()?;
        let idle = pipes().idle.lock().expect("nothing panics while it holds pipes").pop();
        let pipe = idle.or_else(Pipe::make)?;
        Some(Lent {
            pipe: Some(pipe),
            held: 0,
            _permit: permit,
        })
    }

    fn make() -> Option<Pipe> {
        let (outlet, inlet) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller one does as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&inlet, PIPE);
        Some(Pipe { outlet, inlet })
    }
}

/// A pipe in use; one that still holds something when it is dropped goes, and what it holds with it.
struct Lent {
    pipe: Option<Pipe>,
    held: usize,
    _permit: SemaphorePermit<'static>,
}

impl Lent {
    fn inlet(&self) -> impl AsFd {
        &self.pipe.as_ref().expect("it is there until the drop").inlet
    }

    fn outlet(&self) -> impl AsFd {
        &self.pipe.as_ref().expect("it is there until the drop").outlet
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = pipes().idle.lock().expect("nothing panics while it holds pipes");
        if self.held == 0 && idle.len() < KEPT {
            idle.extend(self.pipe.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connects"), far.expect("accepts").0)
    }

    /// A client, a pod, and the relay between them.
    async fn relayed() -> (TcpStream, TcpStream, tokio::task::JoinHandle<()>) {
        let ((client, outer), (inner, pod)) = (pair().await, pair().await);
        let task = tokio::spawn(async move { relay(&outer, &inner).await });
        (client, pod, task)
    }

    #[tokio::test]
    async fn a_side_that_has_said_all_still_hears_the_other() {
        let (mut client, mut pod, task) = relayed().await;
        client.write_all(b"question").await.expect("sends");
        client.shutdown().await.expect("ends its half");
        let mut heard = String::new();
        pod.read_to_string(&mut heard).await.expect("hears all");
        assert_eq!(heard, "question");
        pod.write_all(b"answer").await.expect("sends");
        drop(pod);
        heard.clear();
        client.read_to_string(&mut heard).await.expect("hears all");
        assert_eq!(heard, "answer");
        task.await.expect("the relay ends");
    }

    #[tokio::test]
    async fn much_goes_both_ways_at_once_and_arrives_as_it_was() {
        let (client, pod, task) = relayed().await;
        let text: Vec<u8> = (0..5_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let send = |mut half: tokio::net::tcp::OwnedWriteHalf, text: Vec<u8>| {
            tokio::spawn(async move { half.write_all(&text).await })
        };
        let ((mut client, to_pod), (mut pod, to_client)) = (client.into_split(), pod.into_split());
        let sent = (send(to_pod, text.clone()), send(to_client, text.clone()));
        let (mut at_pod, mut at_client) = (Vec::new(), Vec::new());
        let (a, b) = tokio::join!(pod.read_to_end(&mut at_pod), client.read_to_end(&mut at_client));
        a.and(b).expect("all is read");
        assert!(at_pod == text && at_client == text);
        sent.0.await.and(sent.1.await).expect("both end").expect("all was sent");
        task.await.expect("the relay ends");
    }

    #[tokio::test]
    async fn a_reset_of_one_side_is_a_reset_to_the_other() {
        let (mut client, pod, task) = relayed().await;
        abort(&pod);
        drop(pod);
        let error = client.read_u8().await.expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        task.await.expect("the relay ends");
    }

    #[tokio::test]
    async fn one_that_has_said_all_and_vanishes_is_not_waited_for() {
        let (mut client, mut pod, task) = relayed().await;
        client.shutdown().await.expect("ends its half");
        assert_eq!(pod.read(&mut [0]).await.expect("hears the end"), 0);
        abort(&client);
        drop(client);
        task.await.expect("the relay ends, though the pod has said nothing");
    }

    #[tokio::test]
    async fn clients_that_never_read_take_all_pipes_and_others_go_on() {
        let mut stuck = Vec::new();
        for _ in 0..PIPES + 2 {
            let (client, pod, task) = relayed().await;
            let writer = tokio::spawn(async move {
                let mut pod = pod;
                // Until both buffers are full, and the relay holds what it holds.
                let _ = pod.write_all(&vec![7; 64 << 20]).await;
            });
            stuck.push((client, task, writer));
        }
        let (mut client, mut pod, task) = relayed().await;
        let text = vec![9; 3 << 20];
        let sent = text.clone();
        let writer = tokio::spawn(async move { pod.write_all(&sent).await });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("reads");
        writer.await.expect("ends").expect("all is sent");
        assert!(heard == text);
        drop(client);
        task.await.expect("the relay ends");
        for (client, task, writer) in stuck {
            drop(client);
            task.await.expect("it ends with its client");
            writer.await.expect("and so does the pod's side");
        }
    }
}
