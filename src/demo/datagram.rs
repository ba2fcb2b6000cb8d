//! Datagrams: asking, and answering.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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
