//! Finding the node, and starting it in the background where none runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Node;
use super::error::{CliError, ErrorKind, Result};
use crate::model::Paths;
use crate::os::SocketPath;

/// A node promises its API within 50 ms; a loaded machine or a store to repair gets two hundred times that.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The node, started if none runs.
///
/// # Errors
/// When it does not come up; the message names its log and what stands last in it.
pub async fn connect() -> Result<Node> {
    let paths = Paths::discover()?;
    if !is_answering(&paths)? {
        start(&paths).await?;
    }
    Ok(Node::at(&paths.api_socket))
}

/// The node, if one runs.
///
/// # Errors
/// When what stands in the place of its socket is not ours.
pub fn connect_running() -> Result<Option<Node>> {
    let paths = Paths::discover()?;
    Ok(is_answering(&paths)?.then(|| Node::at(&paths.api_socket)))
}

/// Whether the node that ran was told to end: it then takes its socket with it, which one that is killed leaves behind.
///
/// # Errors
/// When the place of the socket is not known.
pub fn was_stopped() -> Result<bool> {
    Ok(!Paths::discover()?.api_socket.exists())
}

/// Whether somebody answers on the socket. A socket in a directory that others can write is refused: it may be anybody's.
fn is_answering(paths: &Paths) -> Result<bool> {
    match paths.check_run_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        checked => checked?,
    }
    let connected = SocketPath::of(&paths.api_socket).and_then(|socket| UnixStream::connect(socket.path()));
    Ok(connected.is_ok_and(|socket| ask_alive(socket).is_ok()))
}

/// One question, because connecting tells too little: the kernel accepts for a process that is being killed.
fn ask_alive(mut socket: UnixStream) -> std::io::Result<()> {
    socket.set_read_timeout(Some(START_DEADLINE))?;
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status_line = [0; b"HTTP/1.1 200".len()];
    socket.read_exact(&mut status_line)
}

async fn start(paths: &Paths) -> Result {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.home);
    made.map_err(|error| CliError::local(format_args!("{}: {error}", paths.home.display())))?;
    paths.ensure_run_dir()?;
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .read(true)
        .mode(0o600)
        .open(&paths.log);
    let mut log = log.map_err(|error| CliError::local(format_args!("{}: {error}", paths.log.display())))?;
    let log_start = log.seek(SeekFrom::End(0))?;
    if let Err(why) = wait_until_answering(paths, &log).await? {
        let mut tail = String::new();
        log.seek(SeekFrom::Start(log_start))?;
        // A log that is not text says nothing to people; the path below still leads to it.
        let _ = log.read_to_string(&mut tail);
        let said = last_lines(&tail, 5);
        let error = CliError::new(ErrorKind::NoNode, format_args!("the node {why}{said}"));
        return Err(error.with_hint(format!(
            "its log is {}; `kubelocal node` runs it in the foreground, `kubelocal doctor` checks this host",
            paths.log.display()
        )));
    }
    Ok(())
}

fn spawn(log: &File) -> Result<Child> {
    // `/proc/self/exe` and not the path: the file may have been replaced since by a newer one.
    let mut node = Command::new("/proc/self/exe");
    node.args(["node", "--background"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    node.spawn().map_err(|error| {
        CliError::new(
            ErrorKind::NoNode,
            format_args!("the node could not be started: {error}"),
        )
    })
}

/// Starts a node until the API answers; or, as the inner error, why it will not.
async fn wait_until_answering(paths: &Paths, log: &File) -> Result<Result<(), String>> {
    let mut child = spawn(log)?;
    let deadline = Instant::now() + START_DEADLINE;
    let (mut pause, mut yielded_to) = (Duration::from_millis(1), None);
    loop {
        if is_answering(paths)? {
            return Ok(Ok(()));
        }
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                return Ok(Err(format!("ended at once ({status})")));
            }
            // Ours yielded to another one. That one is about to listen, or about to end: then the next takes its place. Or somebody
            // has removed its socket.
            yielded_to = std::fs::read_to_string(&paths.lock)
                .ok()
                .map(|pid| pid.trim().to_owned());
            child = spawn(log)?;
        }
        if Instant::now() >= deadline {
            let seconds = START_DEADLINE.as_secs();
            return Ok(Err(match &yielded_to {
                Some(pid) => format!("(pid {pid}) runs and does not answer; `kill {pid}` makes room for another one"),
                None => format!("did not answer within {seconds} s"),
            }));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("\n  {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_quoted() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "\n  b\n  c");
        assert_eq!(last_lines("", 2), "");
    }
}
