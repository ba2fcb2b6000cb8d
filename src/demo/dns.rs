//! A small resolver: the static binary has no NSS, so `getaddrinfo` cannot be relied on in an empty container.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::output::line;
use super::{Failure, Outcome};

/// How long one answer may take, and how often a question is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Prints the addresses of a name, one a line.
pub(super) fn resolve(name: &str) -> Outcome {
    for address in addresses(name)? {
        line(&address.to_string())?;
    }
    Ok(0)
}

/// All addresses of a name, as `/etc/hosts` or the name server has them, IPv4 first.
pub(super) fn addresses(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, name);
    if !known.is_empty() {
        return Ok(known);
    }
    let config = Config::parse(&fs::read_to_string("/etc/resolv.conf")?);
    let server = config
        .server
        .ok_or_else(|| Failure::Failed("resolv.conf names no name server".to_owned()))?;
    for candidate in config.candidates(name) {
        let mut found = ask(server, &candidate, TYPE_A)?;
        found.extend(ask(server, &candidate, TYPE_AAAA)?);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Failure::Failed(format!("{server} knows no address of {name}")))
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(line).collect()
}

/// The part of resolv.conf(5) that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    server: Option<IpAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Config {
    fn parse(text: &str) -> Config {
        let mut config = Config {
            ndots: 1,
            ..Config::default()
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match &words[..] {
                ["nameserver", address, ..] if config.server.is_none() => config.server = address.parse().ok(),
                ["search", domains @ ..] => config.search = domains.iter().map(|domain| (*domain).to_owned()).collect(),
                ["options", options @ ..] => {
                    let ndots = options
                        .iter()
                        .find_map(|option| option.strip_prefix("ndots:")?.parse().ok());
                    config.ndots = ndots.unwrap_or(config.ndots);
                }
                _ => {}
            }
        }
        config
    }

    /// The names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|domain| format!("{name}.{}", domain.trim_end_matches('.')));
        let is_absolute_first = name.matches('.').count() >= self.ndots;
        match is_absolute_first {
            true => std::iter::once(name.to_owned()).chain(searched).collect(),
            false => searched.chain(std::iter::once(name.to_owned())).collect(),
        }
    }
}

fn ask(server: IpAddr, name: &str, kind: u16) -> Result<Vec<IpAddr>, Failure> {
    let question = question(name, kind).ok_or_else(|| Failure::Failed(format!("{name} is no name")))?;
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Connected, so that only this server's packets arrive.
    socket.connect(SocketAddr::new(server, 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 4096];
    for _ in 0..TRIES {
        socket.send(&question)?;
        match socket.recv(&mut answer) {
            Ok(length) => {
                let damaged = || Failure::Failed(format!("{server} sent no DNS answer"));
                return parse_answer(&answer[..length], kind).ok_or_else(damaged);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(Failure::Failed(format!("{server}: {error}"))),
        }
    }
    Err(Failure::Failed(format!("{server} does not answer")))
}

/// Says of every name that this is its address, until it is told to end.
pub(super) fn serve(address: &str) -> Outcome {
    let address: Ipv4Addr = super::number("address", address)?;
    super::process::exit_on_term();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
    let mut question = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut question)?;
        if let Some(answer) = answer_to(&question[..length], address) {
            socket.send_to(&answer, client)?;
        }
    }
}

/// The answer to a question with one name: the address if it is asked for, else nothing. `None` if it is no such question.
fn answer_to(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let end = skip_name(question, 12)? + 4;
    let is_address = question.get(end - 4..end)? == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_address {
        // The name is that of the question, for five seconds.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// A query with recursion desired (RFC 1035 4.1); `None` if the name cannot be written.
fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    // The id need not be a secret: the socket hears nobody but the server.
    let mut packet = vec![0x4b, 0x4c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    (packet.len() <= 12 + 255 + 4).then_some(packet)
}

/// The addresses in an answer; none if the name does not exist; `None` if the packet is damaged.
fn parse_answer(packet: &[u8], kind: u16) -> Option<Vec<IpAddr>> {
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(packet, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = skip_name(packet, at)?;
        let (found, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if found == kind {
            addresses.push(match kind {
                TYPE_A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            });
        }
    }
    Some(addresses)
}

/// Where the bytes after a name begin. A pointer to an earlier name ends it.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_searched_as_resolv_conf_says() {
        let config = Config::parse(
            "# made\nnameserver 10.96.0.10\nnameserver 1.1.1.1\nsearch a.svc.cluster.local svc.cluster.local\noptions x ndots:2\n",
        );
        assert_eq!(config.server, Some(IpAddr::from([10, 96, 0, 10])));
        assert_eq!(
            config.candidates("web"),
            ["web.a.svc.cluster.local", "web.svc.cluster.local", "web"]
        );
        assert_eq!(config.candidates("a.b.c")[0], "a.b.c");
        assert_eq!(config.candidates("web."), ["web"]);
    }

    #[test]
    fn answers_are_read_past_aliases_and_damaged_ones_refused() {
        let mut packet = question("web.example", TYPE_A).expect("a name");
        packet[7] = 2;
        packet.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
        assert_eq!(parse_answer(&packet, TYPE_A), Some(vec![IpAddr::from([10, 0, 0, 7])]));
        for cut in 0..packet.len() {
            assert_eq!(parse_answer(&packet[..cut], TYPE_A), None, "{cut}");
        }
        assert_eq!(question("a..b", TYPE_A), None);
        assert_eq!(question(&"a".repeat(64), TYPE_A), None);
    }

    #[test]
    fn a_name_server_knows_one_address_for_every_name() {
        let address = Ipv4Addr::new(203, 0, 113, 7);
        for (kind, expected) in [(1, vec![IpAddr::V4(address)]), (28, vec![])] {
            let asked = question("any.example", kind).expect("a name");
            let answer = answer_to(&asked, address).expect("an answer");
            assert_eq!(parse_answer(&answer, kind), Some(expected));
        }
        assert_eq!(answer_to(&[0; 12], address), None);
    }

    #[test]
    fn hosts_come_first() {
        let hosts = "127.0.0.1 localhost # Web\n::1 localhost\n10.0.0.1\tweb Web.local\n";
        assert_eq!(in_hosts(hosts, "localhost").len(), 2);
        assert_eq!(in_hosts(hosts, "WEB"), [IpAddr::from([10, 0, 0, 1])]);
        assert!(in_hosts(hosts, "other").is_empty());
    }
}
