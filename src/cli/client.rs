//! What verbs ask of the node: objects by kind and name as JSON, tables, watches, and our own endpoints.
//!
//! Objects stay JSON, because the command line shows what the node said, not what a type of ours understands. Kinds come
//! from the table that the node has too, so that there is no discovery and `get pods` is one round trip.

use std::path::{Path, PathBuf};

use futures::{AsyncBufRead, Stream, StreamExt};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use kube::core::WatchEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CliError, Result};
use super::transport::{self, WithoutWarnings};
use crate::model::Kind;

/// The header that asks for a Table, and for plain JSON where there is none.
pub const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const AS_JSON: &str = "application/json";

/// A collection or an object in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The kind.
    pub kind: &'static Kind,
    /// The namespace; `None` is all of them, or a kind that has none.
    pub namespace: Option<String>,
    /// The name; `None` is the collection.
    pub name: Option<String>,
}

impl Resource {
    /// The collection in a namespace. The namespace is dropped where the kind has none.
    #[must_use]
    pub fn collection(kind: &'static Kind, namespace: Option<&str>) -> Self {
        let namespace = namespace.filter(|_| kind.namespaced).map(str::to_owned);
        Self {
            kind,
            namespace,
            name: None,
        }
    }

    /// One object.
    #[must_use]
    pub fn object(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::collection(kind, Some(namespace))
        }
    }

    /// `/api/v1/namespaces/default/pods/web`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = match self.kind.group {
            "" => format!("/api/{}", self.kind.version),
            group => format!("/apis/{group}/{}", self.kind.version),
        };
        let namespace = self.namespace.as_deref().map(|namespace| ["namespaces", namespace]);
        let pieces = namespace
            .into_iter()
            .flatten()
            .chain([self.kind.plural])
            .chain(self.name.as_deref());
        for piece in pieces {
            path.push('/');
            path.push_str(&encode(piece));
        }
        path
    }
}

/// Query parameters, in order.
pub type Query<'a> = [(&'a str, String)];

/// The node, as a client sees it.
#[derive(Clone)]
pub struct Node {
    client: kube::Client,
    socket: PathBuf,
}

impl Node {
    /// The node whose API listens on `socket`. Nothing is sent yet.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            client: transport::client(socket, "default"),
            socket: socket.to_owned(),
        }
    }

    /// The plain `kube` client, for what it does best (exec, attach).
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// GET of an object or a list, as JSON.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn get(&self, resource: &Resource, query: &Query<'_>) -> Result<Value> {
        self.get_as(AS_JSON, resource, query).await
    }

    /// GET of an object or a list, as a Table.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn get_table(&self, resource: &Resource, query: &Query<'_>) -> Result<Value> {
        self.get_as(AS_TABLE, resource, query).await
    }

    async fn get_as(&self, accept: &str, resource: &Resource, query: &Query<'_>) -> Result<Value> {
        let headers = [(ACCEPT.as_str(), accept)];
        let path = resource.path();
        let answer = self.request(Method::GET, &path, query, &headers, Vec::new()).await;
        answer.map_err(|error| name_selectors(error, resource, query))
    }

    /// GET of an object that may be missing.
    ///
    /// # Errors
    /// As [`Node::get`], but for `NotFound`.
    pub async fn find(&self, resource: &Resource) -> Result<Option<Value>> {
        match self.get(resource, &[]).await {
            Err(error) if error.kind == super::error::ErrorKind::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Server-side apply of an object that has passed the gate here: the server's warnings are known.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn apply(&self, object: &Resource, query: &Query<'_>, wanted: &Value) -> Result<Value> {
        let headers = [(CONTENT_TYPE.as_str(), "application/apply-patch+yaml")];
        let mut request = build(Method::PATCH, &object.path(), query, &headers, to_bytes(wanted))?;
        request.extensions_mut().insert(WithoutWarnings);
        Ok(self.client.request(request).await?)
    }

    /// DELETE of an object with `DeleteOptions`.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn delete(&self, object: &Resource, options: &Value) -> Result<Value> {
        let headers = [(CONTENT_TYPE.as_str(), AS_JSON)];
        self.request(Method::DELETE, &object.path(), &[], &headers, to_bytes(options))
            .await
    }

    /// A watch; `accept` is [`AS_TABLE`] or plain JSON.
    ///
    /// # Errors
    /// What the server says, or that it does not answer. Errors within the stream come as items.
    pub async fn watch(
        &self,
        resource: &Resource,
        query: &Query<'_>,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>>> + Unpin + use<>> {
        let mut all = query.to_vec();
        all.push(("watch", "true".to_owned()));
        let request = build(
            Method::GET,
            &resource.path(),
            &all,
            &[(ACCEPT.as_str(), accept)],
            Vec::new(),
        )?;
        let events = self.client.request_events::<Value>(request).await?;
        Ok(Box::pin(events.map(|event| event.map_err(CliError::from))))
    }

    /// GET of a body that goes on: logs.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn stream(&self, path: &str, query: &Query<'_>) -> Result<impl AsyncBufRead + Unpin + use<>> {
        let request = build(Method::GET, path, query, &[], Vec::new())?;
        Ok(Box::pin(self.client.request_stream(request).await?))
    }

    /// POST to one of our own endpoints that answers line by line.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn updates<B: Serialize>(&self, path: &str, body: &B) -> Result<impl AsyncBufRead + Unpin + use<B>> {
        let headers = [(CONTENT_TYPE.as_str(), AS_JSON)];
        let request = build(Method::POST, path, &[], &headers, serde_json::to_vec(body)?)?;
        Ok(Box::pin(self.client.request_stream(request).await?))
    }

    /// A request to one of our own endpoints, with a JSON body if there is one.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn own<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)?,
            None => Vec::new(),
        };
        self.request(method, path, query, &[(CONTENT_TYPE.as_str(), AS_JSON)], body)
            .await
    }

    /// POST of a stream that is too large to hold: image archives.
    ///
    /// # Errors
    /// What the server says, or that it does not answer, or that `body` can't be read.
    pub async fn upload<T, B>(&self, path: &str, query: &Query<'_>, body: B) -> Result<T>
    where
        T: DeserializeOwned,
        B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError>,
    {
        let request = build(
            Method::POST,
            path,
            query,
            &[(CONTENT_TYPE.as_str(), "application/x-tar")],
            Vec::new(),
        )?;
        let response = transport::send(&self.socket, request.map(|_| body))
            .await
            .map_err(CliError::local)?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let body = response.into_body().collect().await.map_err(CliError::local)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }

    /// POST that makes of its connection one of another protocol, with streams of `streams`.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn upgrade(&self, path: &str, protocol: &str, streams: &str) -> Result<Upgraded> {
        let headers = [
            (CONNECTION.as_str(), "Upgrade"),
            (UPGRADE.as_str(), protocol),
            ("x-stream-protocol-version", streams),
        ];
        let request = build(Method::POST, path, &[], &headers, Vec::new())?;
        let request = request.map(|_| http_body_util::Empty::<hyper::body::Bytes>::new());
        let response = transport::send(&self.socket, request).await.map_err(CliError::local)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        hyper::upgrade::on(response).await.map_err(CliError::local)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<T> {
        Ok(self.client.request(build(method, path, query, headers, body)?).await?)
    }
}

/// A list that was refused, with what was asked for (`resource.EnhanceListError` of `cli-runtime`).
fn name_selectors(error: CliError, resource: &Resource, query: &Query<'_>) -> CliError {
    let refused = error.message.strip_prefix("Error from server (BadRequest): ");
    let (Some(refused), None) = (refused, &resource.name) else {
        return error;
    };
    let asked = |name: &str| {
        query
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let (labels, fields) = (asked("labelSelector"), asked("fieldSelector"));
    let what = format!(
        "\"{}/{}, Resource={}\"",
        resource.kind.group, resource.kind.version, resource.kind.plural
    );
    let message = match (labels, fields) {
        ("", "") => format!("Unable to list {what}: {refused}"),
        _ => {
            format!("Unable to find {what} that match label selector {labels:?}, field selector {fields:?}: {refused}")
        }
    };
    CliError {
        message: format!("Error from server (BadRequest): {message}"),
        ..error
    }
}

/// What a server says that does not do what it was asked.
async fn refusal(response: Response<Incoming>) -> CliError {
    let bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return CliError::local(error),
    };
    match serde_json::from_slice(&bytes) {
        Ok(status) => CliError::from_status(&status),
        Err(_) => CliError::local(String::from_utf8_lossy(&bytes)),
    }
}

/// The request for an object at hand; `None` if the node does not know its kind.
#[must_use]
pub fn resource_of(object: &Value) -> Option<Resource> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = crate::model::kind(text("/apiVersion")?, text("/kind")?)?;
    let collection = Resource::collection(kind, text("/metadata/namespace"));
    Some(Resource {
        name: Some(text("/metadata/name")?.to_owned()),
        ..collection
    })
}

/// The items of a list, each with the type that lists leave out.
#[must_use]
pub fn items_of(mut list: Value, kind: &Kind) -> Vec<Value> {
    let items = match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let typed = |mut item: Value| {
        if let Some(fields) = item.as_object_mut() {
            fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
            fields.entry("kind").or_insert_with(|| kind.kind.into());
        }
        item
    };
    items.into_iter().map(typed).collect()
}

fn build(
    method: Method,
    path: &str,
    query: &Query<'_>,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>> {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let uri = if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).map_err(CliError::local)
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Percent-encodes all but unreserved characters (RFC 3986, 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    #[test]
    fn paths_name_group_namespace_and_object() {
        let pod = kind("v1", "Pod").expect("in the table");
        let deployment = kind("apps/v1", "Deployment").expect("in the table");
        let namespace = kind("v1", "Namespace").expect("in the table");
        let cases = [
            (Resource::collection(pod, None), "/api/v1/pods"),
            (Resource::collection(pod, Some("a")), "/api/v1/namespaces/a/pods"),
            (
                Resource::object(deployment, "a", "web"),
                "/apis/apps/v1/namespaces/a/deployments/web",
            ),
            (Resource::object(namespace, "a", "b"), "/api/v1/namespaces/b"),
            (
                Resource::object(pod, "a", "../x?y"),
                "/api/v1/namespaces/a/pods/..%2Fx%3Fy",
            ),
        ];
        for (resource, path) in cases {
            assert_eq!(resource.path(), path);
        }
    }

    #[test]
    fn queries_are_encoded() {
        let request = build(
            Method::GET,
            "/x",
            &[("labelSelector", "a in (b,c)".into())],
            &[],
            Vec::new(),
        );
        let request = request.expect("a request");
        assert_eq!(request.uri().to_string(), "/x?labelSelector=a%20in%20%28b%2Cc%29");
    }
}
