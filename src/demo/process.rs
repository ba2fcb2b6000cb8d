//! Verbs about being a process: sleeping, ending, signals, ids.

use std::fs;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::output::line;
use super::{Failure, Outcome};

/// What SIGTERM does from here on.
enum OnTerm {
    Exit,
    Ignore,
    Ring,
}

pub(super) fn seconds(text: &str) -> Result<Duration, Failure> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| Failure::Usage(format!("{text} is no number of seconds")))
}

pub(super) fn sleep(time: Option<Duration>) -> Outcome {
    exit_on_term();
    pause(time);
    Ok(0)
}

pub(super) fn ignore_term(time: Option<Duration>) -> Outcome {
    on_term(OnTerm::Ignore);
    line("ignoring SIGTERM")?;
    pause(time);
    Ok(0)
}

pub(super) fn exit_after(code: i32, time: Duration) -> Outcome {
    exit_on_term();
    pause(Some(time));
    Ok(code)
}

pub(super) fn spin() -> Outcome {
    exit_on_term();
    loop {
        std::hint::spin_loop();
    }
}

/// Makes SIGTERM end the process with 0. As PID 1 of its namespace it would ignore the signal otherwise.
pub(super) fn exit_on_term() {
    on_term(OnTerm::Exit);
}

pub(super) fn id() -> Outcome {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    // Real, effective, saved and file system id; the effective one is what others mean by "the" id.
    let effective = |name: &str| field(name).into_iter().nth(1).unwrap_or_default();
    line(&format!(
        "uid={} gid={} groups={}",
        effective("Uid:"),
        effective("Gid:"),
        field("Groups:").join(",")
    ))?;
    Ok(0)
}

fn pause(time: Option<Duration>) {
    let Some(time) = time else {
        loop {
            thread::park();
        }
    };
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        thread::sleep(left);
    }
}

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: `_exit` is async-signal-safe and takes any code.
    unsafe { libc::_exit(0) }
}

extern "C" fn tell(_signal: libc::c_int) {
    // Only async-signal-safe calls may be made here, so no `println!`.
    let _nobody_may_listen = rustix::io::write(rustix::stdio::stdout(), b"SIGTERM ignored\n");
}

/// Where `ring` writes; the other end was given to who waits.
static BELL: AtomicI32 = AtomicI32::new(-1);

extern "C" fn ring(_signal: libc::c_int) {
    let bell = BELL.load(Ordering::Relaxed);
    // SAFETY: `write` is async-signal-safe, and the descriptor is never closed.
    let _full_is_fine = unsafe { libc::write(bell, [1_u8].as_ptr().cast(), 1) };
}

/// What becomes readable at SIGTERM, for who has something to finish first.
pub(super) fn term() -> io::Result<UnixStream> {
    let (told, bell) = UnixStream::pair()?;
    BELL.store(bell.into_raw_fd(), Ordering::Relaxed);
    on_term(OnTerm::Ring);
    Ok(told)
}

fn on_term(what: OnTerm) {
    let handler: extern "C" fn(libc::c_int) = match what {
        OnTerm::Exit => end,
        OnTerm::Ignore => tell,
        OnTerm::Ring => ring,
    };
    // SAFETY: the handlers call nothing but async-signal-safe functions and touch no memory of the program.
    let former = unsafe { libc::signal(libc::SIGTERM, handler as *const () as libc::sighandler_t) };
    if former == libc::SIG_ERR {
        eprintln!("SIGTERM cannot be handled: {}", io::Error::last_os_error());
    }
}
