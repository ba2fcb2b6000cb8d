//! Whether pods reach the outside, and what is said where they do not.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::addresses;
use super::conditions::{self, Reporter};
use crate::egress::{self, Passes, Pasta, Settings};
use crate::model::{Family, HOST};
use crate::net::{NodeNetwork, Outside};

/// After the kernel refused: what it lacks now (memory, a module that loads) it may have soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is of ways out.
pub(super) enum WaysOut {
    /// They are open, though perhaps everyone is refused there: of IPv4, and of IPv6 where pods have it.
    Open(Vec<Outside>),
    /// There are none, for this reason.
    Closed(String),
}

/// What the node's condition `EgressReady` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether pods reach the outside.
    pub is_ready: bool,
    /// In a word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// Opens ways out of the pods' network. A kernel that refuses them leaves pods among themselves, and whoever asks is told.
pub(super) async fn open(network: Option<&Arc<NodeNetwork>>, settings: Settings) -> WaysOut {
    let Some(network) = network else {
        return WaysOut::Closed("pods have no network".to_owned());
    };
    // What is for the host's loopback is the node's business, and so is IPv6, whoever carries the rest.
    let only = settings.is_by_pasta().then_some(IpAddr::V4(HOST));
    if only.is_none()
        && let Err(error) = network.ungate_uplink().await
    {
        tracing::debug!(%error, "an earlier node's rules for pasta stay");
    }
    let mut open = Vec::new();
    for family in network.families() {
        let only = only.filter(|only| Family::of(*only) == *family);
        match Outside::open(network.clone(), *family, only).await {
            Ok(outside) => open.push(outside),
            // Who wants there has no way, and turns to the first family.
            Err(error) if !open.is_empty() => tracing::warn!(%error, %family, "pods do not reach the outside by it"),
            Err(error) => return WaysOut::Closed(format!("the kernel refuses {error}")),
        }
    }
    WaysOut::Open(open)
}

impl WaysOut {
    /// What is said of them before pasta has been started; `has_way` is whether the machine itself knows a way to wherever.
    pub(super) fn readiness(&self, settings: Settings, has_way: bool) -> Readiness {
        let (is_ready, reason, message) = match self {
            Self::Closed(why) => (false, "EgressRefused", why.clone()),
            Self::Open(_) => plan_readiness(settings, has_way, &Pasta::Coming),
        };
        Readiness {
            is_ready,
            reason,
            message,
        }
    }
}

/// What is said of ways out that are open.
fn plan_readiness(settings: Settings, has_way: bool, pasta: &Pasta) -> (bool, &'static str, String) {
    let by = match (settings.is_by_pasta(), pasta) {
        (false, _) => "TCP and UDP",
        (true, Pasta::Runs) => "TCP, UDP and ICMP echo, carried by pasta",
        (true, Pasta::Coming) => return (false, "PastaNotRunning", "pasta is being started".to_owned()),
        (true, Pasta::Fails(why)) => return (false, "PastaNotRunning", format!("pasta does not run: {why}")),
    };
    match (settings.is_on, has_way) {
        (false, _) => (false, "EgressDisabled", "the settings say so".to_owned()),
        (true, true) => (true, "EgressReady", format!("pods reach the outside by {by}")),
        // Its own addresses and its neighbours they reach all the same.
        (true, false) => (
            true,
            "NoDefaultRoute",
            format!("pods reach what the machine reaches, by {by}, but it has no default route at present"),
        ),
    }
}

/// Lets pods out until `stop`: opens ways out again and again where the kernel refuses them, and says how it is. `file` is where pasta finds the
/// pods' network.
pub(super) async fn run(
    mut ways_out: WaysOut,
    network: Arc<NodeNetwork>,
    (settings, file): (Settings, PathBuf),
    (passes, moves): (Arc<Passes>, watch::Receiver<Vec<String>>),
    reporter: Reporter,
    stop: CancellationToken,
) {
    let mut said = None;
    let mut tell_once = |readiness: Readiness| {
        if said.as_ref() != Some(&readiness) {
            tell(&reporter, &readiness);
            said = Some(readiness);
        }
    };
    let outside = loop {
        tell_once(ways_out.readiness(settings, addresses::has_way(&moves)));
        match ways_out {
            WaysOut::Open(outside) => break outside,
            WaysOut::Closed(why) => {
                tracing::warn!(%why, "pods do not reach the outside");
                if stop.run_until_cancelled(sleep(PATIENCE)).await.is_none() {
                    return;
                }
                ways_out = open(Some(&network), settings).await;
            }
        }
    };
    let (told, mut pasta) = watch::channel(Pasta::default());
    let by_pasta = async {
        if settings.is_by_pasta() {
            egress::run_pasta(network, passes.clone(), file, moves.clone(), told, stop.clone()).await;
        }
    };
    let mut moved = moves.clone();
    let follow = async move {
        loop {
            tokio::select! {
                Ok(()) = moved.changed() => {}
                Ok(()) = pasta.changed() => {}
                else => return,
            }
            let now = pasta.borrow_and_update().clone();
            let (is_ready, reason, message) = plan_readiness(settings, addresses::has_way(&moved), &now);
            tell_once(Readiness {
                is_ready,
                reason,
                message,
            });
        }
    };
    let carry = egress::run(outside, passes.clone(), moves.clone(), stop.clone());
    tokio::join!(carry, by_pasta, stop.run_until_cancelled(follow));
}

fn tell(reporter: &Reporter, readiness: &Readiness) {
    let is_refused = matches!(readiness.reason, "EgressRefused" | "PastaNotRunning");
    let complaint = is_refused.then(|| format!("pods do not reach the outside: {}", readiness.message));
    reporter.complaints.set("egress", complaint);
    reporter.tell(&conditions::egress(readiness));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::Via;

    #[test]
    fn what_is_said_follows_the_settings_and_the_machine() {
        let settings = |is_on| Settings {
            is_on,
            via: Via::Node,
            host_loopback: false,
            api_port: 1,
        };
        let said = |is_on, has_way| {
            let (is_ready, reason, _) = plan_readiness(settings(is_on), has_way, &Pasta::Coming);
            (is_ready, reason)
        };
        let by_pasta = |is_on, pasta: &Pasta| {
            let settings = Settings {
                via: Via::Pasta,
                ..settings(is_on)
            };
            plan_readiness(settings, true, pasta)
        };
        let (is_ready, reason, message) = by_pasta(true, &Pasta::Runs);
        assert!(is_ready && reason == "EgressReady" && message.contains("ICMP echo, carried by pasta"));
        let (is_ready, reason, message) = by_pasta(true, &Pasta::Fails("it is not installed".to_owned()));
        assert!(!is_ready && reason == "PastaNotRunning" && message.contains("not installed"));
        assert_eq!(by_pasta(false, &Pasta::Coming).1, "EgressDisabled");
        assert_eq!(said(false, true), (false, "EgressDisabled"));
        assert_eq!(said(true, true), (true, "EgressReady"));
        assert_eq!(said(true, false), (true, "NoDefaultRoute"));
        let closed = WaysOut::Closed("the kernel refuses nf_tables".to_owned()).readiness(settings(true), true);
        assert_eq!((closed.is_ready, closed.reason), (false, "EgressRefused"));
    }
}
