//! A pod's tokens: signed when a volume wants one, and anew when most of its time is over (`pkg/kubelet/token`). The files follow by the
//! volumes' own refresh.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ServiceAccountTokenProjection;

use super::Rooms;
use crate::access::token::Wanted;
use crate::model::{Key, Object, kind};

/// A token is not kept for longer than this, however long it holds (`maxTTL`).
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of one pod's volumes.
#[derive(Default)]
pub(super) struct Tokens {
    /// By audience and length. Held for a look-up or a signature.
    kept: Mutex<BTreeMap<(String, i64), Kept>>,
}

struct Kept {
    text: String,
    /// The uid of the account that it is of: another of the same name needs another.
    account: String,
    renew_at: Timestamp,
}

impl Tokens {
    /// The token that a volume wants.
    ///
    /// # Errors
    /// Why there is none, in words for an event.
    pub(super) fn get(
        &self,
        rooms: &Rooms,
        pod: &Object,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let (namespace, name) = (&pod.key().namespace, pod.text("/spec/serviceAccountName"));
        let accounts = kind("v1", "ServiceAccount").expect("in the table");
        let account = rooms.store.get(&Key::new(accounts, namespace, name));
        let account = account.ok_or_else(|| format!("failed to fetch token: serviceaccounts {name:?} not found"))?;
        let audience = wanted.audience.clone().unwrap_or_default();
        let (seconds, now) = (wanted.expiration_seconds.unwrap_or(3600), rooms.clock.now());
        let mut kept = self.kept.lock().expect("nothing panics while it holds tokens");
        let id = (audience, seconds);
        if let Some(present) = kept
            .get(&id)
            .filter(|kept| kept.account == account.uid() && now < kept.renew_at)
        {
            return Ok(present.text.clone());
        }
        let audiences: Vec<String> = Some(id.0.clone())
            .filter(|audience| !audience.is_empty())
            .into_iter()
            .collect();
        let wanted = Wanted {
            account: &account,
            bound: Some(pod),
            audiences: &audiences,
            seconds,
        };
        let token = rooms
            .tokens
            .sign(wanted, now)
            .map_err(|error| format!("failed to fetch token: {error}"))?;
        let new = Kept {
            text: token.text.clone(),
            account: account.uid().to_owned(),
            renew_at: plan_renewal(now, token.expires),
        };
        kept.insert(id, new);
        Ok(token.text)
    }

    /// When the first of them is to be renewed.
    pub(super) fn next_renewal(&self) -> Option<Timestamp> {
        let kept = self.kept.lock().expect("nothing panics while it holds tokens");
        kept.values().map(|kept| kept.renew_at).min()
    }
}

/// When a token is signed anew: when four fifths of its time are over, and within a day (`requiresRefresh`).
fn plan_renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let length = expires.duration_since(now);
    let four_fifths = SignedDuration::from_secs(length.as_secs() / 5 * 4);
    now.saturating_add(four_fifths.min(LONGEST)).unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_end_and_every_day() {
        let at = |second: i64| Timestamp::from_second(second).expect("in range");
        for (length, renewal) in [(600, 480), (3607, 2884), (100_000, 80_000), (1_000_000, 86_400)] {
            assert_eq!(plan_renewal(at(50), at(50 + length)), at(50 + renewal), "{length}");
        }
    }
}
