//! `/kubelocal/v1/status` and `stop`: the node itself.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::body::{self, Answer};
use super::own::{NodeStatus, StopRequest};
use super::{Api, KUBERNETES_VERSION};
use crate::model;

impl Api {
    pub(super) fn node_status(&self) -> Value {
        let kind = model::kind("v1", "Pod").expect("in the table");
        let pods = self.store.list(kind, None).items;
        let running_pods = pods.iter().filter(|pod| pod.text("/status/phase") == "Running").count();
        let status = NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: KUBERNETES_VERSION.to_owned(),
            pid: std::process::id(),
            started_at: Time(self.facts.started_at),
            home: self.facts.home.clone(),
            mode: self.facts.mode.clone(),
            runtime: self.facts.runtime.clone(),
            cgroups: self.facts.cgroups.clone(),
            pods: pods.len(),
            running_pods,
            memory_bytes: proportional_set_size(),
            ports: self.facts.published.list(),
            ingress: self.facts.ingress.list(),
            egress: self.egress(),
            network: self.facts.network.clone(),
            host_loopback: self.facts.host_loopback,
            warnings: [self.facts.warnings.clone(), self.facts.complaints.list()].concat(),
        };
        serde_json::to_value(status).expect("field names are text")
    }

    /// What the Node's condition says.
    fn egress(&self) -> String {
        let nodes = self.store.list(model::known_kind("v1", "Node"), None).items;
        let mut conditions = nodes
            .iter()
            .flat_map(|node| model::list_at(node.value(), "/status/conditions"));
        let own = conditions.find(|condition| condition["type"] == "EgressReady");
        own.map(|own| model::text_at(own, "/message").to_owned())
            .unwrap_or_default()
    }

    pub(super) async fn stop(&self, request: Request<Incoming>) -> Answer {
        let StopRequest { pods } = super::write::read_json(request).await?;
        self.end.send_replace(Some(pods));
        Ok(body::json(StatusCode::OK, &json!({})))
    }
}

/// PSS of this process in bytes (`proc_pid_smaps_rollup(5)`).
fn proportional_set_size() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
