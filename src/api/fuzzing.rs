//! The readers of what clients send as a fuzzer sees them: each takes any bytes, and may answer or refuse but not panic.
//!
//! Only for `fuzz/` and `tests/fuzz.rs`; they are here because what they call is nobody else's.

use std::io::Cursor;

use serde_json::json;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::fields::FieldSelector;
use super::patch::{PatchType, patch};
use super::request::{Query, Target};
use super::streams::limits;
use crate::model::{KINDS, Key, LabelSelector, kind};
use crate::schema::{Message, decode_protobuf};

/// A body in protobuf: by what its envelope says, and as whatever each path expects.
pub fn protobuf(bytes: &[u8]) {
    let _either = decode_protobuf(bytes, ("v1", "Pod"));
    for (api_version, kind) in [
        ("v1", "DeleteOptions"),
        ("apps/v1", "Deployment"),
        ("rbac.authorization.k8s.io/v1", "Role"),
    ] {
        // Without a type in the envelope the path decides.
        let mut bare = b"k8s\0\x0a\x00\x12".to_vec();
        bare.extend(varint(bytes.len()));
        bare.extend_from_slice(bytes);
        let _either = decode_protobuf(&bare, (api_version, kind));
    }
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
    bytes
}

/// A patch of each sort, of a Deployment. What it makes is still JSON that can be shown.
pub fn patches(bytes: &[u8]) {
    let deployments = kind("apps/v1", "Deployment").expect("in the table");
    let key = Key::new(deployments, "default", "web");
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"a": "b"}, "finalizers": ["x/y", "z/y"]},
        "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [
                {"name": "c", "image": "i", "args": ["a"], "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}]}}},
    });
    for how in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
        let mut value = object.clone();
        if patch(&key, Message::of(deployments), how, &mut value, bytes).is_ok() {
            let text = value.to_string();
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text:.200}");
        }
    }
}

/// A path with a query: what it names, and the selectors in it.
pub fn requests(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, query) = text.split_once('?').unwrap_or(("", &text));
    let _either = Target::parse(path);
    let _either = super::proxy::Passage::parse(path);
    let query = Query::parse(query);
    for selector in [query.text("labelSelector"), query.text("fieldSelector"), &*text] {
        let _either = LabelSelector::parse(selector);
        for kind in KINDS {
            let _either = FieldSelector::parse(selector, kind);
        }
    }
}

/// What a client of `exec` or `port-forward` sends over a WebSocket.
pub fn websocket(bytes: &[u8]) {
    let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes.to_vec()), Role::Server, Some(limits()));
    // Every message takes bytes, so that this ends.
    while socket.read().is_ok() {}
}
