//! Which address a client stays with at one port, until it has not come for a while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How many clients a port remembers; with one more the one goes whose time is over first. As many as there are connections at most.
const MOST: usize = 8192;

/// Who is where.
#[derive(Debug, Default)]
pub(super) struct Affinity(Mutex<HashMap<IpAddr, Seat>>);

#[derive(Debug, Clone, Copy)]
struct Seat {
    address: SocketAddr,
    until: Instant,
}

impl Affinity {
    /// Where a client was last, if that is not too long ago.
    pub(super) fn find(&self, client: IpAddr) -> Option<SocketAddr> {
        let seats = self.0.lock().expect("nothing panics while it holds them");
        let seat = seats.get(&client)?;
        (seat.until > Instant::now()).then_some(seat.address)
    }

    /// Notes where a client is now, and for how long that counts.
    pub(super) fn note(&self, client: IpAddr, address: SocketAddr, stay: Duration) {
        let now = Instant::now();
        let mut seats = self.0.lock().expect("nothing panics while it holds them");
        if seats.len() >= MOST && !seats.contains_key(&client) {
            seats.retain(|_, seat| seat.until > now);
            if seats.len() >= MOST {
                let next = seats
                    .iter()
                    .min_by_key(|(_, seat)| seat.until)
                    .map(|(client, _)| *client);
                next.map(|client| seats.remove(&client));
            }
        }
        let until = now + stay;
        seats.insert(client, Seat { address, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_stays_until_it_has_not_come_for_a_while() {
        let affinity = Affinity::default();
        let (one, second) = (SocketAddr::from(([10, 244, 0, 2], 80)), Duration::from_secs(1));
        assert_eq!(affinity.find(client(1)), None);
        affinity.note(client(1), one, 10 * second);
        tokio::time::advance(9 * second).await;
        assert_eq!((affinity.find(client(1)), affinity.find(client(2))), (Some(one), None));
        affinity.note(client(1), one, 10 * second);
        tokio::time::advance(9 * second).await;
        assert_eq!(affinity.find(client(1)), Some(one), "its time began anew");
        tokio::time::advance(second).await;
        assert_eq!(affinity.find(client(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_clients_pushes_out_those_whose_time_is_over_first() {
        let affinity = Affinity::default();
        let address = SocketAddr::from(([10, 244, 0, 2], 80));
        let most = u32::try_from(MOST).expect("is small");
        for number in 0..=most {
            affinity.note(
                client(number),
                address,
                Duration::from_secs(10) + Duration::from_millis(number.into()),
            );
        }
        assert_eq!(
            (affinity.find(client(0)), affinity.find(client(1))),
            (None, Some(address))
        );
        assert_eq!(affinity.0.lock().expect("no panic").len(), MOST);
    }
}
