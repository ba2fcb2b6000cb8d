//! `doctor`: what of this host stands in the node's way, with the commands that mend it.

use std::path::PathBuf;

use clap::Args;

use super::context::write;
use super::error::{CliError, ErrorKind, Result};
use crate::doctor::{self, Level, Verdict, probe};
use crate::model::Paths;

/// Check this host, and name the command that mends each thing that is missing.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Be the process that tries things out, in this directory
    #[arg(long, hide = true, value_name = "DIR")]
    probe: Option<PathBuf>,
}

impl DoctorArgs {
    /// The trying process: to be called before there is a second thread. `None` if this is not it.
    ///
    /// # Errors
    /// When nobody reads.
    pub fn run_probe(&self) -> Option<Result> {
        let answer = serde_json::to_string(&probe::here(self.probe.as_deref()?));
        Some(answer.map_err(CliError::from).and_then(|answer| write(&answer)))
    }
}

/// Runs `doctor`.
///
/// # Errors
/// When the node can't run on this host.
pub fn run(_: &DoctorArgs) -> Result {
    let verdicts = doctor::run(&Paths::discover()?.home);
    write(&text(&verdicts))?;
    match verdicts.iter().any(|verdict| verdict.level == Level::Error) {
        true => Err(CliError::silent(ErrorKind::NotReached)),
        false => Ok(()),
    }
}

fn text(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let word = match verdict.level {
            Level::Fine => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        text.push_str(&format!("{word:<8} {}: {}\n", verdict.check, verdict.found));
        if let Some(mend) = &verdict.mend {
            text.push_str(&format!("         $ {mend}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_paste_stands_below_what_is_missing() {
        let verdict = |level, mend: Option<&str>| Verdict {
            check: "disk",
            level,
            found: "x".into(),
            mend: mend.map(str::to_owned),
        };
        let shown = text(&[verdict(Level::Fine, None), verdict(Level::Error, Some("sudo y"))]);
        assert_eq!(shown, "ok       disk: x\nerror    disk: x\n         $ sudo y\n");
    }
}
