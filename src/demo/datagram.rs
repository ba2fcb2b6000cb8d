//! Datagrams: asking, and answering.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::FromRawFd as _;
use std::time::Duration;

use super::output::line;
use super::{Failure, Outcome, net, number, process, serve};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest datagram.
const LARGEST: usize = 65_535;

/// Sends a text to the first address of a name, always from the same port, and prints what comes back.
pub(super) fn ask(target: &str, text: &str, options: &[&str]) -> Outcome {
    let (mut from, mut times) = (0_u16, 1_u32);
    for option in options.chunks(2) {
        match option {
            ["--from", port] => from = number("port", port)?,
            ["--times", count] => times = number("count", count)?,
            other => return Err(Failure::Usage(format!("{} is not understood", other.join(" ")))),
        }
    }
    let addresses = net::addresses(target)?;
    let address = addresses
        .first()
        .ok_or_else(|| Failure::Failed(format!("{target} has no address")))?;
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, from))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, from))?,
    };
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; LARGEST];
    for _ in 0..times {
        socket.send(text.as_bytes())?;
        let length = socket.recv(&mut buffer)?;
        line(&String::from_utf8_lossy(&buffer[..length]))?;
    }
    Ok(0)
}

/// Sends an echo of ICMP to an address, and says whether it came back (icmp(7), "ping sockets").
pub(super) fn ping(address: &str) -> Outcome {
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| Failure::Usage(format!("{address} is no address")))?;
    // SAFETY: a socket of this kind is a descriptor like any other, which nobody else has.
    let socket = unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP);
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        UdpSocket::from(std::os::fd::OwnedFd::from_raw_fd(descriptor))
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((address, 0))?;
    // The kernel fills the number and the sum in.
    let (mut echo, mut buffer) = (vec![8, 0, 0, 0, 0, 0, 0, 1], [0; 64]);
    echo.extend(b"is there");
    socket.send(&echo)?;
    let length = socket.recv(&mut buffer)?;
    match &buffer[..length] {
        [0, 0, .., b'r', b'e'] => line(&format!("{address} is there"))?,
        other => return Err(Failure::Failed(format!("{address} answers {other:?}"))),
    }
    Ok(0)
}

/// Answers every datagram with the pod's name, what it says and from where, until it is told to end.
pub(super) fn answer(options: &[&str]) -> Outcome {
    let port = match options {
        [] => 8080,
        ["--port", port] => number("port", port)?,
        other => return Err(Failure::Usage(format!("{} is not understood", other.join(" ")))),
    };
    process::exit_on_term();
    // One socket for IPv6 and IPv4, where the kernel has both.
    let socket = UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let from = format!(" from {}", client.ip().to_canonical());
        let answer = [
            serve::pod_name().as_bytes(),
            b" heard ",
            &buffer[..length],
            from.as_bytes(),
        ]
        .concat();
        socket.send_to(&answer, client)?;
    }
}
