//! An external OCI runtime, by its command line (`runc(8)`, which crun and youki share).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::console::{Console, NAME};
use super::{Bundle, Launched, Named, OciRuntime, check_proc, load_spec, mount_namespace};
use crate::runtime::native::external::Program;

/// A runtime by path.
pub(super) struct Cli(pub Program);

impl OciRuntime for Cli {
    fn run(&self, bundle: &Bundle) -> Result<Launched, String> {
        let console = bundle.tty.then(|| Console::listen(&bundle.path)).transpose()?;
        let pid_file = bundle.path.join("pid");
        let mut create = self.command(bundle, "create");
        create
            .arg("--bundle")
            .arg(&bundle.path)
            .arg("--pid-file")
            .arg(&pid_file);
        add_console(&mut create, bundle.tty);
        self.complete(bundle, create.arg(&bundle.id))?;
        let pid = read_pid(&pid_file)?;
        let mount_namespace = mount_namespace(pid);
        check_proc(&Named::of(&load_spec(bundle)?), pid)?;
        let terminal = console.map(Console::terminal).transpose()?;
        let mut start = self.command(bundle, "start");
        self.complete(bundle, start.arg(&bundle.id))?;
        Ok(Launched {
            pid,
            mount_namespace,
            terminal,
        })
    }

    fn exec(&self, bundle: &Bundle, process: &Path, _first: i32) -> Result<Launched, String> {
        let console = bundle.tty.then(|| Console::listen(&bundle.path)).transpose()?;
        let pid_file = process.with_extension("pid");
        let mut exec = self.command(bundle, "exec");
        exec.arg("--detach")
            .arg("--process")
            .arg(process)
            .arg("--pid-file")
            .arg(&pid_file);
        add_console(&mut exec, bundle.tty);
        self.complete(bundle, exec.arg(&bundle.id))?;
        let pid = read_pid(&pid_file);
        let _ = fs::remove_file(&pid_file);
        Ok(Launched {
            pid: pid?,
            mount_namespace: None,
            terminal: console.map(Console::terminal).transpose()?,
        })
    }
}

impl Cli {
    /// A command with the flags that stand before the verb. Its complaints go to a file: standard error is the container's.
    fn command(&self, bundle: &Bundle, verb: &str) -> Command {
        let mut command = Command::new(&self.0.path);
        command.current_dir(&bundle.path);
        command.args(self.0.cgroup_flags(bundle.has_cgroup));
        command
            .arg("--root")
            .arg(&bundle.state)
            .arg("--log")
            .arg(log_file(bundle))
            .arg(verb);
        command
    }

    fn complete(&self, bundle: &Bundle, command: &mut Command) -> Result<(), String> {
        let ended = command
            .status()
            .map_err(|e| format!("{}: {e}", self.0.path.display()))?;
        let said = fs::read_to_string(log_file(bundle)).unwrap_or_default();
        let _ = fs::remove_file(log_file(bundle));
        if ended.success() {
            return Ok(());
        }
        match complaint(&said) {
            Some(text) => Err(text),
            None => Err(format!("{} ended with {ended}", self.0.path.display())),
        }
    }
}

/// The working directory is the bundle's, where the socket is.
fn add_console(command: &mut Command, tty: bool) {
    if tty {
        command.arg("--console-socket").arg(NAME);
    }
}

fn log_file(bundle: &Bundle) -> PathBuf {
    bundle.path.join("runtime.log")
}

fn read_pid(file: &Path) -> Result<i32, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("pid file: {e}"))?;
    text.trim().parse().map_err(|_| format!("pid file: {text:?} is no pid"))
}

/// The last complaint in a runtime's log, without the time and level before it.
fn complaint(log: &str) -> Option<String> {
    let line = log.lines().rev().find(|line| !line.trim().is_empty())?;
    // runc: `time="…" level=error msg="…"`; crun: `2026-01-01T00:00:00.000000000Z: …`.
    let text = match line.split_once("msg=\"") {
        Some((_, quoted)) => quoted.trim_end_matches('"').replace("\\\"", "\""),
        None => match line.split_once("Z: ") {
            Some((_, text)) => text.to_owned(),
            None => line.to_owned(),
        },
    };
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_found_without_its_decoration() {
        for (log, text) in [
            (
                "2026-01-02T03:04:05.123456789Z: executable file `nope` not found in $PATH: No such file or directory\n",
                "executable file `nope` not found in $PATH: No such file or directory",
            ),
            (
                "time=\"2026\" level=warning msg=\"x\"\ntime=\"2026\" level=error msg=\"exec: \\\"nope\\\": not found\"\n",
                "exec: \"nope\": not found",
            ),
            ("plain\n", "plain"),
        ] {
            assert_eq!(complaint(log).as_deref(), Some(text));
        }
        assert_eq!(complaint("\n"), None);
    }
}
