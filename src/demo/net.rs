//! Connecting to a port.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use super::output::line;
use super::{Failure, Outcome, dns, number, process};

/// How long a connection may take, and how long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is printed at most of what the other side says.
const SHOWN: u64 = 4096;

/// Connects to the first address of a name that answers, and prints what the other side says first, if anything. `within` is how many
/// milliseconds all of it may take, the search for the name included.
pub(super) fn connect(target: &str, within: Option<u64>) -> Outcome {
    let Some(within) = within else {
        return connect_to(target);
    };
    let (tell, told) = mpsc::channel();
    let owned = target.to_owned();
    // It ends with the process, if not before.
    std::thread::spawn(move || tell.send(connect_to(&owned)));
    told.recv_timeout(Duration::from_millis(within))
        .unwrap_or_else(|_| Err(Failure::Failed(format!("{target}: no answer within {within} ms"))))
}

fn connect_to(target: &str) -> Outcome {
    let mut last = format!("{target} has no address");
    for address in addresses(target)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return hear(stream),
            Err(error) => last = format!("{} port {}: {error}", address.ip(), address.port()),
        }
    }
    Err(Failure::Failed(last))
}

/// Asks an HTTP server for its root or the path behind HOST:PORT, and prints its whole answer.
pub(super) fn fetch(target: &str) -> Outcome {
    let (target, path) = target.find('/').map_or((target, "/"), |slash| target.split_at(slash));
    let heard = ask_for(target, path)?;
    line(heard.trim_end())?;
    Ok(0)
}

/// What an HTTP server answers when asked for a path.
pub(super) fn ask_for(target: &str, path: &str) -> Result<String, Failure> {
    let mut last = format!("{target} has no address");
    for address in addresses(target)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes())?;
                let mut heard = Vec::new();
                stream.take(SHOWN).read_to_end(&mut heard)?;
                return Ok(String::from_utf8_lossy(&heard).into_owned());
            }
            Err(error) => last = format!("{} port {}: {error}", address.ip(), address.port()),
        }
    }
    Err(Failure::Failed(last))
}

/// Between two requests of one connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks an HTTP server for its root by one connection, and prints the first line of each answer, until the connection ends.
pub(super) fn stay(target: &str) -> Outcome {
    let address = addresses(target)?.into_iter().next();
    let address = address.ok_or_else(|| Failure::Failed(format!("{target} has no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut heard = [0; 1024];
    loop {
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
        let length = stream.read(&mut heard)?;
        if length == 0 {
            return Err(Failure::Failed("the other side ended the connection".to_owned()));
        }
        let answer = String::from_utf8_lossy(&heard[..length]);
        line(answer.lines().next().unwrap_or_default())?;
        std::thread::sleep(PAUSE);
    }
}

/// The addresses of HOST:PORT.
pub(super) fn addresses(target: &str) -> Result<Vec<SocketAddr>, Failure> {
    let (host, port) = target
        .rsplit_once(':')
        .ok_or_else(|| Failure::Usage(format!("{target} is no HOST:PORT")))?;
    let port: u16 = number("port", port)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => dns::addresses(host)?,
    };
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
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
