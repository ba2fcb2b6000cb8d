//! Who else has a port: the sockets of the machine as `/proc` lists them (`proc_pid_net(5)`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::carry::Place;
use crate::net::Protocol;

/// `TCP_LISTEN`.
const LISTENS: &str = "0A";

/// Who has a port, as far as it can be seen. From within a user namespace the descriptors of processes outside of it can't be read, whoever
/// owns them; whose the socket is can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// A process.
    Process {
        /// Its number.
        pid: u32,
        /// What it calls itself.
        name: String,
    },
    /// One of the same user.
    SameUser,
    /// One of another user, or it is gone.
    Other,
}

impl Holder {
    /// Whether it may still be the one: a process that has ended is not, nor is another one of its number.
    pub(super) fn may_hold(&self) -> bool {
        match self {
            Holder::Process { pid, name } => {
                let present = fs::read_to_string(format!("/proc/{pid}/comm"));
                present.is_ok_and(|present| present.trim() == name)
            }
            Holder::SameUser | Holder::Other => true,
        }
    }
}

/// Who has a port. Looks at every process; it blocks.
pub(super) fn find_holder(place: &Place) -> Holder {
    let protocol = match place.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    // A socket of both families stands in the list of IPv6.
    let lists = [protocol.to_owned(), format!("{protocol}6")];
    let found = lists.iter().find_map(|file| {
        let text = fs::read_to_string(format!("/proc/self/net/{file}")).ok()?;
        socket_of(&text, place)
    });
    let Some(socket) = found else {
        return Holder::Other;
    };
    let user = rustix::process::getuid().as_raw();
    match process_of(socket.inode) {
        Some((pid, name)) => Holder::Process { pid, name },
        None if socket.user == user => Holder::SameUser,
        None => Holder::Other,
    }
}

fn process_of(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut holders = pids.filter(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| target.as_os_str() == wanted.as_str())
    });
    let pid = holders.next()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    inode: u64,
    user: u32,
}

/// The socket in a list that has the port, or has it at all addresses.
fn socket_of(list: &str, place: &Place) -> Option<Socket> {
    let lines = list
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = lines.filter_map(|words| {
        let (ip, port) = parse_address(words.get(1)?)?;
        let is_open = place.protocol == Protocol::Udp || words.get(3) == Some(&LISTENS);
        let is_same = ip == place.ip || ip.is_unspecified() || place.ip.is_unspecified();
        let socket = || {
            Some(Socket {
                inode: words.get(9)?.parse().ok()?,
                user: words.get(7)?.parse().ok()?,
            })
        };
        (is_open && is_same && port == place.port).then(socket)?
    });
    found.next()
}

/// `0100007F:1F90`: words of the machine's own order, and a port.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ip: &str, port: u16) -> Place {
        Place {
            protocol: Protocol::Tcp,
            ip: ip.parse().expect("an address"),
            port,
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_socket_that_listens_at_an_address_or_at_all_is_found() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmnt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000  1000 0 11 1 0 20\n\
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 12 1 0 100\n\
            2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 13 1 0 100\n\
            3: junk\n";
        for (ip, port, expected) in [
            ("127.0.0.1", 8080, Some(12)),
            ("0.0.0.0", 8080, Some(12)),
            ("127.0.0.2", 8080, None),
            ("127.0.0.1", 80, Some(13)),
            ("127.0.0.1", 81, None),
        ] {
            let found = socket_of(list, &place(ip, port));
            assert_eq!(found.as_ref().map(|socket| socket.inode), expected, "{ip}:{port}");
        }
        let six = "0\n0: 00000000000000000000000001000000:1F90 0:0 0A 0 0 0 7 0 14\n1: 0000000000000000FFFF00000100007F:0051 0:0 0A 0 0 0 7 0 15";
        let socket = |inode| Some(Socket { inode, user: 7 });
        assert_eq!(socket_of(six, &place("::1", 8080)), socket(14));
        assert_eq!(socket_of(six, &place("127.0.0.1", 81)), socket(15));
    }

    #[test]
    fn our_own_port_is_found_to_be_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("is bound").port();
        let holder = find_holder(&place("127.0.0.1", port));
        let is_me = |pid: u32| pid == std::process::id();
        assert!(
            matches!(&holder, Holder::Process { pid, name } if is_me(*pid) && !name.is_empty()),
            "{holder:?}"
        );
    }
}
