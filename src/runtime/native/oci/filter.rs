//! Seccomp profiles as the kernel takes them. Translating one takes milliseconds, which were most of a container's start; so each
//! profile is translated once, and its program is kept in a directory that all supervisors share.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags};

use super::super::record::make_dir;
use super::super::sys;

/// A profile ready to be loaded.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// Instructions of classic BPF, as `seccomp(2)` takes them.
    program: Vec<u8>,
    flags: u32,
}

impl Filter {
    /// Translates a profile, or finds what was kept of it in `cache`.
    ///
    /// # Errors
    /// The profile asks for what can't be had; the text is for people.
    pub fn of(profile: &LinuxSeccomp, cache: &Path) -> Result<Filter, String> {
        let flags = flags_of(profile)?;
        let kept = cache.join(key_of(profile));
        if let Some(program) = fs::read(&kept).ok().filter(|program| is_program(program)) {
            return Ok(Filter { program, flags });
        }
        let program = translate(profile)?;
        // Not being able to keep it costs the next container some milliseconds.
        let _ = make_dir(cache).and_then(|()| keep(&kept, &program));
        Ok(Filter { program, flags })
    }

    /// Confines the calling thread; needs `no_new_privs` or CAP_SYS_ADMIN.
    pub fn load(&self) -> io::Result<()> {
        sys::load_seccomp(&self.program, self.flags)
    }
}

/// Writes a file that has a name only when it is whole. Others may be doing the same: the first one stays.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(bytes)?;
    // A name that outlives a power cut must not be one of nothing.
    file.sync_data()?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// Whole instructions of 8 bytes, and as many as the kernel takes (`BPF_MAXINSNS`).
fn is_program(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len().is_multiple_of(8) && bytes.len() <= 8 * 4096
}

/// The same profile has the same key, whoever asks; another version of us may translate it otherwise.
fn key_of(profile: &LinuxSeccomp) -> String {
    let text = serde_json::to_vec(profile).expect("OCI types have string keys only");
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}-{}", env!("CARGO_PKG_VERSION"))
}

/// Flags of `seccomp(2)`. One that is for listeners only means nothing without one, and one thread needs no synchronising.
fn flags_of(profile: &LinuxSeccomp) -> Result<u32, String> {
    let actions = profile.syscalls().iter().flatten().map(LinuxSyscall::action);
    if actions
        .chain([profile.default_action()])
        .any(|action| action == LinuxSeccompAction::ScmpActNotify)
    {
        return Err("seccomp profile: SCMP_ACT_NOTIFY needs a listener, and there is none".to_owned());
    }
    let bits = profile.flags().iter().flatten().map(|flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG as u32,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    });
    Ok(bits.fold(0, |all, bit| all | bit))
}

fn translate(profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    let failed = |e: SeccompError| format!("seccomp profile: {e}");
    let default = action_of(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
    // A tree instead of a list: every system call of the container walks it.
    filter.set_ctl_optimize(2).map_err(failed)?;
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(arch_of(*arch)).map_err(failed)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action_of(rule.action(), rule.errno_ret());
        // libseccomp refuses a rule that says what holds anyway.
        if action != default {
            add_rule(&mut filter, action, rule).map_err(failed)?;
        }
    }
    export(&filter).map_err(|e| format!("seccomp profile: {e}"))
}

fn add_rule(filter: &mut ScmpFilterContext, action: ScmpAction, rule: &LinuxSyscall) -> Result<(), SeccompError> {
    let arguments: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison_of).collect();
    let mut seen = HashSet::new();
    let is_repeated = rule
        .args()
        .iter()
        .flatten()
        .any(|argument| !seen.insert(argument.index()));
    // Names that this architecture does not have can't be called either.
    for call in rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
        match arguments.as_slice() {
            [] => drop(filter.add_rule(action, call)?),
            // One rule compares each argument once (seccomp_rule_add(3)); runc makes alternatives of the others.
            many if is_repeated => {
                for one in many {
                    filter.add_rule_conditional(action, call, std::slice::from_ref(one))?;
                }
            }
            all => drop(filter.add_rule_conditional(action, call, all)?),
        }
    }
    Ok(())
}

fn export(filter: &ScmpFilterContext) -> io::Result<Vec<u8>> {
    let mut file = File::from(rustix::fs::memfd_create(c"seccomp", MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&file).map_err(io::Error::other)?;
    file.rewind()?;
    let mut program = Vec::new();
    file.read_to_end(&mut program)?;
    match is_program(&program) {
        true => Ok(program),
        false => Err(io::Error::other(format!(
            "{} bytes are no program for the kernel",
            program.len()
        ))),
    }
}

fn comparison_of(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (value, second) = (argument.value(), argument.value_two().unwrap_or(0));
    let (operator, datum) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        // The first value is the mask, the second what is left by it (OCI runtime-spec, config-linux.md, seccomp).
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), second),
    };
    // A number that is none of an argument is refused by libseccomp.
    let index = u32::try_from(argument.index()).unwrap_or(u32::MAX);
    ScmpArgCompare::new(index, operator, datum)
}

fn action_of(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(u16::try_from(errno).unwrap_or(u16::MAX)),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        // Refused before.
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

fn arch_of(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::spec::{CapabilitySet, default_profile};
    use super::*;

    /// `linux/audit.h`.
    const AUDIT_ARCH: u32 = if cfg!(target_arch = "aarch64") {
        0xc000_00b7
    } else {
        0xc000_003e
    };
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn profile(capabilities: u64) -> LinuxSeccomp {
        default_profile(CapabilitySet(capabilities)).expect("every builder is given all it needs")
    }

    /// What the kernel would answer to a system call of this architecture: the few instructions that libseccomp writes, interpreted.
    fn verdict(program: &[u8], call: &str, argument: u64) -> u32 {
        let number = i32::from(ScmpSyscall::from_name(call).expect("a system call"));
        let mut data = [0; 64];
        data[..4].copy_from_slice(&number.to_ne_bytes());
        data[4..8].copy_from_slice(&AUDIT_ARCH.to_ne_bytes());
        data[16..24].copy_from_slice(&argument.to_ne_bytes());
        let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let [c0, c1, yes, no, ..] = program[8 * at..] else {
                panic!("it ran past its end")
            };
            let operand = word(&program[8 * at + 4..8 * at + 8]);
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            at += 1;
            match u16::from_ne_bytes([c0, c1]) {
                0x20 => accumulator = word(&data[operand as usize..][..4]),
                0x54 => accumulator &= operand,
                0x05 => at += operand as usize,
                0x15 => at += jump(accumulator == operand),
                0x25 => at += jump(accumulator > operand),
                0x35 => at += jump(accumulator >= operand),
                0x06 => return operand,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_default_profile_allows_and_refuses_what_it_says() {
        let program = translate(&profile(0)).expect("it is well formed");
        for (call, argument, answer) in [
            ("read", 0, ALLOW),
            ("execve", 0, ALLOW),
            ("mount", 0, EPERM),
            ("unshare", 0, EPERM),
            ("clone3", 0, ENOSYS),
            ("clone", libc::SIGCHLD as u64, ALLOW),
            ("clone", libc::CLONE_NEWUSER as u64, EPERM),
            ("clone", (libc::CLONE_NEWNET | libc::CLONE_VM) as u64, EPERM),
            ("personality", 0, ALLOW),
            ("personality", 0x40000, EPERM),
            ("socket", libc::AF_INET as u64, ALLOW),
            ("socket", libc::AF_VSOCK as u64, EPERM),
        ] {
            assert_eq!(verdict(&program, call, argument), answer, "{call} {argument:#x}");
        }
    }

    #[test]
    fn a_profile_is_translated_once_and_kept_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = dir.path().join("seccomp");
        let first = Filter::of(&profile(0), &cache).expect("it is well formed");
        let kept = cache.join(key_of(&profile(0)));
        assert_eq!(fs::read(&kept).expect("it was kept"), first.program);
        fs::write(&kept, &first.program[..8]).expect("ours to write");
        assert_eq!(
            Filter::of(&profile(0), &cache).expect("kept").program.len(),
            8,
            "it is taken from there"
        );
        fs::write(&kept, [0; 7]).expect("ours to write");
        assert_eq!(
            Filter::of(&profile(0), &cache).expect("translated").program,
            first.program
        );
        assert_ne!(
            key_of(&profile(0)),
            key_of(&profile(1 << 21)),
            "another profile has another key"
        );
        Filter::of(&profile(0), Path::new("/proc/nowhere")).expect("keeping it is not needed");
    }

    #[test]
    fn listeners_are_refused() {
        let mut profile = profile(0);
        profile.set_default_action(LinuxSeccompAction::ScmpActNotify);
        assert!(Filter::of(&profile, Path::new("/proc/nowhere")).is_err());
    }
}
