//! `epoll` with tokens: which descriptor is ready is told by a number that is never used again, and that stands for
//! something of the owner's.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll;

/// Ready to be read, or ended.
pub(super) const READABLE: epoll::EventFlags = epoll::EventFlags::IN;
/// Ready to be written, or closed by its reader.
pub(super) const WRITABLE: epoll::EventFlags = epoll::EventFlags::OUT;

/// How many events one round handles; what is left comes in the next.
const ROUND: usize = 32;

/// Names a watched descriptor.
pub(super) type Token = u64;

/// The set of watched descriptors.
pub(super) struct Poller<W> {
    epoll: OwnedFd,
    last: Token,
    watched: HashMap<Token, (i32, W)>,
}

impl<W: Clone> Poller<W> {
    pub fn new() -> io::Result<Poller<W>> {
        Ok(Poller {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            last: 0,
            watched: HashMap::new(),
        })
    }

    /// Watches a descriptor until [`Poller::forget`], which must come before it is closed: a forked child may hold another
    /// copy of it, and epoll would then go on.
    pub fn add(&mut self, fd: impl AsFd, flags: epoll::EventFlags, what: W) -> io::Result<Token> {
        self.last += 1;
        epoll::add(&self.epoll, fd.as_fd(), epoll::EventData::new_u64(self.last), flags)?;
        self.watched.insert(self.last, (fd.as_fd().as_raw_fd(), what));
        Ok(self.last)
    }

    /// What a token stands for, if it is still watched.
    pub fn what(&self, token: Token) -> Option<W> {
        self.watched.get(&token).map(|(_, what)| what.clone())
    }

    /// The tokens of everything like this.
    pub fn tokens_of(&self, is_wanted: impl Fn(&W) -> bool) -> Vec<Token> {
        self.watched
            .iter()
            .filter(|(_, (_, what))| is_wanted(what))
            .map(|(token, _)| *token)
            .collect()
    }

    pub fn forget(&mut self, token: Token) {
        if let Some((fd, _)) = self.watched.remove(&token) {
            // SAFETY: the number is only handed to epoll_ctl(EPOLL_CTL_DEL), which fails harmlessly if it is closed.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            // It fails only for a descriptor that is closed and so watched no longer.
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    /// Waits for events, at most until the deadline.
    pub fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<Token>> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(ROUND);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(error) => Err(error.into()),
        }
    }
}
