//! What is answered to a question: from the zone, or not by us. Pure.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Found, Zone};
use crate::model::{CLUSTER_DOMAIN, Family, is_inside};

/// How long anybody may remember an answer, in seconds (CoreDNS' for clusters): pods come and go.
const TTL: u32 = 5;
/// What a client takes that says nothing (RFC 1035), and what one may ask for at most: larger packets are lost on the way.
const SMALLEST: u16 = 512;
const LARGEST: u16 = 1232;

/// How many names may stand for another before it is a circle.
const ALIASES: usize = 8;

/// Who answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// We do, with this.
    Own(Message),
    /// We do, with this and with what is found elsewhere under the name.
    Follow(Message, Name),
    /// Someone else knows.
    Elsewhere,
}

/// The answer to a question.
pub(super) fn answer(zone: &Zone, request: &Message) -> Answer {
    if request.metadata.op_code != OpCode::Query {
        return Answer::Own(refusal(request, ResponseCode::NotImp));
    }
    let [query] = &request.queries[..] else {
        return Answer::Own(refusal(request, ResponseCode::FormErr));
    };
    if query.query_class() != DNSClass::IN {
        return Answer::Own(refusal(request, ResponseCode::Refused));
    }
    let Some(mut found) = find(zone, query.name()) else {
        return Answer::Elsewhere;
    };
    let mut response = reply(request);
    response.metadata.authoritative = true;
    let turn = usize::from(request.metadata.id);
    let mut name = query.name().clone();
    for _ in 0..ALIASES {
        let Some(next) = fill(&mut response, &name, query.query_type(), found, turn) else {
            return Answer::Own(response);
        };
        // Another Service of ours is nobody else's business.
        match find(zone, &next) {
            Some(inner) => (name, found) = (next, inner),
            None => return Answer::Follow(response, next),
        }
    }
    Answer::Own(refusal(request, ResponseCode::ServFail))
}

/// What we know of a name; `None` if it is not for us to know.
fn find(zone: &Zone, name: &Name) -> Option<Found> {
    let text = name.to_lowercase().to_ascii();
    let text = text.trim_end_matches('.');
    if let Some(found) = zone.find(text) {
        return Some(found);
    }
    if !text.ends_with(".in-addr.arpa") && !text.ends_with(".ip6.arpa") {
        return None;
    }
    let network = name.parse_arpa_name().ok()?;
    // What is asked of our own ranges is nobody else's business, even where we know nothing.
    is_inside(network.addr()).then(|| {
        if network.prefix_len() == Family::of(network.addr()).bits() {
            zone.find_address(network.addr())
        } else {
            Found::Nothing
        }
    })
}

/// Writes what was found into the answer. Returns a name that the answer goes on with elsewhere.
fn fill(response: &mut Message, name: &Name, asked: RecordType, found: Found, turn: usize) -> Option<Name> {
    let record = |data: RData| Record::from_rdata(name.clone(), TTL, data);
    let is_asked = |kind: RecordType| asked == kind || asked == RecordType::ANY;
    match found {
        Found::Nothing => response.metadata.response_code = ResponseCode::NXDomain,
        Found::Empty => {}
        Found::Addresses(mut ips) => {
            // Each answer begins with another one: most clients take the first.
            let count = ips.len().max(1);
            ips.rotate_left(turn % count);
            let data = ips.into_iter().map(address).filter(|data| is_asked(data.record_type()));
            response.add_answers(data.map(record));
        }
        Found::Ports(ports) if is_asked(RecordType::SRV) => {
            let weight = u16::try_from(100 / ports.len().max(1)).unwrap_or(1).max(1);
            for port in ports {
                let Some(target) = absolute(&port.target) else { continue };
                response.add_answer(record(RData::SRV(SRV::new(0, weight, port.port, target.clone()))));
                let known = port.addresses.into_iter().map(address);
                response.add_additionals(known.map(|data| Record::from_rdata(target.clone(), TTL, data)));
            }
        }
        Found::Names(names) if is_asked(RecordType::PTR) => {
            let names = names.iter().filter_map(|name| absolute(name));
            response.add_answers(names.map(|name| record(RData::PTR(PTR(name)))));
        }
        Found::Text(text) if is_asked(RecordType::TXT) => {
            response.add_answer(record(RData::TXT(TXT::new(vec![text.to_owned()]))));
        }
        Found::Alias(other) => {
            let other = absolute(&other)?;
            response.add_answer(record(RData::CNAME(CNAME(other.clone()))));
            return (asked != RecordType::CNAME).then_some(other);
        }
        Found::Ports(_) | Found::Names(_) | Found::Text(_) => {}
    }
    at_apex(response, name, asked);
    if response.answers.is_empty() {
        response.add_authority(authority());
    }
    None
}

/// The domain's own records.
fn at_apex(response: &mut Message, name: &Name, asked: RecordType) {
    if !name.eq_ignore_root(&apex()) {
        return;
    }
    match asked {
        RecordType::SOA => drop(response.add_answer(authority())),
        RecordType::NS => {
            let server = absolute(&format!("ns.dns.{CLUSTER_DOMAIN}")).expect("a short name");
            response.add_answer(Record::from_rdata(apex(), TTL, RData::NS(NS(server))));
        }
        _ => {}
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn absolute(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{text}.")).ok()
}

fn apex() -> Name {
    absolute(CLUSTER_DOMAIN).expect("a short name")
}

/// Says whose the domain is, and for how long anybody may remember that there is no such name.
fn authority() -> Record {
    let [server, master] = ["ns.dns", "hostmaster"].map(|own| absolute(&format!("{own}.{CLUSTER_DOMAIN}")));
    let (server, master) = server.zip(master).expect("short names");
    let soa = SOA::new(server, master, 1, 7200, 1800, 86_400, TTL);
    Record::from_rdata(apex(), TTL, RData::SOA(soa))
}

/// An answer without content.
fn reply(request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut own = Edns::new();
        own.set_max_payload(LARGEST);
        response.set_edns(own);
    }
    response
}

/// An answer that says why there is none.
pub(super) fn refusal(request: &Message, code: ResponseCode) -> Message {
    let mut response = reply(request);
    response.metadata.response_code = code;
    response
}

/// What others answered, by UDP: longer than the client can take it is cut off, as ours are.
pub(super) fn passed_on(request: &Message, answer: Vec<u8>) -> Option<Vec<u8>> {
    let room = request.edns.as_ref().map_or(SMALLEST, |edns| edns.max_payload());
    if answer.len() <= usize::from(room.max(SMALLEST)) {
        return Some(answer);
    }
    Message::from_vec(&answer).ok()?.truncate().to_vec().ok()
}

/// The bytes for UDP: what the client can't take is cut off, and it is told to ask by TCP.
pub(super) fn for_udp(request: &Message, response: &Message) -> Option<Vec<u8>> {
    let room = request.edns.as_ref().map_or(SMALLEST, |edns| edns.max_payload());
    let room = usize::from(room.clamp(SMALLEST, LARGEST));
    let whole = response.to_vec().ok()?;
    if whole.len() <= room {
        return Some(whole);
    }
    response.truncate().to_vec().ok()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;
    use crate::service::view::{NamedEndpoint, Names};

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let endpoint = |last| NamedEndpoint {
            hostname: format!("10-244-0-{last}"),
            ip: [10, 244, 0, last].into(),
            ports: Vec::new(),
        };
        zone.set_service(
            "default",
            "many",
            Some(Names::Endpoints((2..102).map(endpoint).collect())),
        );
        let address = Names::Address {
            ips: vec![[10, 96, 1, 2].into()],
            ports: Vec::new(),
        };
        zone.set_service("default", "web", Some(address));
        let alias = |other: &str| Some(Names::Elsewhere(other.to_owned()));
        zone.set_service("default", "far", alias("example.org"));
        zone.set_service("default", "near", alias("web.default.svc.cluster.local"));
        zone.set_service("default", "circle", alias("circle.default.svc.cluster.local"));
        zone
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(absolute(name).expect("a name"), kind));
        message
    }

    fn own(name: &str, kind: RecordType) -> Message {
        match answer(&zone(), &question(name, kind)) {
            Answer::Own(message) => message,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn there_is_a_name_or_not_and_both_are_said_with_authority() {
        let there = own("WEB.default.svc.cluster.local", RecordType::A);
        assert_eq!((there.answers.len(), there.metadata.authoritative), (1, true));
        let other_kind = own("web.default.svc.cluster.local", RecordType::AAAA);
        assert_eq!(other_kind.metadata.response_code, ResponseCode::NoError);
        assert!(other_kind.answers.is_empty() && other_kind.authorities.len() == 1);
        let nowhere = own("www.example.org.default.svc.cluster.local", RecordType::A);
        assert_eq!(nowhere.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(nowhere.authorities[0].record_type(), RecordType::SOA);
    }

    #[test]
    fn addresses_are_turned_into_names_and_ours_are_never_asked_for_elsewhere() {
        let named = own("2.1.96.10.in-addr.arpa", RecordType::PTR);
        assert_eq!(named.answers.len(), 1);
        let nameless = own("9.9.96.10.in-addr.arpa", RecordType::PTR);
        assert_eq!(nameless.metadata.response_code, ResponseCode::NXDomain);
        let nibbles = |digits: &str| {
            format!(
                "{}.ip6.arpa",
                digits.chars().rev().map(String::from).collect::<Vec<_>>().join(".")
            )
        };
        let second = own(&nibbles("fd00001000960000000000000000abcd"), RecordType::PTR);
        assert_eq!(
            second.metadata.response_code,
            ResponseCode::NXDomain,
            "it is of our range"
        );
        let outside = nibbles("20010db8000000000000000000000001");
        for name in ["1.2.0.192.in-addr.arpa", "example.org", &outside] {
            assert!(
                matches!(answer(&zone(), &question(name, RecordType::PTR)), Answer::Elsewhere),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_that_stands_for_another_is_followed() {
        let Answer::Follow(message, name) = answer(&zone(), &question("far.default.svc.cluster.local", RecordType::A))
        else {
            panic!("it is followed");
        };
        assert_eq!(
            (message.answers[0].record_type(), name),
            (RecordType::CNAME, absolute("example.org").expect("a name"))
        );
    }

    #[test]
    fn a_name_that_stands_for_one_of_ours_is_followed_here_and_circles_end() {
        let near = own("near.default.svc.cluster.local", RecordType::A);
        let kinds: Vec<_> = near.answers.iter().map(Record::record_type).collect();
        assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);
        let circle = own("circle.default.svc.cluster.local", RecordType::A);
        assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
    }

    #[test]
    fn an_answer_that_is_too_long_for_udp_says_so_and_fits() {
        let request = question("many.default.svc.cluster.local", RecordType::A);
        let response = own("many.default.svc.cluster.local", RecordType::A);
        assert_eq!(response.answers.len(), 100);
        let bytes = for_udp(&request, &response).expect("it can be written");
        assert!(bytes.len() <= 512, "{}", bytes.len());
        assert!(Message::from_vec(&bytes).expect("a message").metadata.truncation);
    }

    #[test]
    fn what_others_answer_is_cut_off_where_the_client_can_not_take_it() {
        let mut request = question("many.example.org", RecordType::A);
        let whole = own("many.default.svc.cluster.local", RecordType::A);
        let whole = whole.to_vec().expect("it can be written");
        let cut = passed_on(&request, whole.clone()).expect("it can be read");
        assert!(cut.len() <= 512 && Message::from_vec(&cut).expect("a message").metadata.truncation);
        let mut roomy = Edns::new();
        roomy.set_max_payload(4096);
        request.set_edns(roomy);
        assert_eq!(passed_on(&request, whole.clone()), Some(whole));
    }

    #[test]
    fn what_is_no_single_question_is_refused() {
        let Answer::Own(none) = answer(&zone(), &Message::query()) else {
            panic!("it is ours to refuse");
        };
        assert_eq!(none.metadata.response_code, ResponseCode::FormErr);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_that_are_a_message_are_answered(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 12..80)) {
            if let Ok(request) = Message::from_vec(&bytes)
                && let Answer::Own(response) | Answer::Follow(response, _) = answer(&zone(), &request)
            {
                let _ = for_udp(&request, &response);
            }
        }
    }
}
