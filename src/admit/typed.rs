//! Objects in their Kubernetes types: one variant per kind that the node acts on, and one for all that
//! it only keeps.
//!
//! The only place in this room that lists kinds by type; decoding, defaults, validation and the field table go through it.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::stored::Stored;
use super::strict::{Decoded, Mismatch, Unknown, decode};
use crate::model::{Honoured, Kind};
use crate::schema::Message;

/// An object of a kind that may be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed {
    /// A pod.
    Pod(Box<Pod>),
    /// A Deployment.
    Deployment(Box<Deployment>),
    /// A ReplicaSet.
    ReplicaSet(Box<ReplicaSet>),
    /// A ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// A Secret.
    Secret(Box<Secret>),
    /// A Namespace.
    Namespace(Box<Namespace>),
    /// A Service.
    Service(Box<Service>),
    /// Where a Service leads, in the old form.
    Endpoints(Box<Endpoints>),
    /// A part of where a Service leads.
    EndpointSlice(Box<EndpointSlice>),
    /// A PersistentVolumeClaim.
    PersistentVolumeClaim(Box<PersistentVolumeClaim>),
    /// A PersistentVolume.
    PersistentVolume(Box<PersistentVolume>),
    /// A StorageClass.
    StorageClass(Box<StorageClass>),
    /// A NetworkPolicy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// An Ingress.
    Ingress(Box<Ingress>),
    /// An IngressClass.
    IngressClass(Box<IngressClass>),
    /// A RuntimeClass.
    RuntimeClass(Box<RuntimeClass>),
    /// Any kind on which nothing here acts.
    Stored(Box<Stored>),
}

/// Runs an expression for whatever type the object is of.
macro_rules! for_each_kind {
    ($typed:expr, $object:ident => $body:expr) => {
        match $typed {
            Typed::Pod($object) => $body,
            Typed::Deployment($object) => $body,
            Typed::ReplicaSet($object) => $body,
            Typed::ConfigMap($object) => $body,
            Typed::Secret($object) => $body,
            Typed::Namespace($object) => $body,
            Typed::Service($object) => $body,
            Typed::Endpoints($object) => $body,
            Typed::EndpointSlice($object) => $body,
            Typed::PersistentVolumeClaim($object) => $body,
            Typed::PersistentVolume($object) => $body,
            Typed::StorageClass($object) => $body,
            Typed::NetworkPolicy($object) => $body,
            Typed::Ingress($object) => $body,
            Typed::IngressClass($object) => $body,
            Typed::RuntimeClass($object) => $body,
            Typed::Stored($object) => $body,
        }
    };
}

impl Typed {
    /// Decodes an object of this kind; `None` for kinds that only the node writes.
    ///
    /// # Errors
    /// The first value that is not of its field's type.
    pub fn decode(kind: &Kind, value: &Value) -> Option<Result<(Self, Vec<Unknown>), Mismatch>> {
        fn read<T: serde::de::DeserializeOwned>(
            value: &Value,
            wrap: fn(Box<T>) -> Typed,
        ) -> Result<(Typed, Vec<Unknown>), Mismatch> {
            let Decoded { typed, unknown } = decode::<T>(value)?;
            Ok((wrap(Box::new(typed)), unknown))
        }
        Some(match (kind.group, kind.kind) {
            ("", "Pod") => read(value, Self::Pod),
            ("apps", "Deployment") => read(value, Self::Deployment),
            ("apps", "ReplicaSet") => read(value, Self::ReplicaSet),
            ("", "ConfigMap") => read(value, Self::ConfigMap),
            ("", "Secret") => read(value, Self::Secret),
            ("", "Namespace") => read(value, Self::Namespace),
            ("", "Service") => read(value, Self::Service),
            ("", "Endpoints") => read(value, Self::Endpoints),
            ("discovery.k8s.io", "EndpointSlice") => read(value, Self::EndpointSlice),
            ("", "PersistentVolumeClaim") => read(value, Self::PersistentVolumeClaim),
            ("", "PersistentVolume") => read(value, Self::PersistentVolume),
            ("storage.k8s.io", "StorageClass") => read(value, Self::StorageClass),
            ("networking.k8s.io", "NetworkPolicy") => read(value, Self::NetworkPolicy),
            ("networking.k8s.io", "Ingress") => read(value, Self::Ingress),
            ("networking.k8s.io", "IngressClass") => read(value, Self::IngressClass),
            ("node.k8s.io", "RuntimeClass") => read(value, Self::RuntimeClass),
            _ if kind.honoured == Honoured::Reported => return None,
            _ => {
                let decoded = match Message::of(kind) {
                    Some(message) => Stored::decode(message, value),
                    None => Stored::untyped(value),
                };
                decoded.map(|(stored, unknown)| (Self::Stored(Box::new(stored)), unknown))
            }
        })
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        for_each_kind!(self, object => &object.metadata)
    }

    /// The JSON that clients see.
    pub fn to_value(&self) -> Value {
        for_each_kind!(self, object => serde_json::to_value(object)).expect("Kubernetes types have string keys only")
    }
}
