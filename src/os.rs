//! What the operating system gives: file descriptors in the async runtime, for which this is the one place to vouch, what carries bytes
//! between two of them, regular files and nothing else, programs by name, programs that may not run for ever, sockets by name, names as the host resolves them, TLS to whoever answers,
//! and what directories take.

mod disk;
mod limits;
mod names;
mod relay;
mod shares;
mod socket;
mod tls;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use disk::{entries_of, size_of};
pub use limits::{allow_descriptors, descriptors, limit_descriptors, ordinary_descriptors};
pub use names::lookup;
pub use relay::{abort, relay, tune};
pub use shares::{Share, Shares};
pub use socket::SocketPath;
pub use tls::tls_to_anyone;

/// Waits on a descriptor for data to read only: a pipe's end, an inotify queue, a pidfd.
///
/// # Errors
/// When the descriptor can't be polled, as a regular file can't.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Waits on a descriptor in both directions: a terminal.
///
/// # Errors
/// When the descriptor can't be polled, as a regular file can't.
pub fn watch_both(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as above.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE) }?)
}

/// Opens a file to read, if it is a regular one. Opening a pipe waits for someone to write, and opening a device may do
/// anything: the name is looked at first, and then, as it may be another's by now, what was opened without waiting.
///
/// # Errors
/// When it can't be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let check = |metadata: Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file")),
    };
    check(fs::metadata(path)?)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let metadata = check(file.metadata()?)?;
    Ok((file, metadata))
}

/// Whether some process has the file open for writing, by whether a lease to read it could be had (`fcntl(2)`, "Leases"): the kernel
/// grants none while there is a writer. It is given back at once. Where leases can't be had (files of others, some network file
/// systems) nobody is known to write.
#[must_use]
pub fn is_being_written(file: &File) -> bool {
    // `F_SETSIG` of `<linux/fcntl.h>`: the same on every architecture that we build for.
    const SET_SIGNAL: libc::c_int = 10;
    let ask = |command, argument: libc::c_int| {
        // SAFETY: these commands take and return numbers, and the descriptor is open while the file is borrowed.
        unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }
    };
    // A writer who comes while we have the lease makes the kernel signal us: by SIGIO, which ends a process, unless told otherwise.
    // SIGURG is ignored by default.
    if ask(SET_SIGNAL, libc::SIGURG) < 0 {
        return false;
    }
    if ask(libc::F_SETLEASE, libc::F_RDLCK) < 0 {
        return io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
    }
    // It can't fail for one who has it; and if it did, closing the file gives it back too.
    ask(libc::F_SETLEASE, libc::F_UNLCK);
    false
}

/// A program by name, on the PATH or where distributions keep those for administrators, which are not always on a user's.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_program_on(&std::env::var_os("PATH").unwrap_or_default(), name)
}

/// As [`find_program`], on another PATH than our own.
#[must_use]
pub fn find_program_on(path: &OsStr, name: &str) -> Option<PathBuf> {
    let known = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(path)
        .chain(known)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Starts a program that is killed when the calling thread ends, however it does: so it does not outlive us. It has to keep its user and its
/// capabilities or give some up; one that gets others is killed by nobody (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// When it can't be started.
pub fn spawn_bound(command: &mut Command) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    let bind = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Who has ended meanwhile sends no signal.
        match rustix::process::getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: two system calls that touch no memory are all that is done between fork and exec.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

/// How much a program may print: more than any build, rendered chart or message. What it prints is held in memory.
const MAX_PRINTED: u64 = 128 << 20;

/// How long a program that was asked to end may take to end what it started: git does, helpers of its own included.
const GRACE: Duration = Duration::from_secs(2);

/// Ends the programs that work which nobody wants any more has started, and those that it would start.
#[derive(Debug, Clone)]
pub struct Halt(Arc<OwnedFd>);

thread_local! {
    /// What ends the programs of the work of this thread.
    static HALT: RefCell<Option<Halt>> = const { RefCell::new(None) };
}

impl Halt {
    /// One that was not called yet.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Ends them.
    pub fn call(&self) {
        // A counter that was never read takes many a call.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Does work whose programs it ends: all that this thread runs by [`run_bounded`] meanwhile.
    pub fn over<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = HALT.replace(Some(self.clone()));
        let done = work();
        HALT.set(before);
        done
    }
}

/// How the wait for a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ended,
    TooLong,
    Halted,
}

/// Runs a program to its end, with nothing on its standard input. One that takes longer than `limit` is ended, and so is one whose
/// work is called off ([`Halt`]).
///
/// # Errors
/// When it can't be started; with the kind `TimedOut` when it was ended for its time, `Interrupted` when it was called off, and
/// `FileTooLarge` when it printed too much.
pub fn run_bounded(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    let ended = wait_bounded(&mut child, limit);
    if ended.is_err() {
        end(&mut child);
    }
    ended
}

fn wait_bounded(child: &mut Child, limit: Duration) -> io::Result<Output> {
    let stdout = drain(child.stdout.take().expect("standard output is piped"));
    let stderr = drain(child.stderr.take().expect("standard error is piped"));
    let began = Instant::now();
    let left = || limit.saturating_sub(began.elapsed());
    match wait(child, limit, HALT.with_borrow(Clone::clone).as_ref())? {
        Wait::Ended => {}
        Wait::TooLong => return Err(too_long(limit)),
        Wait::Halted => {
            let why = "was ended, since nobody waits for it any more";
            return Err(io::Error::new(io::ErrorKind::Interrupted, why));
        }
    }
    // Whoever it started may hold the pipes longer than it lived.
    let stdout = stdout.recv_timeout(left()).map_err(|_| too_long(limit))??;
    let stderr = stderr.recv_timeout(left()).map_err(|_| too_long(limit))??;
    Ok(Output {
        status: child.wait()?,
        stdout,
        stderr,
    })
}

fn too_long(limit: Duration) -> io::Error {
    let why = format!("took longer than {} s and was ended", limit.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Reads to the end in a thread of its own, which ends with the pipe.
fn drain(pipe: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.take(MAX_PRINTED + 1).read_to_end(&mut bytes);
        let is_whole = bytes.len() as u64 <= MAX_PRINTED;
        let whole = read.and_then(|_| match is_whole {
            true => Ok(bytes),
            false => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("printed more than {MAX_PRINTED} bytes"),
            )),
        });
        // Nobody is there to be told once the waiting was given up.
        let _ = sender.send(whole);
    });
    receiver
}

/// Waits for a child's end, for a time.
fn wait(child: &Child, limit: Duration, halt: Option<&Halt>) -> io::Result<Wait> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let began = Instant::now();
    let mut descriptors = vec![PollFd::new(&pidfd, PollFlags::IN)];
    descriptors.extend(halt.map(|halt| PollFd::new(&*halt.0, PollFlags::IN)));
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut descriptors, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Ok(Wait::TooLong),
            Ok(_) if descriptors[0].revents().is_empty() => return Ok(Wait::Halted),
            Ok(_) => return Ok(Wait::Ended),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends a child: asked first, then not. What can't be ended has ended.
fn end(child: &mut Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    if !wait(child, GRACE, None).is_ok_and(|wait| wait == Wait::Ended) {
        let _ = child.kill();
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> io::Result<Output> {
        run_bounded(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_program_is_heard_and_one_that_does_not_end_is_ended() {
        let output = shell("echo out; echo err >&2; exit 3", Duration::from_secs(60)).expect("ran");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
        for script in ["exec sleep 1000", "trap '' TERM; exec sleep 1000"] {
            let error = shell(script, Duration::from_millis(100)).expect_err("does not end");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
        }
    }

    #[test]
    fn a_program_that_is_called_off_is_ended() {
        let halt = Halt::new().expect("a descriptor");
        let work = halt.clone();
        let running = thread::spawn(move || work.over(|| shell("exec sleep 1000", Duration::from_secs(600))));
        halt.call();
        let error = running.join().expect("no panic").expect_err("does not end");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        let later = shell("exit 0", Duration::from_secs(60)).expect("another thread's work goes on");
        assert!(later.status.success());
    }

    #[test]
    fn a_program_that_prints_without_end_is_ended() {
        let error = shell("exec yes", Duration::from_secs(600)).expect_err("does not end");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let pipe = root.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
        for path in [pipe.as_path(), Path::new("/dev/zero"), root.path()] {
            let error = open_regular(path).expect_err("no regular file");
            assert_eq!(error.to_string(), "no regular file", "{}", path.display());
        }
        fs::write(root.path().join("file"), "text").expect("written");
        let (mut file, metadata) = open_regular(&root.path().join("file")).expect("regular");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!((text.as_str(), metadata.len()), ("text", 4));
    }
}
