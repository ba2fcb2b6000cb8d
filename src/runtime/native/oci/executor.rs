//! The last step of the embedded runtime: finding the program and becoming it, with errors that name both.
//!
//! libcontainer's own executor reports that a program is missing, but loses why `execve` failed. Seccomp filters are loaded here too:
//! libcontainer translates a profile for each process anew, gives one executed in a running container none at all, and takes
//! mask and value of a masked comparison for each other.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::{LinuxCapabilities, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};

use super::super::sys;
use super::enter::{self, Shared};
use super::filter::Filter;

/// What a process still needs when libcontainer is done with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Confinement {
    /// The pid namespace of others that it comes into.
    pub shared: Option<Shared>,
    pub filter: Option<Filter>,
    /// The capabilities it really gets, if it was given more so that the rest could be done.
    pub capabilities: Option<LinuxCapabilities>,
}

/// Runs the program, and reports through the pipe why it could not.
#[derive(Debug, Clone)]
pub(super) struct Exec {
    /// Closed by the kernel when the program runs: the reader then knows that it does.
    failed: Arc<OwnedFd>,
    confinement: Confinement,
}

impl Exec {
    pub fn new(failed: OwnedFd, confinement: Confinement) -> Exec {
        Exec {
            failed: Arc::new(failed),
            confinement,
        }
    }

    /// Where it reports.
    pub fn descriptor(&self) -> std::os::fd::RawFd {
        self.failed.as_raw_fd()
    }

    /// Tells what went wrong.
    pub fn report(&self, text: &str) {
        // If nobody reads, nobody can be told.
        let _ = std::fs::File::from(match self.failed.as_fd().try_clone_to_owned() {
            Ok(fd) => fd,
            Err(_) => return,
        })
        .write_all(text.as_bytes());
    }

    fn confine(&self) -> Result<(), String> {
        let confinement = &self.confinement;
        if let Some(shared) = &confinement.shared {
            shared
                .come_into(self.descriptor())
                .map_err(|e| format!("shared pid namespace: {e}"))?;
        }
        if let Some(filter) = &confinement.filter {
            filter.load().map_err(|e| format!("seccomp filter: {e}"))?;
        }
        if let Some(capabilities) = &confinement.capabilities {
            let dropped = libcontainer::capabilities::drop_privileges(capabilities, &*create_syscall());
            dropped.map_err(|e| format!("capabilities: {e}"))?;
        }
        Ok(())
    }
}

impl Executor for Exec {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = process_of(spec);
        find_program(args, env).map(drop).map_err(|text| {
            self.report(&text);
            ExecutorValidationError::ArgValidationError(text)
        })
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // `exec` passes the environment itself, in the order in which it was asked for.
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let failed = |text: String| {
            self.report(&text);
            if self.confinement.shared.is_some() {
                // libcontainer's own descriptors may be gone.
                sys::exit_now(1);
            }
            ExecutorError::Other(text)
        };
        let (args, env) = process_of(spec);
        let program = find_program(args, env).map_err(failed)?;
        let label = spec
            .process()
            .as_ref()
            .and_then(|process| process.selinux_label().as_ref());
        if let Some(label) = label {
            // libcontainer leaves this one out.
            enter::label(&["exec"], label).map_err(|e| failed(format!("SELinux label: {e}")))?;
        }
        self.confine().map_err(failed)?;
        let error = become_program(&program, args, env);
        Err(failed(format!("exec {program}: {}", described(&error))))
    }
}

fn process_of(spec: &Spec) -> (&[String], &[String]) {
    let process = spec.process().as_ref();
    let args = process
        .and_then(|process| process.args().as_deref())
        .unwrap_or_default();
    let env = process.and_then(|process| process.env().as_deref()).unwrap_or_default();
    (args, env)
}

/// Finds what a shell would run, and says why not as runc does.
fn find_program(args: &[String], env: &[String]) -> Result<String, String> {
    let Some(name) = args.first().filter(|name| !name.is_empty()) else {
        return Err("no command given".to_owned());
    };
    let complaint = |error: io::Error| format!("exec: {name:?}: {}", described(&error));
    if name.contains('/') {
        return runnable(name).map(|()| name.clone()).map_err(complaint);
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or_default();
    let mut refused = None;
    for dir in path.split(':') {
        // An empty element is the working directory (POSIX).
        let candidate = format!("{}/{name}", if dir.is_empty() { "." } else { dir });
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.map_or_else(
        || format!("exec: {name:?}: executable file not found in $PATH"),
        complaint,
    ))
}

fn runnable(path: &str) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(io::Error::from(rustix::io::Errno::ISDIR));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// The system's words in Go's spelling, which is what users of containers have met before.
fn described(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".to_owned(),
        Some(libc::EISDIR) => "is a directory".to_owned(),
        Some(libc::ENOEXEC) => "exec format error".to_owned(),
        _ if error.kind() == io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Replaces this process. Returns only with the reason why that failed.
fn become_program(program: &str, args: &[String], env: &[String]) -> io::Error {
    let strings = |words: &[String]| {
        words
            .iter()
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
    };
    let (Ok(path), Ok(args), Ok(env)) = (CString::new(program), strings(args), strings(env)) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let pointers = |words: &[CString]| {
        words
            .iter()
            .map(|word| word.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<*const libc::c_char>>()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    // SAFETY: `argv` and `envp` end with a null pointer, and the strings they point to live until after the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, path: &str) -> Result<String, String> {
        find_program(&[name.to_owned()], &[format!("PATH={path}")])
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert_eq!(found("/bin/sh", ""), Ok("/bin/sh".to_owned()));
        assert_eq!(found("sh", "/nowhere:/bin"), Ok("/bin/sh".to_owned()));
    }

    #[test]
    fn complaints_name_the_program_and_the_reason() {
        for (name, complaint) in [
            ("nope", "exec: \"nope\": executable file not found in $PATH"),
            ("/nope", "exec: \"/nope\": no such file or directory"),
            ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
            ("/etc", "exec: \"/etc\": is a directory"),
            ("passwd", "exec: \"passwd\": permission denied"),
            ("", "no command given"),
        ] {
            assert_eq!(found(name, "/etc"), Err(complaint.to_owned()), "{name:?}");
        }
    }
}
