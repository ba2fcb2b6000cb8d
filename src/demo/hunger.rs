//! Verbs that use up what limits are for: memory and processes.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use super::Outcome;
use super::output::line;
use super::process::sleep;

/// Bytes are taken by this much at a time.
const BITE: usize = 1 << 20;
/// The distance at which one byte makes a page one's own.
const PAGE: usize = 4096;

/// Takes memory and keeps it.
pub(super) fn eat(mebibytes: usize) -> Outcome {
    let mut eaten = Vec::new();
    for _ in 0..mebibytes {
        let mut bite = vec![0_u8; BITE];
        // A page is only taken once it is written to.
        bite.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        eaten.push(std::hint::black_box(bite));
    }
    line(&format!("ate {}", eaten.len()))?;
    sleep(None)
}

pub(super) fn eat_in_child(mebibytes: &str) -> Outcome {
    let child = Command::new("/proc/self/exe")
        .args(["demo", "eat", mebibytes])
        .status()?;
    let code = child.code().or(child.signal().map(|signal| 128 + signal));
    Ok(code.unwrap_or(1))
}

pub(super) fn crowd(count: usize) -> Outcome {
    let start = || {
        let mut sleeper = Command::new("/proc/self/exe");
        sleeper.args(["demo", "sleep", "forever"]).stdin(Stdio::null()).spawn()
    };
    let started = (0..count).take_while(|_| start().is_ok()).count();
    line(&format!("started {started}"))?;
    sleep(None)
}
