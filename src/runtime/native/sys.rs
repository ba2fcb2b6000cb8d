//! The system calls that need `unsafe`, each with its reason, and descriptors sent over sockets. No policy.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// The most descriptors that come with one message: standard input, output and error.
const MAX_FDS: usize = 3;
/// `PROC_SUPER_MAGIC` of statfs(2).
pub(super) const PROC_MAGIC: libc::__fsword_t = 0x9fa0;

/// Which side of a fork this is.
pub(super) enum Fork {
    Child,
    Parent(i32),
}

/// Forks. Only for the supervisor, which has one thread: the child may then do anything its parent may.
pub(super) fn fork() -> io::Result<Fork> {
    debug_assert!(
        is_single_threaded(),
        "a forked child of several threads may not even allocate"
    );
    // SAFETY: there is no other thread that could hold a lock which the child would find locked for ever.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Forks a child of this process's parent (`CLONE_PARENT` of clone(2)). Only for what was forked by [`fork`], and so has one thread.
pub(super) fn fork_sibling() -> io::Result<Fork> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: as for `fork`; without a stack of its own the child goes on with a copy of this one. All other arguments are null.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(i32::try_from(pid).expect("a pid"))),
    }
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Ends a forked child without running what its parent registered for its own exit.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Unshares namespaces of the calling process, which has one thread.
pub(super) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags used here are namespaces, never the table of descriptors that borrowed descriptors rely on.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes a mount that is attached nowhere read-only.
pub(super) fn set_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is empty and ends with a zero, the structure lives until after the call, and its size is its own.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Blocks SIGCHLD and returns a descriptor that is readable when one is pending.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: `mask` is initialised by sigemptyset before it is read; signalfd returns a new descriptor that nobody else
    // owns.
    unsafe {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, mask.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Gives a forked child the signals a container expects: none blocked, none ignored. Rust ignores SIGPIPE, and a shell may have
/// started the node with SIGINT ignored; an ignored signal stays ignored through `execve`, and `yes | head` would spin
/// for ever.
pub(super) fn default_signals() {
    // SAFETY: `mask` is initialised before it is read; SIG_DFL installs no handler.
    unsafe {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), std::ptr::null_mut());
        for signal in 1..=libc::SIGRTMAX() {
            // Those that cannot be set (SIGKILL, SIGSTOP, libc's own) cannot be ignored either, or are nobody's concern.
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Lets the kernel reap this process's children: enough for a `pause` process.
pub(super) fn ignore_children() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// Lets signals pass by which somebody who stops a service ends whatever is in its session or control group.
pub(super) fn ignore_endings() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN installs no handler.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Gives up the terminal of this session, which this process leads: another session may then have it (tty_ioctl(4)).
pub(super) fn leave_terminal() -> io::Result<()> {
    // SAFETY: SIG_IGN and SIG_DFL install no handler; the request takes no argument.
    unsafe {
        // The session's foreground processes are told by a signal, and this is one of them.
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let left = libc::ioctl(0, libc::TIOCNOTTY);
        let error = io::Error::last_os_error();
        libc::signal(libc::SIGHUP, libc::SIG_DFL);
        if left == 0 { Ok(()) } else { Err(error) }
    }
}

/// Closes every descriptor of a forked child but the standard streams and these.
pub(super) fn close_others(kept: &[std::os::fd::RawFd]) -> io::Result<()> {
    let mut kept: Vec<_> = kept.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().map(Some).chain([None]) {
        let last = fd.map_or(libc::c_uint::MAX, |fd| fd.saturating_sub(1));
        // SAFETY: the caller uses no other descriptor afterwards, owned or not.
        if first <= last && unsafe { libc::close_range(first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        first = first.max(fd.map_or(libc::c_uint::MAX, |fd| fd + 1));
    }
    Ok(())
}

/// Closes every descriptor of a forked child but one.
pub(super) fn close_all_but(kept: std::os::fd::RawFd) -> io::Result<()> {
    let kept = libc::c_uint::try_from(kept).map_err(|_| io::ErrorKind::InvalidInput)?;
    for (first, last) in [(0, kept.checked_sub(1)), (kept + 1, Some(libc::c_uint::MAX))] {
        let Some(last) = last else { continue };
        // SAFETY: the caller uses no other descriptor afterwards, owned or not.
        if unsafe { libc::close_range(first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Replaces this process by a program with an empty environment. Returns only with the reason why that failed.
pub(super) fn become_program(path: &std::ffi::CStr, args: &[&std::ffi::CStr]) -> io::Error {
    let argv: Vec<_> = args
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    // SAFETY: both lists end with a null pointer, and the strings live until after the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), [std::ptr::null()].as_ptr()) };
    io::Error::last_os_error()
}

/// Puts a seccomp filter (instructions of classic BPF, 8 bytes each) on the calling thread, beside those it has (seccomp(2)).
pub(super) fn load_seccomp(program: &[u8], flags: u32) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .chunks_exact(size_of::<libc::sock_filter>())
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the structure and the instructions that it points to live until after the call, which copies them.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    };
    if loaded == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal by number through a pidfd: the process meant, or nobody.
pub(super) fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open while borrowed; a null siginfo means the kernel fills it in as for kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback interface of the calling process's network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an all-zero `ifreq` is valid; the name fits and stays terminated; both requests take an `ifreq`, and the
    // first fills the flags that the second reads.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Moves what this process was started with as standard input and output out of the way of the numbers 0 and 1, which
/// become `/dev/null`: what is opened later must not be mistaken for a standard stream.
pub(super) fn take_standard_streams() -> io::Result<(OwnedFd, OwnedFd)> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((input, output))
}

/// The uid of whoever is at the other end of a unix socket. (rustix wants a pid there too, and a peer outside of this pid
/// namespace has none.)
pub(super) fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    use std::os::fd::AsRawFd;
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the buffer is a `ucred`, which is what SO_PEERCRED fills, and its length is given.
    let got = unsafe {
        let buffer = (&raw mut who).cast();
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            buffer,
            &raw mut length,
        )
    };
    if got == 0 {
        Ok(who.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Writes bytes, with descriptors beside the first of them. Returns how many bytes went.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Reads bytes and whatever descriptors came with them. No bytes means the other side is gone.
pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            fds.extend(came);
        }
    }
    Ok(received.bytes)
}
