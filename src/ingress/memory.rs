//! The ports that were had the last time: they are tried first, so that links, and what browsers know of them, outlive the node.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is kept in a file: the port for HTTP, and the one for TLS.
#[derive(Debug)]
pub(super) struct Memory {
    file: PathBuf,
    ports: [Option<u16>; 2],
}

impl Memory {
    /// What the file says; nothing if it is not there, or says something else.
    pub(super) fn read(file: &Path) -> Memory {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut words = text
            .split_whitespace()
            .map(|word| word.parse().ok().filter(|port| *port > 0));
        Memory {
            file: file.to_owned(),
            ports: [words.next().flatten(), words.next().flatten()],
        }
    }

    /// The port of the last time.
    pub(super) fn port(&self, is_tls: bool) -> Option<u16> {
        self.ports[usize::from(is_tls)]
    }

    /// Keeps the port of this time.
    ///
    /// # Errors
    /// The file can't be written. It is as it was then.
    pub(super) fn keep(&mut self, is_tls: bool, port: u16) -> io::Result<()> {
        let own = &mut self.ports[usize::from(is_tls)];
        if own.replace(port) == Some(port) {
            return Ok(());
        }
        let [http, https] = self.ports.map(Option::unwrap_or_default);
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{http} {https}\n"))?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_the_last_time_come_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ingress-ports");
        let mut memory = Memory::read(&file);
        assert_eq!((memory.port(false), memory.port(true)), (None, None));
        memory.keep(true, 42_307).expect("is written");
        let mut memory = Memory::read(&file);
        assert_eq!((memory.port(false), memory.port(true)), (None, Some(42_307)));
        memory.keep(false, 10_080).expect("is written");
        assert_eq!(Memory::read(&file).port(false), Some(10_080));
        fs::write(&file, "x 70000").expect("is written");
        let memory = Memory::read(&file);
        assert_eq!((memory.port(false), memory.port(true)), (None, None));
    }
}
