//! What the Node's conditions say.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ways_out::Readiness;
use crate::model::{Clock, Complaints, Key, known_kind};
use crate::pod::calm_conditions;
use crate::service::Carried;
use crate::store::Store;

/// Something that is said of the node.
pub(super) struct Condition {
    kind: &'static str,
    is_true: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, is_true: bool, reason: &'static str, message: impl Into<String>) -> Condition {
        Condition {
            kind,
            is_true,
            reason,
            message: message.into(),
        }
    }

    fn json(&self, now: Timestamp) -> Value {
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({
            "type": self.kind,
            "status": if self.is_true { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "lastHeartbeatTime": time,
            "lastTransitionTime": time,
        })
    }

    /// Says it of a Node, instead of what was said of the same.
    fn enter(&self, node: &mut Value, now: Timestamp) {
        let Some(conditions) = node["status"]["conditions"].as_array_mut() else {
            return;
        };
        let mut new = self.json(now);
        match conditions.iter_mut().find(|condition| condition["type"] == self.kind) {
            Some(old) => {
                if old["status"] == new["status"] {
                    new["lastTransitionTime"] = old["lastTransitionTime"].take();
                }
                *old = new;
            }
            None => conditions.push(new),
        }
    }
}

/// Of whom conditions are said while the node works, and who hears what is wrong.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) store: Store,
    node_name: String,
    clock: Arc<dyn Clock>,
    pub(super) complaints: Complaints,
}

impl Reporter {
    pub(super) fn new(store: &Store, node_name: &str, clock: &Arc<dyn Clock>, complaints: &Complaints) -> Reporter {
        Reporter {
            store: store.clone(),
            node_name: node_name.to_owned(),
            clock: clock.clone(),
            complaints: complaints.clone(),
        }
    }

    /// Says something of the node from now on.
    pub(super) fn tell(&self, condition: &Condition) {
        let (key, now) = (
            Key::new(known_kind("v1", "Node"), "", &self.node_name),
            self.clock.now(),
        );
        let told = self
            .store
            .update_status(&key, |node| condition.enter(node.value_mut(), now));
        if let Err(error) = told {
            tracing::warn!(%error, "the node's conditions are not told");
        }
    }
}

/// Whether pods reach the outside.
pub(super) fn egress(ways_out: &Readiness) -> Condition {
    Condition::new("EgressReady", ways_out.is_ready, ways_out.reason, &*ways_out.message)
}

/// Whether the kernel's rules serve Services; if not, why the node's own proxy does.
fn services(carried: Option<&str>) -> Condition {
    match carried {
        None => Condition::new("ServiceRules", true, "RulesServe", "rules of the kernel serve Services"),
        Some(why) => Condition::new("ServiceRules", false, "ProxyServes", proxy_serves(why)),
    }
}

fn proxy_serves(why: &str) -> String {
    format!("the node's own proxy serves Services, and NetworkPolicies are not enforced: {why}")
}

/// All that is said when the node begins.
pub(super) fn all(ways_out: &Readiness, now: Timestamp) -> Value {
    let ready = Condition::new("Ready", true, "KubeletReady", "kubelocal is looking after pods");
    // What it is short of is looked for as soon as it runs.
    let calm = calm_conditions().map(|[kind, reason, message]| Condition::new(kind, false, reason, message));
    let all = [ready, egress(ways_out), services(None)].into_iter().chain(calm);
    all.map(|condition| condition.json(now)).collect()
}

/// Says by which means Services are served whenever that changes, until `stop`: in the Node's condition, and to whoever asks what is wrong.
pub(super) async fn follow(reporter: Reporter, mut carried: watch::Receiver<Carried>, stop: CancellationToken) {
    let follow = async {
        while carried.changed().await.is_ok() {
            let now = carried.borrow_and_update().clone();
            reporter.complaints.set("carried", now.as_deref().map(proxy_serves));
            reporter.tell(&services(now.as_deref()));
        }
    };
    stop.run_until_cancelled(follow).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_said_anew_and_remembers_since_when_it_holds() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let ways_out = Readiness {
            is_ready: true,
            reason: "EgressReady",
            message: String::new(),
        };
        let mut node = json!({"status": {"conditions": all(&ways_out, at(0))}});
        services(Some("why")).enter(&mut node, at(60));
        services(Some("why else")).enter(&mut node, at(120));
        let conditions = &node["status"]["conditions"];
        assert_eq!(conditions.as_array().map(Vec::len), Some(6));
        let said = &conditions[2];
        assert_eq!(
            (&said["type"], &said["status"]),
            (&json!("ServiceRules"), &json!("False"))
        );
        assert_eq!(said["lastTransitionTime"], "1970-01-01T00:01:00Z");
        assert_eq!(said["lastHeartbeatTime"], "1970-01-01T00:02:00Z");
        assert!(
            said["message"]
                .as_str()
                .is_some_and(|text| text.ends_with(": why else"))
        );
    }
}
