//! Verbs that print.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use super::{Failure, Outcome, number, process};

pub(super) fn echo(words: &[&str]) -> Outcome {
    line(&words.join(" "))?;
    Ok(0)
}

pub(super) fn env() -> Outcome {
    line(environment().trim_end())?;
    Ok(0)
}

/// The environment in order, a line for each variable.
pub(super) fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort();
    lines.concat()
}

/// Prints 1, 2, 3 … a line each, until `--to` or SIGTERM.
pub(super) fn count(options: &[&str]) -> Outcome {
    let (mut interval, mut to) = (Duration::from_secs(1), u64::MAX);
    for option in options.chunks(2) {
        match option {
            ["--interval", millis] => interval = Duration::from_millis(number("number of milliseconds", millis)?),
            ["--to", last] => to = number("number", last)?,
            other => return Err(Failure::Usage(format!("{} is not understood", other.join(" ")))),
        }
    }
    process::exit_on_term();
    for n in 1..=to {
        line(&n.to_string())?;
        if !interval.is_zero() && n < to {
            thread::sleep(interval);
        }
    }
    Ok(0)
}

/// Writes a line at once, in one piece, so that a reader never sees half of it because of us.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush()
}
