//! The built-in seccomp profile: an allow-list after the one that docker and containerd document. Pure.
//!
//! What is not named fails with EPERM. Some calls are allowed only with the capability that they are about; `clone` only without
//! new namespaces, `clone3` pretends not to exist, because a filter cannot look at its flags.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::capabilities::CapabilitySet;
use super::seccomp_names::{ALWAYS, WITH_CAPABILITY};

/// Every flag of `clone` that makes a namespace: mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_VSOCK`: reaches the hypervisor past every network namespace.
const AF_VSOCK: u64 = 40;
/// `personality` values that are harmless: PER_LINUX, its 32-bit, UNAME26 and query forms.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a process with these capabilities.
///
/// # Errors
/// Never for real: every builder is given all it needs.
pub(in super::super) fn default_profile(capabilities: CapabilitySet) -> oci_spec::Result<LinuxSeccomp> {
    let mut rules = vec![allow(ALWAYS)?];
    for (capability, names) in WITH_CAPABILITY {
        if capabilities.has(capability) {
            rules.push(allow(names)?);
        }
    }
    for value in PERSONALITIES {
        rules.push(allow_if(
            "personality",
            compare(0, LinuxSeccompOperator::ScmpCmpEq, value, None)?,
        )?);
    }
    rules.push(allow_if(
        "socket",
        compare(0, LinuxSeccompOperator::ScmpCmpNe, AF_VSOCK, None)?,
    )?);
    if !capabilities.has("SYS_ADMIN") {
        let none = compare(0, LinuxSeccompOperator::ScmpCmpMaskedEq, CLONE_NAMESPACES, Some(0))?;
        rules.push(allow_if("clone", none)?);
        rules.push(missing("clone3")?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM.unsigned_abs())
        .architectures(architectures())
        .syscalls(rules)
        .build()
}

/// The native one and those that the same kernel runs beside it.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    } else if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        vec![Arch::ScmpArchNative]
    }
}

fn allow(names: &[&str]) -> oci_spec::Result<LinuxSyscall> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    LinuxSyscallBuilder::default()
        .names(names)
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()
}

fn allow_if(name: &str, condition: LinuxSeccompArg) -> oci_spec::Result<LinuxSyscall> {
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args([condition])
        .build()
}

fn missing(name: &str) -> oci_spec::Result<LinuxSyscall> {
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(libc::ENOSYS.unsigned_abs())
        .build()
}

fn compare(
    index: usize,
    op: LinuxSeccompOperator,
    value: u64,
    value_two: Option<u64>,
) -> oci_spec::Result<LinuxSeccompArg> {
    let arg = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    match value_two {
        Some(two) => arg.value_two(two).build(),
        None => arg.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(capabilities: u64) -> Vec<String> {
        let profile = default_profile(CapabilitySet(capabilities)).expect("every builder is given all it needs");
        let rules = profile.syscalls().clone().unwrap_or_default();
        let allowed = rules
            .iter()
            .filter(|rule| rule.action() == LinuxSeccompAction::ScmpActAllow);
        allowed.flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn dangerous_calls_need_their_capability() {
        for call in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "kexec_load",
            "init_module",
            "add_key",
        ] {
            assert!(!names(0).contains(&call.to_owned()), "{call}");
        }
        assert!(names(1 << 21).contains(&"mount".to_owned()));
        assert!(names(1 << 18).contains(&"chroot".to_owned()));
    }

    #[test]
    fn everyday_calls_are_allowed_and_none_twice_without_condition() {
        for call in [
            "read",
            "openat",
            "execve",
            "futex",
            "epoll_wait",
            "ptrace",
            "io_uring_setup",
            "rseq",
        ] {
            let wanted = call != "io_uring_setup";
            assert_eq!(names(0).contains(&call.to_owned()), wanted, "{call}");
        }
        let mut sorted = ALWAYS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALWAYS.len());
    }
}
