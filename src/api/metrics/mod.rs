//! `metrics.k8s.io/v1beta1`: what nodes and pods use now, computed when somebody asks. Nothing is stored, so idling costs nothing.

mod meter;
mod objects;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;

use super::Api;
use super::body::{self, Answer};
use super::entry::deed_of;
use super::error::ApiError;
use super::read::Filter;
use super::request::{Query, Target, Verb};
use crate::access::rights::{Caller, Deed};
use crate::model::{Honoured, Key, Kind, Object, kind};

pub use meter::Meter;

/// The group and version of all of this.
const PREFIX: &str = "/apis/metrics.k8s.io/v1beta1/";

/// All kinds of metrics.
pub(super) static METRICS: [Kind; 2] = [
    of_kind("NodeMetrics", "nodes", false),
    of_kind("PodMetrics", "pods", true),
];

const GROUP: &str = "metrics.k8s.io";

const VERSION: &str = "v1beta1";

const fn of_kind(kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind {
        group: GROUP,
        version: VERSION,
        kind,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced,
        has_status: false,
        honoured: Honoured::Reported,
    }
}

/// The path of what metrics are about: `/apis/metrics.k8s.io/v1beta1/pods` is about `/api/v1/pods`.
fn subject_of(path: &str) -> Option<Target> {
    let rest = path.strip_prefix(PREFIX)?;
    let target = Target::parse(&format!("/api/v1/{rest}"))?;
    let is_measured = matches!(target.kind.kind, "Pod" | "Node") && target.subresource.is_empty();
    is_measured.then_some(target)
}

impl Api {
    /// Answers a request for metrics; `None` if it is for something else.
    pub(super) async fn metrics(&self, caller: &Caller, request: &Request<Incoming>) -> Option<Answer> {
        let target = subject_of(request.uri().path())?;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = target.name.as_ref().map_or(Verb::List, |_| Verb::Get);
        let deed = Deed {
            group: GROUP.to_owned(),
            ..deed_of(&target, verb)
        };
        if let Err(refused) = self.authorize(caller, &deed) {
            return Some(Err(refused));
        }
        if request.method() != Method::GET || query.flag("watch") {
            return Some(Err(ApiError::method_not_allowed()));
        }
        let measured = self.measure(&target, &query).await;
        Some(measured.map(|value| body::json(StatusCode::OK, &value)))
    }

    /// What kubelet tells of itself and its pods (`stats/v1alpha1 Summary`), as far as it is measured here.
    pub(super) async fn summary(&self, node: &Object) -> Answer {
        let metered = self.meter.read(self.runtime.as_ref(), self.clock.as_ref()).await;
        let metered = metered.map_err(|e| ApiError::internal(e.to_string()))?;
        let pods = self.store.list(kind("v1", "Pod").expect("in the table"), None).items;
        let pods = pods
            .iter()
            .filter_map(|pod| objects::pod_stats(pod, &metered))
            .collect();
        Ok(body::json(StatusCode::OK, &objects::summary(node, pods, &metered)))
    }

    async fn measure(&self, target: &Target, query: &Query) -> Result<Value, ApiError> {
        let subjects = self.subjects(target, query)?;
        let metered = self.meter.read(self.runtime.as_ref(), self.clock.as_ref()).await;
        let metered = metered.map_err(|e| ApiError::internal(e.to_string()))?;
        let now = self.clock.now();
        let mut found: Vec<Value> = subjects
            .iter()
            .filter_map(|subject| match target.kind.kind {
                "Node" => Some(objects::node(subject, &metered, now)),
                _ => objects::pod(subject, &metered, now),
            })
            .collect();
        match target.name {
            None => Ok(objects::list(target.kind.kind, found)),
            Some(_) => found.pop().ok_or_else(|| objects::not_measured(target)),
        }
    }

    fn subjects(&self, target: &Target, query: &Query) -> Result<Vec<Object>, ApiError> {
        let Some(name) = &target.name else {
            let items = Filter::of(target, query)?.list(&self.store).items;
            return Ok(items.iter().map(|object| Object::clone(object)).collect());
        };
        let kind = kind("v1", target.kind.kind).expect("pods and nodes are in the table");
        let key = Key::new(kind, target.namespace.as_deref().unwrap_or_default(), name);
        let object = self.store.get(&key);
        object
            .map(|object| vec![Object::clone(&object)])
            .ok_or_else(|| objects::not_measured(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_about_nodes_and_pods_alone() {
        let subject = |path: &str| subject_of(path).map(|target| (target.kind.kind, target.namespace, target.name));
        let named = |text: &str| Some(text.to_owned());
        for (path, expected) in [
            ("/apis/metrics.k8s.io/v1beta1/nodes", Some(("Node", None, None))),
            ("/apis/metrics.k8s.io/v1beta1/nodes/a", Some(("Node", None, named("a")))),
            ("/apis/metrics.k8s.io/v1beta1/pods", Some(("Pod", None, None))),
            (
                "/apis/metrics.k8s.io/v1beta1/namespaces/x/pods/web",
                Some(("Pod", named("x"), named("web"))),
            ),
            ("/apis/metrics.k8s.io/v1beta1/namespaces/x/pods/web/log", None),
            ("/apis/metrics.k8s.io/v1beta1/secrets", None),
            ("/api/v1/pods", None),
        ] {
            assert_eq!(subject(path), expected, "{path}");
        }
    }
}
