//! Verbs about files.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::output::line;
use super::{Outcome, process};

/// Prints a file; with an interval again and again, a vanished file as an error line.
pub(super) fn cat(path: &str, every: Option<Duration>) -> Outcome {
    let Some(every) = every else {
        let mut file = fs::File::open(path)?;
        io::copy(&mut file, &mut io::stdout().lock())?;
        return Ok(0);
    };
    process::exit_on_term();
    loop {
        match fs::read(path) {
            Ok(mut bytes) => {
                if bytes.last() != Some(&b'\n') {
                    bytes.push(b'\n');
                }
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Err(error) => line(&format!("{path}: {error}"))?,
        }
        thread::sleep(every);
    }
}

pub(super) fn write(path: &str, text: &str) -> Outcome {
    fs::write(path, format!("{text}\n"))?;
    Ok(0)
}

pub(super) fn ls(path: &str) -> Outcome {
    let names: io::Result<Vec<String>> = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let mut names = names?;
    names.sort();
    names.iter().try_for_each(|name| line(name))?;
    Ok(0)
}

/// Kind, mode, owner, size, device and target of a path, itself not followed.
pub(super) fn stat(path: &str) -> Outcome {
    let meta = fs::symlink_metadata(path)?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_char_device() => "char",
        kind if kind.is_block_device() => "block",
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_socket() => "socket",
        _ => "file",
    };
    let mode = meta.mode() & 0o7777;
    line(&format!(
        "{kind} {mode:04o} {}:{} {} {path}",
        meta.uid(),
        meta.gid(),
        meta.len()
    ))?;
    Ok(0)
}

pub(super) fn rm(path: &str) -> Outcome {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path)?,
        false => fs::remove_file(path)?,
    }
    Ok(0)
}

pub(super) fn readlink(path: &str) -> Outcome {
    line(&fs::read_link(Path::new(path))?.display().to_string())?;
    Ok(0)
}
