//! The name server of the pods: its sockets are in the node's network namespace, and what it asks others it asks from the host's.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{Answer, answer, for_udp, passed_on, refusal};
use super::forward::{self, Transport};
use super::{MayLeave, SharedZone};
use crate::model::{Complaints, DNS};
use crate::net::NodeNetwork;
use crate::os::{Share, Shares};

/// Questions by UDP are no longer (RFC 9715 says 1,400 at most).
const LONGEST: usize = 4096;
/// A packet without its question (RFC 1035).
const HEADER: usize = 12;
/// How many questions may wait for others at a time, and how many clients may be connected. Who comes when there are more is not heard, and
/// asks again.
const WAITING: usize = 512;
const CLIENTS: usize = 128;
/// After a connection that could not be had, such as for want of descriptors: what others need to let go of theirs.
const BREATH: Duration = Duration::from_millis(50);
/// How long a connected client may be silent (RFC 7766: a few seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// After it could not listen: what lacks now it may have soon.
const AGAIN: Duration = Duration::from_secs(5);
/// How many of those places one pod may have.
const WAITING_OF_ONE: usize = 64;
const CLIENTS_OF_ONE: usize = 16;

/// Who answers.
pub(super) struct Server {
    zone: SharedZone,
    may_leave: MayLeave,
    complaints: Complaints,
    waiting: Shares<IpAddr>,
    clients: Shares<IpAddr>,
}

impl Server {
    pub(super) fn new(zone: SharedZone, may_leave: MayLeave, complaints: Complaints) -> Arc<Server> {
        Arc::new(Server {
            zone,
            may_leave,
            complaints,
            waiting: Shares::new(WAITING_OF_ONE, WAITING),
            clients: Shares::new(CLIENTS_OF_ONE, CLIENTS),
        })
    }

    /// Answers until it is dropped.
    pub(super) async fn run(self: Arc<Self>, network: &NodeNetwork) {
        let (udp, tcp) = loop {
            match open(network).await {
                Ok(sockets) => break sockets,
                Err(error) => {
                    tracing::warn!(%error, "pods have no name server");
                    let sentence = format!("pods have no name server: {DNS}:53 can't be had: {error}");
                    self.complaints.set("names", Some(sentence));
                    sleep(AGAIN).await;
                }
            }
        };
        self.complaints.set("names", None);
        tokio::join!(self.serve_udp(Arc::new(udp)), self.serve_tcp(tcp));
    }

    fn answer(&self, request: &Message, client: IpAddr) -> Answer {
        let found = answer(&self.zone.read().expect("no writer panics"), request);
        let is_ours = matches!(found, Answer::Own(_));
        let may_ask = is_ours || (self.may_leave)(client);
        match found {
            found if may_ask => found,
            // A name says as much as any packet: who may not leave does not ask others either. That it is refused and not unknown keeps
            // programs from taking it for the truth.
            _ => Answer::Own(refusal(request, ResponseCode::Refused)),
        }
    }

    async fn serve_udp(&self, socket: Arc<UdpSocket>) {
        let mut waiting = JoinSet::new();
        let mut buffer = vec![0; LONGEST];
        loop {
            // An error is an earlier answer's, that a client did not wait for.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            let request = match read_question(&buffer[..length]) {
                Ok(request) => request,
                Err(reply) => {
                    if let Some(reply) = reply {
                        // A client that is gone needs no answer.
                        let _ = socket.send_to(&reply, client).await;
                    }
                    continue;
                }
            };
            let found = self.answer(&request, client.ip());
            let is_known = matches!(found, Answer::Own(_));
            let (question, socket) = (buffer[..length].to_vec(), socket.clone());
            let share = (!is_known).then(|| self.waiting.take(client.ip()));
            let has_room = !matches!(share, Some(None));
            let reply = async move {
                let _share = share;
                if let Some(bytes) = respond(found, &request, &question, Transport::Udp).await {
                    let _ = socket.send_to(&bytes, client).await;
                }
            };
            while waiting.try_join_next().is_some() {}
            if is_known {
                reply.await;
            } else if has_room {
                waiting.spawn(reply);
            }
        }
    }

    async fn serve_tcp(self: &Arc<Self>, listener: TcpListener) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    // Whoever has its share, or comes when there is no place, is hung up on: it may come again.
                    Ok((stream, client)) => if let Some(share) = self.clients.take(client.ip()) {
                        clients.spawn(self.clone().serve_client(stream, client.ip(), share));
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a client of the name server was not heard");
                        sleep(BREATH).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }

    /// Answers the questions of one connection, one after the other, until the client hangs up or says nothing.
    async fn serve_client(self: Arc<Self>, mut stream: TcpStream, client: IpAddr, _share: Share<IpAddr>) {
        while let Ok(Some(question)) = timeout(SILENCE, read(&mut stream)).await {
            let bytes = match read_question(&question) {
                Ok(request) => {
                    let found = self.answer(&request, client);
                    respond(found, &request, &question, Transport::Tcp).await
                }
                Err(reply) => reply,
            };
            let framed =
                bytes.and_then(|bytes| Some([&u16::try_from(bytes.len()).ok()?.to_be_bytes(), &bytes[..]].concat()));
            let Some(framed) = framed else { return };
            if !matches!(timeout(SILENCE, stream.write_all(&framed)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// The question in a packet; else what is said to a malformed one, so that its sender need not wait (RFC 1035, 4.1.1), if anything: an answer
/// is never answered, for the other side might do the same.
fn read_question(packet: &[u8]) -> Result<Message, Option<Vec<u8>>> {
    let [high, low, flags, ..] = packet else {
        return Err(None);
    };
    if packet.len() < HEADER || flags & 0x80 != 0 {
        return Err(None);
    }
    Message::from_vec(packet).map_err(|_| {
        let mut header = vec![0; HEADER];
        // The same number, an answer to the same kind of question, a format error.
        (header[0], header[1], header[2], header[3]) = (*high, *low, 0x80 | (flags & 0x79), 1);
        Some(header)
    })
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

async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut question = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut question).await.ok()?;
    Some(question)
}

/// The answer as it is sent; what is not known here is what others say. If they do not, that is a failure of the server, at which
/// clients turn to their next one.
async fn respond(found: Answer, request: &Message, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let response = match found {
        Answer::Own(response) => response,
        Answer::Elsewhere => match forward::ask(question, transport).await {
            Some(bytes) if transport == Transport::Udp => return passed_on(request, bytes),
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
    let ask = async |transport| {
        let answer = forward::ask(&bytes, transport).await;
        answer.and_then(|bytes| Message::from_vec(&bytes).ok())
    };
    let answer = match ask(transport).await {
        // There is more than fits: the client is told, once all of it is known.
        Some(cut) if cut.metadata.truncation && transport == Transport::Udp => ask(Transport::Tcp).await.or(Some(cut)),
        whole => whole,
    };
    answer.map(|message| message.answers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::RwLock;

    use super::super::zone::Zone;
    use super::*;

    fn question(name: &str) -> Message {
        let mut question = Message::query();
        question.metadata.id = 7;
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        question
    }

    #[test]
    fn who_may_not_leave_does_not_ask_others_for_names_either() {
        let inside = Ipv4Addr::new(10, 244, 0, 2);
        let zone = SharedZone::new(RwLock::new(Zone::new(None)));
        let server = Server::new(zone, Arc::new(move |client| client != inside), Complaints::default());
        let outside = IpAddr::from([10, 244, 0, 3]);
        let asked = |client: IpAddr, name: &str| server.answer(&question(name), client);
        assert!(matches!(asked(outside, "secret.example.org."), Answer::Elsewhere));
        let Answer::Own(refused) = asked(inside.into(), "secret.example.org.") else {
            panic!("it would be told to others");
        };
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
        let Answer::Own(known) = asked(inside.into(), "nobody.default.svc.cluster.local.") else {
            panic!("the cluster's names are ours");
        };
        assert_eq!(known.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn a_malformed_question_is_answered_and_an_answer_is_not() {
        let whole = question("a.example.").to_vec().expect("is written");
        assert!(read_question(&whole).is_ok());
        let cut = &whole[..whole.len() - 3];
        let reply = read_question(cut).expect_err("is malformed").expect("is told");
        let reply = Message::from_vec(&reply).expect("is a message");
        assert_eq!(
            (reply.metadata.id, reply.metadata.response_code),
            (7, ResponseCode::FormErr)
        );
        let mut answer = cut.to_vec();
        answer[2] |= 0x80;
        for packet in [&answer[..], &whole[..5], &[]] {
            assert_eq!(read_question(packet).expect_err("is no question"), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_question_is_answered_or_told_that_it_is_none(
            damage in proptest::collection::vec((0_usize..64, proptest::prelude::any::<u8>()), 1..6),
            length in 0_usize..64,
        ) {
            let mut packet = question("web.default.svc.cluster.local.").to_vec().expect("is written");
            for (at, byte) in damage {
                let at = at % packet.len();
                packet[at] = byte;
            }
            packet.truncate(length);
            match read_question(&packet) {
                Ok(request) => {
                    let server = Server::new(SharedZone::new(RwLock::new(Zone::new(None))), Arc::new(|_| true), Complaints::default());
                    let _any = server.answer(&request, Ipv4Addr::LOCALHOST.into());
                }
                Err(Some(reply)) => assert_eq!(reply.len(), HEADER),
                Err(None) => assert!(packet.len() < HEADER || packet[2] & 0x80 != 0),
            }
        }
    }
}
