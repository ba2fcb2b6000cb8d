//! Asking the host's resolvers. Their addresses are read for each question: the file is small, and a laptop changes networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::model::Resolver;

/// How long a resolver may take: clients ask again after five seconds (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_secs(2);
/// As many as resolvers take of the file (`MAXNS`).
const MOST: usize = 3;
const PORT: u16 = 53;
/// The largest datagram.
const LARGEST: usize = 65_535;

/// By what the question came; its answer must fit the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The answer of the first resolver that gives one; `None` if none does.
pub(super) async fn ask(question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let file = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    for server in servers(&file) {
        let asked = async {
            match transport {
                Transport::Udp => by_udp(server, question).await,
                Transport::Tcp => by_tcp(server, question).await,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "the resolver gave no answer"),
            Err(_) => tracing::debug!(%server, "the resolver gave no answer in time"),
        }
    }
    None
}

fn servers(file: &str) -> Vec<SocketAddr> {
    let servers = Resolver::read(file);
    let first = servers.addresses().take(MOST);
    first.map(|ip| SocketAddr::new(ip, PORT)).collect()
}

async fn by_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    // A port of its own for each question: whoever wants to forge an answer has to guess it.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    // Whatever the question said of its client's room: an answer that is cut in the middle is none.
    let mut answer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer_to(question, &answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if is_answer_to(question, &answer) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Whether it has the question's number and is an answer.
fn is_answer_to(question: &[u8], answer: &[u8]) -> bool {
    answer.len() >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_resolvers_are_asked() {
        let file = "nameserver 127.0.0.53\n# nameserver 1.1.1.1\nnameserver x\nnameserver fd00::1\noptions edns0\nnameserver 9.9.9.9\nnameserver 8.8.8.8\n";
        let found: Vec<String> = servers(file).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[fd00::1]:53", "9.9.9.9:53"]);
    }

    #[tokio::test]
    async fn only_the_answer_to_the_question_is_taken() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let address = server.local_addr().expect("is bound");
        let question = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let asked = tokio::spawn(async move { by_udp(address, &question).await });
        let mut heard = [0; 64];
        let (length, client) = server.recv_from(&mut heard).await.expect("hears");
        for (first, flags) in [(8, 0x80), (7, 0), (7, 0x80)] {
            let mut answer = heard[..length].to_vec();
            (answer[0], answer[2]) = (first, flags);
            server.send_to(&answer, client).await.expect("answers");
        }
        let answer = asked.await.expect("ends").expect("an answer");
        assert_eq!((answer[0], answer[2]), (7, 0x80));
    }
}
