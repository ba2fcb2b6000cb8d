//! Which external OCI runtime it is, and how its command line differs from the others'.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// An external OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    pub path: PathBuf,
    pub kind: Kind,
}

/// The runtimes whose peculiarities are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Crun,
    Runc,
    Youki,
    /// Takes runc's command line, one hopes.
    Other,
}

impl Program {
    /// Asks the program who it is.
    ///
    /// # Errors
    /// It cannot be run; the text is for people.
    pub fn detect(path: &Path) -> Result<Program, String> {
        let said = Command::new(path).arg("--version").output();
        let said = said.map_err(|e| format!("OCI runtime {}: {e}", path.display()))?;
        if !said.status.success() {
            return Err(format!(
                "OCI runtime {}: `--version` ended with {}",
                path.display(),
                said.status
            ));
        }
        Ok(Program {
            path: path.to_owned(),
            kind: kind_of(&String::from_utf8_lossy(&said.stdout)),
        })
    }

    /// Flags before the verb that keep it away from control groups when there are none to use. crun fails without, youki
    /// and runc run on when they lack the permission.
    pub fn cgroup_flags(&self, has_cgroup: bool) -> &'static [&'static str] {
        match (self.kind, has_cgroup) {
            (Kind::Crun, false) => &["--cgroup-manager=disabled"],
            (Kind::Crun, true) => &["--cgroup-manager=cgroupfs"],
            (Kind::Runc | Kind::Youki | Kind::Other, _) => &[],
        }
    }
}

/// Reads the first word of what `--version` prints.
fn kind_of(version: &str) -> Kind {
    match version.split_whitespace().next() {
        Some("crun") => Kind::Crun,
        Some("runc") => Kind::Runc,
        Some("youki") => Kind::Youki,
        Some(_) | None => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_own_word() {
        for (said, kind) in [
            ("crun version 1.8.1\ncommit: f8a\n", Kind::Crun),
            ("runc version 1.1.5+ds1\n", Kind::Runc),
            ("youki version: 0.5.7\n", Kind::Youki),
            ("", Kind::Other),
        ] {
            assert_eq!(kind_of(said), kind, "{said:?}");
        }
    }
}
