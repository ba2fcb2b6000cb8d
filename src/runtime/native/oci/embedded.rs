//! libcontainer, called in a forked child. What has to be worked around is listed in this room's documentation; each item has a
//! test in `tests/runtime_native.rs`.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};
use libcontainer::syscall::syscall::SyscallType;

use super::console::Console;
use super::executor::{Confinement, Exec};
use super::{Bundle, Launched, OciRuntime, mount_namespace, trace};

/// The runtime that is linked in.
pub(super) struct Embedded;

impl OciRuntime for Embedded {
    fn run(&self, bundle: &Bundle) -> Result<Launched, String> {
        let call = Call::begin(bundle)?;
        // As a sibling: the container's first process is the supervisor's child, not this short-lived process's.
        let built = call.builder(bundle, None).and_then(|builder| {
            builder
                .as_init(&bundle.path)
                .with_systemd(false)
                .with_detach(true)
                .as_sibling(true)
                .build()
        });
        let mut container = built.map_err(|error| call.explain(&error))?;
        let pid = container
            .pid()
            .ok_or("the OCI runtime made a container without a process")?
            .as_raw();
        let mount_namespace = mount_namespace(pid);
        container.start().map_err(|error| call.explain(&error))?;
        call.finish(pid, mount_namespace)
    }

    fn exec(&self, bundle: &Bundle, process: &Path) -> Result<Launched, String> {
        let call = Call::begin(bundle)?;
        let confinement = prepare_confinement(bundle, process)?;
        let built = call.builder(bundle, Some(confinement)).and_then(|builder| {
            let tenant = builder.as_tenant().with_process(Some(process));
            tenant.with_detach(true).as_sibling(true).build()
        });
        let pid = built.map_err(|error| call.explain(&error))?.as_raw();
        call.finish(pid, None)
    }
}

/// What one call needs beside libcontainer.
struct Call {
    failure: OwnedFd,
    failed: OwnedFd,
    console: Option<Console>,
}

impl Call {
    fn begin(bundle: &Bundle) -> Result<Call, String> {
        trace::begin().map_err(|e| format!("anonymous file: {e}"))?;
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (failure, failed) = pipe.map_err(|e| format!("pipe: {e}"))?;
        let console = bundle.tty.then(|| Console::listen(&bundle.path)).transpose()?;
        Ok(Call {
            failure,
            failed,
            console,
        })
    }

    fn builder(
        &self,
        bundle: &Bundle,
        confinement: Option<Confinement>,
    ) -> Result<ContainerBuilder, LibcontainerError> {
        let failed = self.failed.try_clone().map_err(LibcontainerError::OtherIO)?;
        let executor = Exec::new(failed, confinement);
        let console = self.console.as_ref().map(Console::path);
        let builder = ContainerBuilder::new(bundle.id.clone(), SyscallType::default()).with_executor(executor);
        Ok(builder.with_root_path(&bundle.state)?.with_console_socket(console))
    }

    /// Waits until the process became its program, or said why it could not.
    fn finish(self, pid: i32, mount_namespace: Option<u64>) -> Result<Launched, String> {
        drop(self.failed);
        let mut text = String::new();
        File::from(self.failure)
            .read_to_string(&mut text)
            .map_err(|e| format!("pipe: {e}"))?;
        if !text.is_empty() {
            return Err(text);
        }
        let terminal = self.console.map(Console::terminal).transpose()?;
        Ok(Launched {
            pid,
            mount_namespace,
            terminal,
        })
    }

    /// The best known reason: what the program's own start said, else libcontainer's events, else its error.
    fn explain(&self, error: &LibcontainerError) -> String {
        let mut buffer = [0; 1024];
        // Whoever could have written has ended or has failed; what is not there now will not come.
        let waiting = rustix::io::ioctl_fionread(&self.failure).unwrap_or(0);
        if waiting > 0
            && let Ok(length) = rustix::io::read(&self.failure, &mut buffer)
        {
            return String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
        match trace::said() {
            said if said.is_empty() => error.to_string(),
            said => format!("{error}: {said}"),
        }
    }
}

/// libcontainer leaves the seccomp profile out for a command executed in a running container. So the command's process
/// loads it itself as its last act. Without no_new_privs that takes CAP_SYS_ADMIN: the process is given it, with
/// CAP_SETPCAP to get rid of it again, for just that long.
fn prepare_confinement(bundle: &Bundle, process: &Path) -> Result<Confinement, String> {
    let spec = Spec::load(bundle.path.join("config.json")).map_err(|e| format!("bundle config: {e}"))?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let text = std::fs::read(process).map_err(|e| format!("process description: {e}"))?;
    let mut wanted: Process = serde_json::from_slice(&text).map_err(|e| format!("process description: {e}"))?;
    if seccomp.is_none() || wanted.no_new_privileges() == Some(true) {
        return Ok(Confinement {
            seccomp,
            capabilities: None,
        });
    }
    let real = wanted.capabilities().clone().unwrap_or_default();
    wanted.set_capabilities(Some(widened(&real)));
    let text = serde_json::to_vec(&wanted).map_err(|e| format!("process description: {e}"))?;
    std::fs::write(process, text).map_err(|e| format!("process description: {e}"))?;
    Ok(Confinement {
        seccomp,
        capabilities: Some(real),
    })
}

fn widened(real: &LinuxCapabilities) -> LinuxCapabilities {
    let wide = |set: &Option<std::collections::HashSet<Capability>>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend([Capability::SysAdmin, Capability::Setpcap]);
        Some(set)
    };
    let mut wider = real.clone();
    wider
        .set_bounding(wide(real.bounding()))
        .set_effective(wide(real.effective()));
    wider.set_permitted(wide(real.permitted()));
    wider
}
