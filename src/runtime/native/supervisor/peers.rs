//! Connections of the node: accepted, heard, answered, closed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal};

use super::super::sys;
use super::super::wire::{Reply, Request, decode, encode};
use super::poller::{self, Token};
use super::{Supervisor, Watched, note};
use crate::runtime::ContainerId;

/// One connection.
pub(super) struct Peer {
    stream: OwnedFd,
    received: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Wants to know of changes.
    pub watches: bool,
    /// Is attached to this container.
    pub attached: Option<ContainerId>,
}

impl Supervisor {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let stream = OwnedFd::from(stream);
            if let Err(error) = self.welcome(stream) {
                note(&format!("connection: {error}"));
            }
        }
    }

    /// The socket's directory keeps others out; this keeps out those that a broken directory would let in.
    fn welcome(&mut self, stream: OwnedFd) -> std::io::Result<()> {
        if sys::peer_uid(&stream)? != rustix::process::geteuid().as_raw() {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        rustix::io::ioctl_fionbio(&stream, true)?;
        let token = self.poller.add(&stream, poller::READABLE, Watched::Peer)?;
        let peer = Peer {
            stream,
            received: Vec::new(),
            fds: Vec::new(),
            watches: false,
            attached: None,
        };
        self.peers.insert(token, peer);
        Ok(())
    }

    /// Reads what a peer says, and does what it asks once that is complete.
    pub(super) fn hear(&mut self, token: Token) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        match sys::receive(&peer.stream, &mut self.buffer, &mut peer.fds) {
            Ok(0) => return self.hang_up(token),
            Ok(length) => peer.received.extend_from_slice(&self.buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => return self.hang_up(token),
        }
        match decode::<Request>(&mut peer.received) {
            Ok(None) => {}
            Ok(Some(request)) => {
                let fds = std::mem::take(&mut peer.fds);
                peer.received = Vec::new();
                self.serve(token, request, fds);
            }
            Err(text) => {
                note(&format!("request: {text}"));
                self.hang_up(token);
            }
        }
    }

    /// Sends an answer. A connection's answers are few and far smaller than its buffer, so a peer for whom there is no room is
    /// a broken one; only hints may be many, and of those one that waits to be read is as good as two.
    pub(super) fn reply(&mut self, token: Token, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let Some(peer) = self.peers.get(&token) else { return };
        match encode(reply).and_then(|frame| sys::send(&peer.stream, &frame, fds)) {
            Ok(_) => {}
            Err(error) if peer.watches && error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.hang_up(token),
        }
    }

    /// Ends a connection, and what was done for it alone.
    pub(super) fn hang_up(&mut self, token: Token) {
        self.poller.forget(token);
        let Some(peer) = self.peers.remove(&token) else { return };
        if let Some(container) = peer.attached.and_then(|id| self.containers.get_mut(&id)) {
            container.attached.retain(|attached| *attached != token);
            container.output.detach(token, &mut self.poller);
        }
        let left = self
            .execs
            .iter()
            .filter(|(_, exec)| exec.peer == token && exec.dies_with_peer);
        left.for_each(|(pid, _)| kill(*pid));
    }

    pub(super) fn tell_watchers(&mut self) {
        let watchers: Vec<Token> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.watches)
            .map(|(token, _)| *token)
            .collect();
        for watcher in watchers {
            self.reply(watcher, &Reply::Changed, &[]);
        }
    }

    /// Whether the other side of a connection is still there.
    pub(super) fn is_connected(&self, token: Token) -> bool {
        self.peers.contains_key(&token)
    }
}

/// Kills a child that was not reaped yet: so it is the process meant.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Borrows an optional descriptor as a list.
pub(super) fn list(fd: Option<&OwnedFd>) -> Vec<BorrowedFd<'_>> {
    fd.map(AsFd::as_fd).into_iter().collect()
}
