//! The way out by pasta (package `passt`), for who needs more than TCP and UDP: `ping`.
//!
//! ```text
//!  Passes, addresses ─► gate ─► net: who may leave by the device
//!  run ─ starts ─► pasta ══ makes the device in the pods' network; `net` leads packets there
//! ```
//!
//! pasta runs on the host's network, and enters the pods' by a file that the network is mounted on: it gives its capabilities up before it could
//! open one of ours. It is killed with the node, started again when it ends, and told to map nothing: no port, no name server, and above
//! all not its gateway's address to the host's loopback, which it does if nobody says so.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::BREATH;
use super::passes::Passes;
use crate::net::{NodeNetwork, UPLINK, UPLINK_ADDRESS, UPLINK_GATEWAY};
use crate::os::{find_program, spawn_bound};

/// The program.
const PROGRAM: &str = "pasta";
/// How long it may take to make the device, and how often that is looked for.
const COMING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// Between two starts: at first, and at most. It may be the machine's network that is not there yet.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// After so long it had come up for good.
const STEADY: Duration = Duration::from_secs(30);
/// How much is shown of what it says at its end.
const SHOWN: usize = 300;
const STACK: usize = 128 << 10;

/// How it is with pasta.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pasta {
    /// It has not been started.
    #[default]
    Coming,
    /// Packets go by it.
    Runs,
    /// They do not, for this reason.
    Fails(String),
}

/// Lets pods out that may leave, by pasta, until `stop`; `moves` rings when the machine's networks change, and `told` learns how it is. `file` is
/// where the pods' network is mounted for it.
pub async fn run(
    network: Arc<NodeNetwork>,
    passes: Arc<Passes>,
    file: PathBuf,
    mut moves: watch::Receiver<Vec<String>>,
    told: watch::Sender<Pasta>,
    stop: CancellationToken,
) {
    let carry = async {
        let (mut pause, longest) = PAUSES;
        loop {
            let begun = Instant::now();
            let why = match serve(&network, &file, &told).await {
                Ok(said) => said,
                Err(error) => error.to_string(),
            };
            tracing::warn!(%why, "pasta does not carry what pods send outside");
            told.send_replace(Pasta::Fails(why));
            if begun.elapsed() >= STEADY {
                pause = PAUSES.0;
            }
            tokio::select! {
                () = sleep(pause) => {}
                // What it lacked may have come.
                Ok(()) = moves.changed() => {}
            }
            pause = (pause * 2).min(longest);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = carry => {}
        () = gate(&network, &passes, &told) => {}
    }
    // Only a name of the network; it stays for as long as somebody holds it.
    let _ = unmount(&file, UnmountFlags::DETACH);
    let _ = std::fs::remove_file(&file);
}

/// Keeps what the kernel knows of who may leave.
async fn gate(network: &NodeNetwork, passes: &Passes, told: &watch::Sender<Pasta>) {
    let (mut addresses, mut changes) = (network.addresses().follow(), passes.changes());
    let mut known = None;
    loop {
        let leavers = passes.leavers();
        if known.as_ref() != Some(&leavers) {
            match network.gate_uplink(leavers.clone()).await {
                Ok(()) => known = Some(leavers),
                Err(error) => {
                    tracing::warn!(%error, "who may leave by pasta can't be said");
                    told.send_replace(Pasta::Fails(format!("the kernel refuses {error}")));
                    sleep(BREATH).await;
                    continue;
                }
            }
        }
        tokio::select! {
            rung = addresses.changed() => rung.expect("the network that rings is held by who calls"),
            rung = changes.changed() => rung.expect("the passes that ring are held by who calls"),
        }
    }
}

/// Runs it once, to its end. Returns what it said.
async fn serve(network: &NodeNetwork, file: &Path, told: &watch::Sender<Pasta>) -> io::Result<String> {
    let program = find_program(PROGRAM).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "it is not installed: `kubelocal doctor` tells how to have it",
        )
    })?;
    name_network(network, file)?;
    let mut running = Running::start(&program, file).await?;
    let raised = async {
        let until = Instant::now() + COMING;
        loop {
            match network.raise_uplink().await {
                Ok(true) => return Ok(()),
                Ok(false) if Instant::now() < until => sleep(LOOK).await,
                Ok(false) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    };
    tokio::select! {
        said = &mut running.ended => return Ok(said.unwrap_or_default()),
        raised = raised => raised?,
    }
    told.send_replace(Pasta::Runs);
    let said = (&mut running.ended).await;
    Ok(said.unwrap_or_default())
}

/// Mounts the pods' network on a file, in the node's own mount namespace.
fn name_network(network: &NodeNetwork, file: &Path) -> io::Result<()> {
    let _ = unmount(file, UnmountFlags::DETACH);
    File::create(file)?;
    Ok(mount_bind(network.path(), file)?)
}

/// One that was started.
struct Running {
    _process: Process,
    /// What it said at its end.
    ended: oneshot::Receiver<String>,
}

/// A process that is killed when nobody wants it any more.
struct Process(OwnedFd);

impl Running {
    /// Starts it in a thread of its own, which waits for its end: with that thread it would be killed.
    async fn start(program: &Path, file: &Path) -> io::Result<Running> {
        let mut command = Command::new(program);
        command.args(words(file, rustix::process::geteuid().is_root()));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let ((tell, told), (tell_end, ended)) = (oneshot::channel(), oneshot::channel());
        let work = move || {
            let started = spawn_bound(&mut command).and_then(|child| {
                let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
                Ok((child, process))
            });
            let mut child = match started {
                Ok((child, process)) => {
                    // If whoever asked has given up, it ends here.
                    drop(tell.send(Ok(Process(process))));
                    child
                }
                Err(error) => return drop(tell.send(Err(error))),
            };
            let said = child.stderr.take().map(said).unwrap_or_default();
            let status = child
                .wait()
                .map_or_else(|error| error.to_string(), |status| status.to_string());
            let _ = tell_end.send(plan_words(&said, &status));
        };
        let builder = std::thread::Builder::new().name("pasta".to_owned()).stack_size(STACK);
        builder.spawn(work)?;
        let process = told.await.map_err(io::Error::other)??;
        Ok(Running {
            _process: process,
            ended,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// The end of what it says; what it says on its way is not kept.
fn said(mut pipe: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(4 * SHOWN);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Its last words, in one line; without any, how it ended.
fn plan_words(said: &str, status: &str) -> String {
    // It tells of every line that it could not tell the system's log.
    let lines = said.lines().filter(|line| !line.contains("bytes to syslog"));
    let last = lines.map(str::trim).rfind(|line| !line.is_empty());
    match last {
        Some(line) => format!("pasta: {}", line.chars().take(SHOWN).collect::<String>()),
        None => format!("pasta ended ({status})"),
    }
}

/// How it is called. `is_root` is whether it would become somebody else: it must not (see [`spawn_bound`]), and it has no rights anyway.
fn words(file: &Path, is_root: bool) -> Vec<String> {
    let (address, gateway) = (UPLINK_ADDRESS.to_string(), UPLINK_GATEWAY.to_string());
    let mut words: Vec<String> =
        "--foreground --ipv4-only --no-map-gw --no-dhcp --no-ndp --no-dhcpv6 --no-ra --no-netns-quit \
         -t none -u none -T none -U none"
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    let pairs = [
        ("--ns-ifname", UPLINK),
        ("--address", &address),
        ("--netmask", "24"),
        ("--gateway", &gateway),
    ];
    words.extend(
        pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]),
    );
    if is_root {
        words.extend(["--runas", "0"].map(str::to_owned));
    }
    words.extend(["--netns".to_owned(), file.display().to_string()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_mapped_and_no_port_is_opened() {
        let words = words(Path::new("/run/net"), false).join(" ");
        for word in [
            "--no-map-gw",
            "-t none",
            "-u none",
            "-T none",
            "-U none",
            "--netns /run/net",
        ] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(!words.contains("--runas") && !words.contains("--config-net"));
    }

    #[test]
    fn its_last_words_are_told() {
        let said = "Failed to send 9 bytes to syslog\nNo external routable interface for IPv4\nFailed to send 7 bytes to syslog\n\n";
        assert_eq!(
            plan_words(said, "exit status: 1"),
            "pasta: No external routable interface for IPv4"
        );
        assert_eq!(plan_words("", "signal: 9"), "pasta ended (signal: 9)");
        assert_eq!(said_of(&[b'x'; 100_000]), 4 * SHOWN);
    }

    fn said_of(bytes: &[u8]) -> usize {
        said(bytes).len()
    }
}
