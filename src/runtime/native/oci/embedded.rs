//! libcontainer, called in a forked child. What has to be worked around is listed in this room's documentation; each item has a
//! test in `tests/runtime_native.rs`.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Process, Spec,
};
use libcontainer::syscall::syscall::SyscallType;

use super::super::record::{make_dir, write_json};
use super::console::Console;
use super::enter::Shared;
use super::executor::{Confinement, Exec};
use super::filter::Filter;
use super::{
    Bundle, Launched, Named, OciRuntime, check_proc, end_waiting, enter, load_spec, mount_namespace, trace,
    view_of_shared,
};

/// The runtime that is linked in.
pub(super) struct Embedded;

impl OciRuntime for Embedded {
    fn run(&self, bundle: &Bundle) -> Result<Launched, String> {
        let call = Call::begin(bundle)?;
        let Prepared {
            path,
            confinement,
            told,
            named,
        } = prepare_bundle(bundle)?;
        // As a sibling: the container's first process is the supervisor's child, not this short-lived process's.
        let built = call.builder(bundle, confinement).and_then(|builder| {
            builder
                .as_init(&path)
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
        check_group(bundle, pid)?;
        check_proc(&named, pid)?;
        container.start().map_err(|error| call.explain(&error))?;
        let launched = call.finish(pid, mount_namespace)?;
        let pid = match told {
            Some(told) => enter::read_pid(told).ok_or("the process has not come into the shared pid namespace")?,
            None => pid,
        };
        Ok(Launched { pid, ..launched })
    }

    fn exec(&self, bundle: &Bundle, process: &Path, first: i32) -> Result<Launched, String> {
        let (failure, failed) = failure_pipe()?;
        let (spec, confinement) = prepare_process(bundle, process)?;
        let executor = Exec::new(failed, confinement);
        let launched = enter::run(bundle, &spec, &executor, first);
        drop(executor);
        let text = read_failure(failure)?;
        match text.is_empty() {
            true => launched,
            false => Err(text),
        }
    }
}

/// Refuses a process that waits for its start outside of its control group: in a user namespace libcontainer goes on if it may not put it
/// there, and then its limits would not hold.
fn check_group(bundle: &Bundle, pid: i32) -> Result<(), String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let is_there = groups
        .lines()
        .any(|line| line.starts_with("0::") && line.ends_with(&bundle.id));
    if is_there || !bundle.has_cgroup {
        return Ok(());
    }
    end_waiting(pid);
    Err(format!(
        "the process could not be put into its control group, but is in {}",
        groups.trim()
    ))
}

/// Where a process says why it could not become its program: the kernel closes the second one when it does.
fn failure_pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    pipe.map_err(|e| format!("pipe: {e}"))
}

/// Waits until the process became its program, or said why not.
fn read_failure(failure: OwnedFd) -> Result<String, String> {
    let mut text = String::new();
    let read = File::from(failure).read_to_string(&mut text);
    read.map(|_| text).map_err(|e| format!("pipe: {e}"))
}

/// What one call needs beside libcontainer.
struct Call {
    failure: OwnedFd,
    failed: OwnedFd,
    console: Option<Console>,
    /// The AppArmor profile that the process is to have.
    profile: Option<String>,
}

impl Call {
    fn begin(bundle: &Bundle) -> Result<Call, String> {
        trace::begin().map_err(|e| format!("anonymous file: {e}"))?;
        let (failure, failed) = failure_pipe()?;
        let console = bundle.tty.then(|| Console::listen(&bundle.path)).transpose()?;
        let spec = load_spec(bundle)?;
        let process = spec.process().as_ref();
        let profile = process.and_then(|process| process.apparmor_profile().clone());
        Ok(Call {
            failure,
            failed,
            console,
            profile,
        })
    }

    fn builder(&self, bundle: &Bundle, confinement: Confinement) -> Result<ContainerBuilder, LibcontainerError> {
        let failed = self.failed.try_clone().map_err(LibcontainerError::OtherIO)?;
        let executor = Exec::new(failed, confinement);
        let console = self.console.as_ref().map(Console::path);
        let builder = ContainerBuilder::new(bundle.id.clone(), SyscallType::default()).with_executor(executor);
        Ok(builder.with_root_path(&bundle.state)?.with_console_socket(console))
    }

    /// Waits until the process became its program, or said why it could not.
    fn finish(self, pid: i32, mount_namespace: Option<u64>) -> Result<Launched, String> {
        drop(self.failed);
        let text = read_failure(self.failure)?;
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
        match (trace::said(), &self.profile) {
            (said, _) if said.is_empty() => error.to_string(),
            // The kernel's word for a profile that it does not know, in three layers of others'.
            (said, Some(profile)) if said.contains("ActivateProfile") && said.contains("code: 2,") => {
                format!("the AppArmor profile {profile:?} is not loaded on this host")
            }
            (said, _) => format!("{error}: {said}"),
        }
    }
}

/// A bundle as libcontainer gets it, and what is left for others.
struct Prepared {
    path: PathBuf,
    /// The process's own last acts.
    confinement: Confinement,
    /// Where the process tells its pid in a namespace of others.
    told: Option<OwnedFd>,
    /// What is to be mounted.
    named: Named,
}

/// The bundle without the seccomp profile and a pid namespace of others, which are the process's own last acts.
fn prepare_bundle(bundle: &Bundle) -> Result<Prepared, String> {
    let mut spec = load_spec(bundle)?;
    let (Some(mut linux), Some(mut process)) = (spec.linux().clone(), spec.process().clone()) else {
        return Err("the bundle's config has no process".to_owned());
    };
    let named = Named::of(&spec);
    let shared = take_shared(bundle, &mut spec, &mut linux)?;
    let (shared, told) = shared.unzip();
    let profile = linux.seccomp().clone();
    let confinement = confine(bundle, profile.as_ref(), shared, &mut process)?;
    linux.set_seccomp(None);
    spec.set_linux(Some(linux)).set_process(Some(process));
    let path = bundle.path.join("embedded");
    make_dir(&path)
        .and_then(|()| write_json(&path.join("config.json"), &spec, false))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Prepared {
        path,
        confinement,
        told,
        named,
    })
}

/// Takes the pod's shared pid namespace out of a spec, and puts the view of it that there is in the place of a new one.
fn take_shared(bundle: &Bundle, spec: &mut Spec, linux: &mut Linux) -> Result<Option<(Shared, OwnedFd)>, String> {
    let view = view_of_shared(&bundle.state);
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let is_shared =
        |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_some();
    let Some(at) = namespaces.iter().position(is_shared).filter(|_| view.is_dir()) else {
        return Ok(None);
    };
    let path = namespaces
        .remove(at)
        .path()
        .clone()
        .expect("it was found by having one");
    linux.set_namespaces(Some(namespaces));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let proc = mounts.iter_mut().find(|mount| mount.typ().as_deref() == Some("proc"));
    if let Some(proc) = proc {
        let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"].map(str::to_owned);
        proc.set_typ(Some("none".to_owned()))
            .set_source(Some(view))
            .set_options(Some(options.to_vec()));
    }
    spec.set_mounts(Some(mounts));
    let opened = Shared::open(&path).map_err(|e| format!("shared pid namespace: {e}"))?;
    Ok(Some(opened))
}

/// The same for a command in a running container, which is described in a file: the container's spec with the command's process.
fn prepare_process(bundle: &Bundle, path: &Path) -> Result<(Spec, Confinement), String> {
    let mut spec = load_spec(bundle)?;
    let described = |e: &dyn std::fmt::Display| format!("process description: {e}");
    let text = std::fs::read(path).map_err(|e| described(&e))?;
    let mut process: Process = serde_json::from_slice(&text).map_err(|e| described(&e))?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let confinement = confine(bundle, profile, None, &mut process)?;
    spec.set_process(Some(process));
    Ok((spec, confinement))
}

/// What a process has to do under this profile, and to come into this namespace. Without no_new_privs loading a filter takes CAP_SYS_ADMIN,
/// and so does the namespace: the process is given it, with CAP_SETPCAP to get rid of it again, for just that long.
fn confine(
    bundle: &Bundle,
    profile: Option<&LinuxSeccomp>,
    shared: Option<Shared>,
    process: &mut Process,
) -> Result<Confinement, String> {
    let filter = profile
        .map(|profile| Filter::of(profile, &bundle.seccomp_cache))
        .transpose()?;
    let needs_more = shared.is_some() || (filter.is_some() && process.no_new_privileges() != Some(true));
    let capabilities = needs_more.then(|| {
        let real = process.capabilities().clone().unwrap_or_default();
        process.set_capabilities(Some(widened(&real)));
        real
    });
    Ok(Confinement {
        shared,
        filter,
        capabilities,
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
