//! `/kubelocal/v1/sources`: a source is a `ManifestSource` object, so registering one is writing it. Whoever applies sources
//! (`applier`) finds it in the store.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::body::{self, Answer};
use super::error::ApiError;
use super::own::{ObjectRef, SourceRegistered, SourceRemoved, SourceRequest};
use super::request::Query;
use super::{Api, write};
use crate::model::{self, Key, Object, SourceSpec, SourceStatus, storage};
use crate::store::{DeleteOptions, StoreError};

/// How long a registration waits for the first reading: thousands of files take less.
const READ_PATIENCE: Duration = Duration::from_secs(10);

impl Api {
    pub(super) async fn register_source(&self, request: Request<Incoming>) -> Answer {
        let request: SourceRequest = write::read_json(request).await?;
        let name = source_name(&request);
        let spec = spec(request, self.clock.now().to_string())?;
        let object = json!({
            "apiVersion": "kubelocal.dev/v1alpha1",
            "kind": "ManifestSource",
            "metadata": {"name": name, "finalizers": [model::PRUNE_FINALIZER]},
            "spec": spec,
        });
        let object = Object::new(object).expect("a kind of the table, with a name");
        let key = object.key().clone();
        let created = match self.store.create(object) {
            Ok(_) => true,
            Err(StoreError::AlreadyExists(_)) => {
                self.store.update(&key, |present| present.value_mut()["spec"] = spec)?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.until_read(&key).await;
        let answer = SourceRegistered { name, created };
        Ok(body::json(
            StatusCode::OK,
            &serde_json::to_value(answer).expect("field names are text"),
        ))
    }

    /// Returns when the source was read as it is registered now, so that whoever asked finds the status to be about that. A
    /// source that takes longer is answered for all the same, and tells by its `observedGeneration`.
    async fn until_read(&self, key: &Key) {
        let is_read = || {
            let source = self.store.get(key);
            source.is_none_or(|source| source.number("/status/observedGeneration") == Some(source.generation()))
        };
        let wait = async {
            while let Ok(mut changes) = self.store.watch(self.store.resource_version()) {
                while !is_read() {
                    if changes.next().await.is_err() {
                        break;
                    }
                }
                if is_read() {
                    return;
                }
            }
        };
        // Running out of time is told by the status, as said above.
        let _ = tokio::time::timeout(READ_PATIENCE, wait).await;
    }

    pub(super) fn remove_source(&self, query: &Query) -> Answer {
        let kind = model::kind("kubelocal.dev/v1alpha1", "ManifestSource").expect("in the table");
        let key = Key::new(kind, "", query.text("name"));
        let source = self.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
        let status: SourceStatus = source
            .at("/status")
            .and_then(|s| serde_json::from_value(s.clone()).ok())
            .unwrap_or_default();
        let objects = status.objects.into_iter().map(|o| ObjectRef {
            api_version: o.api_version,
            kind: o.kind,
            namespace: o.namespace,
            name: o.name,
            uid: o.uid,
        });
        let (kept, objects) =
            objects.partition(|o: &ObjectRef| model::kind(&o.api_version, &o.kind).is_some_and(storage::holds_data));
        let answer = SourceRemoved {
            name: key.name.clone(),
            objects,
            kept,
        };
        self.store.delete(&key, &DeleteOptions::default())?;
        Ok(body::json(
            StatusCode::OK,
            &serde_json::to_value(answer).expect("field names are text"),
        ))
    }
}

fn spec(request: SourceRequest, requested_at: String) -> Result<serde_json::Value, ApiError> {
    if request.paths.is_empty() == request.documents.is_none() {
        return Err(ApiError::bad_request("a source has either paths or documents"));
    }
    let paths = request
        .paths
        .iter()
        .map(|path| path.to_str().map(str::to_owned))
        .collect::<Option<Vec<_>>>();
    let spec = SourceSpec {
        paths: paths.ok_or_else(|| ApiError::bad_request("a path of a source must be valid UTF-8"))?,
        documents: request.documents,
        namespace: request.namespace.unwrap_or_default(),
        external: request.external,
        search_path: request.search_path,
        ephemeral: request.ephemeral,
        requested_at: Some(requested_at),
        owner_pid: request.owner_pid,
    };
    Ok(serde_json::to_value(spec).expect("field names are text"))
}

/// The same paths are the same source: the name is made from them, readable first.
fn source_name(request: &SourceRequest) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for path in &request.paths {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(&[0]);
    }
    let digest = hash.finish();
    let short: String = digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(first) = request.paths.first() else {
        return format!("stdin-{}", request.owner_pid.map_or(short, |pid| pid.to_string()));
    };
    let base = first
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let base: String = base
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    format!("{}-{short}", base.trim_matches('-'))
        .trim_start_matches('-')
        .to_owned()
}
