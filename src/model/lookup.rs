//! What a pod's configuration may refer to besides itself. Handed to pure functions, so that they need neither store nor host.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccountTokenProjection;

use super::{Object, Quantity};

/// Finds an object by kind name, namespace and name.
pub type Find<'a> = dyn Fn(&str, &str, &str) -> Option<Arc<Object>> + 'a;

/// Signs a token for the pod, or says why not.
pub type Sign<'a> = dyn Fn(&ServiceAccountTokenProjection) -> Result<String, String> + 'a;

/// Answers to what a pod may ask about the world.
pub struct Lookup<'a> {
    /// An object by kind name, namespace and name.
    pub find: &'a Find<'a>,
    /// The node's name.
    pub node_name: &'a str,
    /// The node's addresses, the main one first.
    pub host_ips: &'a [String],
    /// The pod's addresses, the main one first.
    pub pod_ips: &'a [String],
    /// The variables of Services that the pod may use.
    pub links: &'a [(String, String)],
    /// What the node has of a resource such as `cpu` or `memory`.
    pub allocatable: &'a dyn Fn(&str) -> Option<Quantity>,
    /// A token of the pod's service account.
    pub token: &'a Sign<'a>,
}
