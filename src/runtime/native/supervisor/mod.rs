//! The pod supervisor: one small process per pod, which is the pod's pause container, its init and its runtime.
//!
//! It is a re-exec of this binary with one thread, no async runtime and no tracing. It is PID 1 of the pod's own pid namespace: if it
//! dies, however it dies, the kernel kills every container and takes down every namespace and mount with it. It holds
//! the pod's net, ipc, uts and mount namespaces; forks a child for each call of an OCI runtime and is the parent of
//! what that starts; copies output into logs; writes down how things ended before it tells anyone. It serves a
//! unix socket (`super::wire`) and lives on when the node dies.
//!
//! It must not know restart policies, probes or back-off, nor wait for anything but its one `epoll_wait`.
//!
//! Descriptor 0 is the listening socket, 1 tells the node how the birth went, 2 is `supervisor.log`.

mod birth;
mod cgroup;
mod container;
mod exits;
mod jobs;
mod output;
mod pause;
mod peers;
mod place;
mod poller;
mod processes;
mod requests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::record::{PodDir, SandboxRecord};
use super::spawn::DESCRIPTORS;
use super::spec::Place;
use super::sys;
use crate::cgroup::Group;
use crate::runtime::ContainerId;
pub(super) use cgroup::remove_left as remove_left_cgroup;
use container::{Container, Stage};
use exits::Ended;
use jobs::Job;
use peers::Peer;
use poller::{Poller, Token};
pub(super) use processes::kill_rooted;

/// After this a shutdown does not wait for processes any longer: its own end kills them.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// How much is written to `supervisor.log` at most.
const MAX_NOTES: usize = 64 << 10;

/// Runs a supervisor with the arguments after `pod-supervisor`: a name for people who look at `ps`, and the pod's directory.
/// Started by [`super::NativeRuntime`] only.
pub fn main(args: &[OsString]) -> ! {
    let (Some(dir), Ok((listener, birth))) = (args.get(1), sys::take_standard_streams()) else {
        note("usage: kubelocal pod-supervisor NAME DIRECTORY, with a socket as standard input");
        std::process::exit(2);
    };
    if let Some(most) = std::env::var(DESCRIPTORS).ok().and_then(|most| most.parse().ok()) {
        crate::os::limit_descriptors(Some(most));
    }
    let born = birth::begin(PodDir::at(PathBuf::from(dir)), &birth);
    match born.and_then(|born| Supervisor::new(born, listener)) {
        Ok(supervisor) => {
            birth::announce(birth, Ok(()));
            supervisor.run()
        }
        Err(text) => {
            note(&text);
            birth::announce(birth, Err(&text));
            std::process::exit(1);
        }
    }
}

/// Writes a line to `supervisor.log`, until there are too many.
fn note(text: &str) {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    if WRITTEN.fetch_add(text.len() + 32, Ordering::Relaxed) < MAX_NOTES {
        // Not by `eprintln!`: that ends the pod when its disk is full.
        let _ = writeln!(std::io::stderr(), "{} {text}", jiff::Timestamp::now());
    }
}

/// What a token in the poller stands for.
#[derive(Debug, Clone)]
enum Watched {
    Signals,
    Listener,
    Peer,
    Job,
    /// Output of a container: its standard output (or terminal), or its standard error.
    Output(ContainerId, output::Source),
    /// Someone attached to a container was full and has room again.
    Sink(ContainerId),
}

/// Everything a supervisor knows.
struct Supervisor {
    dir: PodDir,
    record: SandboxRecord,
    /// Held open: the pods' network lives for as long as any of them does, so that the next node finds it.
    _node_network: Option<OwnedFd>,
    place: Place,
    cgroup: Option<Group>,
    poller: Poller<Watched>,
    signals: OwnedFd,
    listener: UnixListener,
    peers: HashMap<Token, Peer>,
    jobs: HashMap<Token, Job>,
    containers: BTreeMap<ContainerId, Container>,
    /// Commands that run in containers.
    execs: HashMap<i32, Exec>,
    /// Processes that ended before the job that started them had told their pid.
    early: HashMap<i32, Ended>,
    buffer: Vec<u8>,
    leaving: Option<Leaving>,
}

/// A command that runs in a container.
struct Exec {
    /// Who wants to know its end.
    peer: Token,
    /// Whether it ends with that connection.
    dies_with_peer: bool,
}

/// A shutdown under way.
struct Leaving {
    asked_by: Vec<Token>,
    until: Instant,
}

impl Supervisor {
    fn new(born: birth::Born, listener: OwnedFd) -> Result<Supervisor, String> {
        let birth::Born {
            dir,
            record,
            node_network,
        } = born;
        let signals = sys::child_signals().map_err(|e| format!("signals: {e}"))?;
        let (place, cgroup) = place::make(&dir, &record, node_network.as_ref())?;
        let listener = UnixListener::from(listener);
        let poller = Poller::new().map_err(|e| format!("epoll: {e}"))?;
        let mut supervisor = Supervisor {
            dir,
            record,
            _node_network: node_network,
            place,
            cgroup,
            poller,
            signals,
            listener,
            peers: HashMap::new(),
            jobs: HashMap::new(),
            containers: BTreeMap::new(),
            execs: HashMap::new(),
            early: HashMap::new(),
            buffer: vec![0; output::CHUNK],
            leaving: None,
        };
        supervisor.watch_own().map_err(|e| format!("epoll: {e}"))?;
        Ok(supervisor)
    }

    fn watch_own(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        self.poller.add(&self.signals, poller::READABLE, Watched::Signals)?;
        self.poller.add(&self.listener, poller::READABLE, Watched::Listener)?;
        Ok(())
    }

    /// Serves until it is told to go.
    fn run(mut self) -> ! {
        loop {
            let ready = match self.poller.wait(self.next_deadline()) {
                Ok(ready) => ready,
                Err(error) => {
                    // Without it nothing works any more; the end of this process ends the pod, which the node sees.
                    note(&format!("epoll: {error}"));
                    std::process::exit(1);
                }
            };
            // Output first: what a process wrote before it ended is then in the log before its end is.
            for token in &ready {
                if let Some(Watched::Output(id, source)) = self.poller.what(*token) {
                    self.pump(*token, &id, source);
                }
            }
            for token in ready {
                self.handle(token);
            }
            self.kill_overdue();
            if self.may_leave() {
                self.leave();
            }
        }
    }

    fn handle(&mut self, token: Token) {
        // An earlier event of the same round may have ended what this token stood for.
        match self.poller.what(token) {
            Some(Watched::Signals) => self.reap(),
            Some(Watched::Listener) => self.accept(),
            Some(Watched::Peer) => self.hear(token),
            Some(Watched::Job) => self.finish_job(token),
            Some(Watched::Sink(id)) => self.flush_sinks(&id),
            Some(Watched::Output(..)) | None => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kills = self.containers.values().filter_map(Container::kill_at);
        let jobs = self.jobs.values().map(|job| job.until);
        kills
            .chain(jobs)
            .chain(self.leaving.as_ref().map(|leaving| leaving.until))
            .min()
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for container in self.containers.values_mut() {
            if container.kill_at().is_some_and(|at| at <= now) {
                container.kill();
            }
        }
        for job in self.jobs.values_mut().filter(|job| job.until <= now) {
            note(&format!(
                "killing process {} of the OCI runtime, which does not answer",
                job.pid
            ));
            job.kill();
        }
    }

    /// Whether a shutdown is complete: nothing runs and nothing is being started, or it took too long.
    fn may_leave(&self) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let busy = self
            .containers
            .values()
            .any(|c| matches!(c.stage, Stage::Starting | Stage::Running(_)));
        !busy || leaving.until <= Instant::now()
    }

    fn leave(&mut self) -> ! {
        if self.record.config.host_pid {
            // The kernel does so only where this is process 1.
            let runs = self.containers.keys().map(|id| id.0.as_str()).collect();
            kill_rooted(&runs);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove();
        }
        if let Some(leaving) = self.leaving.take() {
            for peer in leaving.asked_by {
                self.reply(peer, &super::wire::Reply::Done, &[]);
            }
        }
        std::process::exit(0)
    }
}
