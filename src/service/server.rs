//! The name server of the pods: its sockets are in the node's network namespace, and what it asks others it asks from the host's.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::SharedZone;
use super::answer::{Answer, answer, for_udp, refusal};
use super::forward::{self, Transport};
use crate::model::DNS;
use crate::net::NodeNetwork;

/// Questions by UDP are no longer (RFC 9715 says 1,400 at most).
const LONGEST: usize = 4096;
/// How many questions may wait for others at a time, and how many clients may be connected. Who comes when there are more is not heard, and
/// asks again.
const WAITING: usize = 512;
const CLIENTS: usize = 128;
/// After a connection that could not be had, such as for want of descriptors: what others need to let go of theirs.
const BREATH: Duration = Duration::from_millis(50);
/// How long a connected client may be silent (RFC 7766: a few seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// Answers until it is dropped.
pub(super) async fn run(network: &NodeNetwork, zone: SharedZone) {
    let sockets = match open(network).await {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::warn!(%error, "pods have no name server");
            return std::future::pending().await;
        }
    };
    let (udp, tcp) = sockets;
    tokio::join!(serve_udp(Arc::new(udp), zone.clone()), serve_tcp(tcp, zone));
}

async fn open(network: &NodeNetwork) -> io::Result<(UdpSocket, TcpListener)> {
    let address = SocketAddr::V4(SocketAddrV4::new(DNS, 53));
    let made = network.run(move || {
        let udp = std::net::UdpSocket::bind(address)?;
        let tcp = std::net::TcpListener::bind(address)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok::<_, io::Error>((udp, tcp))
    });
    let (udp, tcp) = made.await.map_err(io::Error::other)??;
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
}

async fn serve_udp(socket: Arc<UdpSocket>, zone: SharedZone) {
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        // An error is an earlier answer's, that a client did not wait for.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(request) = Message::from_vec(&buffer[..length]).ok().filter(is_question) else {
            continue;
        };
        let found = answer(&zone.read().expect("no writer panics"), &request);
        let is_known = matches!(found, Answer::Own(_));
        let (question, socket) = (buffer[..length].to_vec(), socket.clone());
        let reply = async move {
            if let Some(bytes) = respond(found, &request, &question, Transport::Udp).await {
                // A client that is gone needs no answer.
                let _ = socket.send_to(&bytes, client).await;
            }
        };
        while waiting.try_join_next().is_some() {}
        if is_known {
            reply.await;
        } else if waiting.len() < WAITING {
            waiting.spawn(reply);
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: SharedZone) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < CLIENTS => {
                match accepted {
                    Ok((stream, _)) => drop(clients.spawn(serve_client(stream, zone.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, "a client of the name server was not heard");
                        sleep(BREATH).await;
                    }
                }
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

/// Answers the questions of one connection, one after the other, until the client hangs up or says nothing.
async fn serve_client(mut stream: TcpStream, zone: SharedZone) {
    while let Ok(Some(question)) = timeout(SILENCE, read(&mut stream)).await {
        let Some(request) = Message::from_vec(&question).ok().filter(is_question) else {
            return;
        };
        let found = answer(&zone.read().expect("no writer panics"), &request);
        let bytes = respond(found, &request, &question, Transport::Tcp).await;
        let framed =
            bytes.and_then(|bytes| Some([&u16::try_from(bytes.len()).ok()?.to_be_bytes(), &bytes[..]].concat()));
        let Some(framed) = framed else { return };
        if !matches!(timeout(SILENCE, stream.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut question = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut question).await.ok()?;
    Some(question)
}

fn is_question(message: &Message) -> bool {
    message.metadata.message_type == hickory_proto::op::MessageType::Query
}

/// The answer as it is sent; what is not known here is what others say. If they do not, that is a failure of the server, at which
/// clients turn to their next one.
async fn respond(found: Answer, request: &Message, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let response = match found {
        Answer::Own(response) => response,
        Answer::Elsewhere => match forward::ask(question, transport).await {
            Some(bytes) => return Some(bytes),
            None => refusal(request, ResponseCode::ServFail),
        },
        Answer::Follow(mut response, name) => {
            let kind = request.queries.first().map_or(RecordType::A, Query::query_type);
            response.add_answers(follow(request.metadata.id, name, kind, transport).await);
            response
        }
    };
    match transport {
        Transport::Udp => for_udp(request, &response),
        Transport::Tcp => response.to_vec().ok(),
    }
}

/// What others know of a name; nothing if they do not answer.
async fn follow(id: u16, name: Name, kind: RecordType, transport: Transport) -> Vec<hickory_proto::rr::Record> {
    let mut question = Message::query();
    question.metadata.id = id;
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name, kind));
    let Ok(bytes) = question.to_vec() else {
        return Vec::new();
    };
    let answer = forward::ask(&bytes, transport).await;
    let answer = answer.and_then(|bytes| Message::from_vec(&bytes).ok());
    answer.map(|message| message.answers).unwrap_or_default()
}
