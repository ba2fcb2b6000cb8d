//! First packets of connections, as the kernel shows them (nfnetlink_log, `linux/netfilter/nfnetlink_log.h`).

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::unix::AsyncFd;

use super::packet::Knock;
use super::rules::group;
use crate::model::Family;
use crate::net::attributes::{Attributes, attribute};
use crate::net::{netfilter, nft};

/// `NFNL_SUBSYS_ULOG`, `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`.
const SUBSYSTEM: u16 = 4;
const PACKET: u16 = 0;
const CONFIGURE: u16 = 1;
/// `NFULA_PAYLOAD`.
const PAYLOAD: u16 = 9;
/// `NFULNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// `NFULNL_COPY_PACKET`, and how much of it: a first packet is no longer than the cable takes.
const COPY: u8 = 2;
const MOST: u32 = 2048;
/// For so many bytes of packets the node may be late; the kernel counts about 1 KiB for each. A pod sends what is lost once more.
const QUEUE: usize = 1 << 20;
/// Longer than what comes at once: one packet, and what the kernel says about it.
const BUFFER: usize = 16 << 10;

/// Opens the socket, in the calling thread's network namespace.
pub(super) fn open(family: Family) -> io::Result<OwnedFd> {
    let socket = netfilter::open()?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
    let bind = Attributes::default().bytes(1, &[BIND]);
    let mode = [&MOST.to_be_bytes()[..], &[COPY, 0]].concat();
    // One packet is enough for a message: nobody is to wait for another's.
    let how = Attributes::default().bytes(2, &mode).number(5, 1);
    for attributes in [bind, how] {
        let request = netfilter::request(
            SUBSYSTEM,
            CONFIGURE,
            netfilter::ACK,
            nft::number_of(family),
            group(family),
            &attributes,
        );
        netfilter::ask(&socket, &request, |_| {})?;
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Who knocked and has not been heard yet.
pub(super) struct Knocks {
    socket: AsyncFd<OwnedFd>,
    heard: VecDeque<Knock>,
}

impl Knocks {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Knocks> {
        Ok(Knocks {
            socket: crate::os::watch_readable(socket)?,
            heard: VecDeque::new(),
        })
    }

    pub(super) async fn next(&mut self) -> io::Result<Knock> {
        loop {
            if let Some(knock) = self.heard.pop_front() {
                return Ok(knock);
            }
            let mut guard = self.socket.readable().await?;
            let mut buffer = [0; BUFFER];
            match rustix::net::recv(self.socket.get_ref(), &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => self.heard.extend(read(&buffer[..length.min(BUFFER)])),
                Err(Errno::AGAIN) => guard.clear_ready(),
                // The kernel had more than the queue holds; they come again.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read(bytes: &[u8]) -> Vec<Knock> {
    let shown = netfilter::messages(bytes).filter(|message| message.kind == SUBSYSTEM << 8 | PACKET);
    let packets = shown.filter_map(|message| {
        let attributes = message.body.get(netfilter::HEAD_OF_NETFILTER..)?;
        Knock::read(attribute(attributes, PAYLOAD)?)
    });
    packets.collect()
}
