//! Whether pods reach the outside, and what is said where they do not.

use std::sync::Arc;

use crate::egress::Settings;
use crate::net::{NodeNetwork, Outside};

/// What there is of ways out.
pub(super) enum WaysOut {
    /// They are open, though perhaps everyone is refused there.
    Open(Outside),
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
pub(super) async fn open(network: Option<&Arc<NodeNetwork>>, warnings: &mut Vec<String>) -> WaysOut {
    let Some(network) = network else {
        return WaysOut::Closed("pods have no network".to_owned());
    };
    match Outside::open(network.clone()).await {
        Ok(outside) => WaysOut::Open(outside),
        Err(error) => {
            tracing::warn!(%error, "pods do not reach the outside");
            warnings.push(format!("pods do not reach the outside: the kernel refuses {error}"));
            WaysOut::Closed(format!("the kernel refuses {error}"))
        }
    }
}

impl WaysOut {
    /// What is said of them.
    pub(super) fn readiness(&self, settings: Settings) -> Readiness {
        let (is_ready, reason, message) = match self {
            Self::Closed(why) => (false, "EgressRefused", why.clone()),
            Self::Open(_) if !settings.is_on => (false, "EgressDisabled", "the settings say so".to_owned()),
            Self::Open(_) => (true, "EgressReady", "pods reach the outside by TCP and UDP".to_owned()),
        };
        Readiness {
            is_ready,
            reason,
            message,
        }
    }
}
