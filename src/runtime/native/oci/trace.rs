//! Keeps what libcontainer says when it fails. Its errors are words like "failed to prepare rootfs"; the reason is only in
//! the `tracing` events of the processes that it clones. They all write into one anonymous file, which their common
//! ancestor reads when something went wrong.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// How many lines go into an error.
const LINES: usize = 3;

static SINK: OnceLock<File> = OnceLock::new();

/// Begins to keep ERROR events of this process and of those cloned from it.
pub(super) fn begin() -> io::Result<()> {
    let file = rustix::fs::memfd_create("oci-errors", rustix::fs::MemfdFlags::CLOEXEC)?;
    if SINK.set(File::from(file)).is_ok() {
        // Fails only if the process has a subscriber already: then errors go there, and are not attached.
        let _ = tracing::subscriber::set_global_default(Errors);
    }
    Ok(())
}

/// What was said, oldest first: the reason and what it led to.
pub(super) fn said() -> String {
    let mut text = String::new();
    if let Some(mut file) = SINK.get()
        && file.rewind().is_ok()
    {
        let _ = file.read_to_string(&mut text);
    }
    telling_lines(&text)
}

fn telling_lines(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        // Every level on the way up repeats what the one below said.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    // The first says what the system refused, the last what that was for.
    if lines.len() > LINES {
        lines.drain(1..lines.len() + 1 - LINES);
    }
    lines.join("; ")
}

struct Errors;

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if let Some(mut file) = SINK.get() {
            // One write per line: several processes share the file's position.
            let _ = file.write_all(format!("{}{}\n", line.message, line.fields).as_bytes());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_lines_are_kept_and_repetitions_are_not() {
        assert_eq!(telling_lines("a\nb\nb\n\nc\nd\n"), "a; c; d");
        assert_eq!(telling_lines("a\nb\nb\n"), "a; b");
        assert_eq!(telling_lines(""), "");
    }
}
