//! The `pause` process, which holds a shared pid namespace as its process 1.
//!
//! Every container of the pod sees it, and one with CAP_SYS_PTRACE may look through it as far as it reaches: `/proc/1/root`, `cwd`,
//! `exe`, `fd`, `mem`. So it reaches nothing. Its root is an empty tmpfs in a mount namespace of its own; it has no
//! descriptors, capabilities or environment; its program is one of a few bytes of ours, since the supervisor's memory and the file of
//! our binary are not for containers. Should somebody write instructions into it, they wait for ever too: nothing else is let through
//! by its seccomp filter, and it can't be traced by those who lack that capability.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::super::record::make_dir;
use super::super::sys;

/// The root's options: one page, and inodes for the directory and the program.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=0555,size=65536,nr_inodes=4";

/// Instructions that wait for a signal, for ever. The kernel of aarch64 has no `pause`, but `ppoll` of nothing.
#[cfg(target_arch = "x86_64")]
const WAIT: (&[u8], u16, i64) = (
    &[0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7], // 0: mov $34, %eax; syscall; jmp 0b
    62,
    libc::SYS_pause,
);
#[cfg(target_arch = "aarch64")]
const WAIT: (&[u8], u16, i64) = (
    &[
        0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, // 0: mov x0, #0; x1; x2
        0x03, 0x00, 0x80, 0xd2, 0x04, 0x00, 0x80, 0xd2, // mov x3, #0; x4
        0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, // mov x8, #73; svc #0
        0xf9, 0xff, 0xff, 0x17, // b 0b
    ],
    183,
    libc::SYS_ppoll,
);

/// Starts it as a child of this process, which has one thread; returns where its pid namespace is. This process can't be it: its
/// command line, memory and descriptors would be open to containers. `place` is a directory that it may mount over; at `view` its processes are seen
/// afterwards (proc(5)).
///
/// # Errors
/// The text is for people.
pub(super) fn start(place: &Path, view: &Path) -> Result<PathBuf, String> {
    let failed = |e: std::io::Error| format!("shared pid namespace: {e}");
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()));
    let ((pid_of, tell_pid), (failure, tell_failure)) = (pipe()?, pipe()?);
    match sys::fork().map_err(failed)? {
        sys::Fork::Child => {
            // Whoever unshares this namespace can't go back, so it is not the supervisor.
            match sys::unshare(UnshareFlags::NEWPID).and_then(|()| sys::fork()) {
                Ok(sys::Fork::Child) => run(place, view, tell_failure),
                Ok(sys::Fork::Parent(pid)) => {
                    let _ = rustix::io::write(&tell_pid, &pid.to_le_bytes());
                    sys::exit_now(0)
                }
                Err(_) => sys::exit_now(1),
            }
        }
        sys::Fork::Parent(_) => {
            drop((tell_pid, tell_failure));
            let (mut pid, mut text) = ([0; 4], String::new());
            File::from(pid_of).read_exact(&mut pid).map_err(failed)?;
            // Closed by the kernel when it has become its program; before that no container may see it.
            File::from(failure).read_to_string(&mut text).map_err(failed)?;
            if !text.is_empty() {
                return Err(format!("shared pid namespace: {text}"));
            }
            Ok(PathBuf::from(format!("/proc/{}/ns/pid", i32::from_le_bytes(pid))))
        }
    }
}

fn run(place: &Path, view: &Path, tell_failure: OwnedFd) -> ! {
    // Orphans of the namespace become its children; ignored they are reaped by the kernel, and what is ignored stays so in a new
    // program.
    sys::ignore_children();
    let shown = show(view).map_err(|e| format!("its view: {e}"));
    let text = match shown.and_then(|()| give_up_everything(place, &tell_failure)) {
        Ok(()) => format!("its program: {}", sys::become_program(c"/pause", &[c"pause"])),
        Err(text) => text,
    };
    let _ = rustix::io::write(&tell_failure, text.as_bytes());
    sys::exit_now(1)
}

/// Mounts a view of the processes of this namespace, which nobody outside of it could make: containers are furnished there.
fn show(view: &Path) -> std::io::Result<()> {
    make_dir(view)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", view, "proc", flags, None)?)
}

/// Leaves the host's files, descriptors and capabilities, in an order in which each step still may be done.
fn give_up_everything(place: &Path, kept: &OwnedFd) -> Result<(), String> {
    enter_empty_root(place).map_err(|e| format!("empty root: {e}"))?;
    sys::close_all_but(kept.as_raw_fd()).map_err(|e| format!("descriptors: {e}"))?;
    drop_capabilities().map_err(|e| format!("capabilities: {e}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| format!("no new privileges: {e}"))?;
    sys::load_seccomp(&filter(), 0).map_err(|e| format!("seccomp filter: {e}"))
}

/// Makes a root that holds the program alone, read-only, and nothing of the old one. The control groups' namespace is left too: its
/// root would be the host's.
fn enter_empty_root(place: &Path) -> std::io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("pause", place, "tmpfs", flags, Some(ROOT_OPTIONS))?;
    let file = place.join("pause");
    fs::write(&file, program())?;
    // A program that who becomes it may not read can't be traced without CAP_SYS_PTRACE.
    fs::set_permissions(&file, Permissions::from_mode(0o111))?;
    rustix::process::chdir(place)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(rustix::mount::mount_remount(
        "/",
        flags | MountFlags::RDONLY,
        ROOT_OPTIONS,
    )?)
}

fn drop_capabilities() -> rustix::io::Result<()> {
    // The kernel knows fewer than 64, and refuses the first that it does not know.
    for number in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)
}

/// Lets through what is still to come, and refuses the rest (seccomp(2), `linux/bpf_common.h`).
fn filter() -> Vec<u8> {
    const LOAD_NUMBER: (u16, u8, u8, u32) = (0x20, 0, 0, 0);
    const REFUSE: (u16, u8, u8, u32) = (0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32);
    const ALLOW: (u16, u8, u8, u32) = (0x06, 0, 0, 0x7fff_0000);
    // The last two tell of a program that could not be run.
    let allowed = [WAIT.2, libc::SYS_execve, libc::SYS_write, libc::SYS_exit_group];
    let compare = allowed.iter().enumerate().map(|(place, number)| {
        let to_allow = u8::try_from(allowed.len() - place).expect("there are four");
        let number = u32::try_from(*number).expect("system calls have small numbers");
        (0x15, to_allow, 0, number)
    });
    let instructions = std::iter::once(LOAD_NUMBER).chain(compare).chain([REFUSE, ALLOW]);
    let bytes = |(code, yes, no, value): (u16, u8, u8, u32)| {
        let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), value.to_ne_bytes());
        [a, b, yes, no, c, d, e, f]
    };
    instructions.flat_map(bytes).collect()
}

/// The program: headers of an executable with one segment (elf(5)), and [`WAIT`].
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    let (code, machine, _) = WAIT;
    let length = u64::from(HEADERS) + code.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |field: &[u8]| bytes.extend_from_slice(field);
    for half in [2, machine] {
        put(&half.to_le_bytes());
    }
    put(&1_u32.to_le_bytes());
    for word in [BASE + u64::from(HEADERS), 64, 0] {
        put(&u64::to_le_bytes(word));
    }
    put(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        put(&half.to_le_bytes());
    }
    // Loaded as a whole, to be read and executed; aligned for pages of any size.
    for word in [1_u32, 5] {
        put(&word.to_le_bytes());
    }
    for word in [0, BASE, BASE, length, length, 0x1_0000] {
        put(&u64::to_le_bytes(word));
    }
    put(code);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_starts_where_its_instructions_are() {
        let program = program();
        assert_eq!(&program[..4], b"\x7fELF");
        assert_eq!(&program[120..], WAIT.0);
        assert_eq!(
            u64::from_le_bytes(program[24..32].try_into().expect("eight")),
            0x40_0000 + 120
        );
    }

    #[test]
    fn the_filter_jumps_to_its_end_or_refuses() {
        let filter = filter();
        let instruction = |place: usize| &filter[place * 8..][..8];
        assert_eq!(filter.len(), 7 * 8);
        for place in 1..5 {
            assert_eq!(place + 1 + usize::from(instruction(place)[2]), 6);
        }
        assert_eq!(instruction(6)[4..], 0x7fff_0000_u32.to_ne_bytes());
    }
}
