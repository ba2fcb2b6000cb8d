//! Connecting to a port.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::output::line;
use super::{Failure, Outcome, dns, number, process};

/// How long a connection may take, and how long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is printed at most of what the other side says.
const SHOWN: u64 = 4096;

/// Connects to the first address of a name that answers, and prints what the other side says first, if anything.
pub(super) fn connect(target: &str) -> Outcome {
    let (host, port) = target
        .rsplit_once(':')
        .ok_or_else(|| Failure::Usage(format!("{target} is no HOST:PORT")))?;
    let port: u16 = number("port", port)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => dns::addresses(host)?,
    };
    let mut last = format!("{host} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
            Ok(stream) => return hear(stream),
            Err(error) => last = format!("{address} port {port}: {error}"),
        }
    }
    Err(Failure::Failed(last))
}

/// Sends datagrams back until SIGTERM.
pub(super) fn send_back(port: u16) -> Outcome {
    process::exit_on_term();
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    line(&format!("datagrams are sent back at {}", socket.local_addr()?))?;
    let mut datagram = vec![0; 65_535];
    loop {
        let (length, sender) = socket.recv_from(&mut datagram)?;
        // Who is gone meanwhile needs no answer.
        let _ = socket.send_to(&datagram[..length], sender);
    }
}

fn hear(stream: TcpStream) -> Outcome {
    line(&format!("connected to {}", stream.peer_addr()?))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut heard = Vec::new();
    // Silence is an answer too.
    let _silence = stream.take(SHOWN).read_to_end(&mut heard);
    if !heard.is_empty() {
        line(String::from_utf8_lossy(&heard).trim_end())?;
    }
    Ok(0)
}
