//! What is not about objects: health, version, discovery, OpenAPI.

use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{self, Answer, Body};
use super::error::ApiError;
use super::{KUBERNETES_VERSION, discovery, events};
use crate::model::KINDS;
use crate::schema;

/// Answers a request to a path that names no resource; `None` if it names one, or nothing.
pub(super) async fn answer(path: &str, headers: &HeaderMap) -> Option<Answer> {
    if !path.starts_with("/openapi/v3/") {
        return answer_at_once(path, headers);
    }
    // Unpacking and writing a document takes longer than others should wait for this thread.
    let (path, headers) = (path.to_owned(), headers.clone());
    let done = tokio::task::spawn_blocking(move || answer_at_once(&path, &headers)).await;
    done.unwrap_or_else(|error| Some(Err(ApiError::internal(error.to_string()))))
}

fn answer_at_once(path: &str, headers: &HeaderMap) -> Option<Answer> {
    let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
    let value = match pieces.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => {
            return Some(Ok(body::typed(StatusCode::OK, "text/plain", body::whole("ok"))));
        }
        ["version"] => version(),
        ["api"] => return Some(Ok(discover(true, headers))),
        ["apis"] => return Some(Ok(discover(false, headers))),
        ["api", version] => return Some(found(discovery::resource_list("", version))),
        ["apis", group] => return Some(found(discovery::group(group))),
        ["apis", group, version] => return Some(found(discovery::resource_list(group, version))),
        // Nothing is a valid document, and all that clients of today need of the old form.
        ["openapi", "v2"] => {
            let form = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            return Some(Ok(body::typed(StatusCode::OK, form, body::whole(""))));
        }
        ["openapi", "v3"] => openapi_index(),
        ["openapi", "v3", "api", version] => return Some(openapi("", version, headers)),
        ["openapi", "v3", "apis", group, version] => return Some(openapi(group, version, headers)),
        _ => return None,
    };
    Some(Ok(body::json(StatusCode::OK, &value)))
}

fn found(value: Option<Value>) -> Answer {
    let value = value.ok_or_else(ApiError::no_such_path)?;
    Ok(body::json(StatusCode::OK, &value))
}

/// Every field that upstream requires is there, because clients with strict models refuse the whole otherwise.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn discover(is_core: bool, headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut response = match discovery::aggregated_version(accept) {
        Some(version) => {
            let etag = format!("\"{}-{version}\"", schema::fingerprint());
            if is_known(headers, &etag) {
                not_modified()
            } else {
                let form = match version {
                    "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                    _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                };
                let bytes = discovery::aggregated(is_core, version).to_string();
                tagged(body::typed(StatusCode::OK, form, body::whole(bytes)), &etag)
            }
        }
        None if is_core => body::json(StatusCode::OK, &discovery::core_versions()),
        None => body::json(StatusCode::OK, &discovery::group_list()),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn openapi_index() -> Value {
    let hash = schema::fingerprint();
    let path = |(group, version): (&str, &str)| match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    };
    let paths: Map<String, Value> = discovery::group_versions()
        .into_iter()
        .map(|of| {
            let path = path(of);
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// A document. Its address changes with it, so clients may keep it for good.
fn openapi(group: &str, version: &str, headers: &HeaderMap) -> Answer {
    if !discovery::group_versions().contains(&(group, version)) {
        return Err(ApiError::no_such_path());
    }
    let etag = format!("\"{}\"", schema::fingerprint());
    if is_known(headers, &etag) {
        return Ok(not_modified());
    }
    let kinds = KINDS
        .iter()
        .chain([&events::KIND])
        .filter(|kind| (kind.group, kind.version) == (group, version));
    let bytes = schema::openapi_document(kinds, KUBERNETES_VERSION);
    let mut response = tagged(
        body::typed(StatusCode::OK, "application/json", body::whole(bytes)),
        &etag,
    );
    response.headers_mut().insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, immutable, max-age=31536000"),
    );
    Ok(response)
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let asked = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    asked.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag))
}

fn not_modified() -> Response<Body> {
    let mut response = Response::new(body::whole(""));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn tagged(mut response: Response<Body>, etag: &str) -> Response<Body> {
    let etag = HeaderValue::from_str(etag).expect("hexadecimal digits and words");
    response.headers_mut().insert(ETAG, etag);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, headers: &[(http::HeaderName, &str)]) -> Option<StatusCode> {
        let value = |value: &str| HeaderValue::from_str(value).expect("plain");
        let headers = headers.iter().map(|(name, text)| (name.clone(), value(text)));
        answer_at_once(path, &headers.collect()).map(|answer| match answer {
            Ok(response) => response.status(),
            Err(error) => error.code,
        })
    }

    #[test]
    fn every_address_of_the_index_has_a_document() {
        for url in openapi_index()["paths"].as_object().expect("a map").values() {
            let url = url["serverRelativeURL"].as_str().expect("text");
            let path = url.split('?').next().expect("a path");
            assert_eq!(status(path, &[]), Some(StatusCode::OK), "{url}");
        }
        assert_eq!(
            status("/openapi/v3/apis/extensions/v1beta1", &[]),
            Some(StatusCode::NOT_FOUND)
        );
    }

    #[test]
    fn who_has_the_newest_is_told_so_without_it() {
        let etag = format!("\"{}\"", schema::fingerprint());
        let known = status("/openapi/v3/api/v1", &[(IF_NONE_MATCH, &etag)]);
        assert_eq!(known, Some(StatusCode::NOT_MODIFIED));
        let other = status("/openapi/v3/api/v1", &[(IF_NONE_MATCH, "\"x\"")]);
        assert_eq!(other, Some(StatusCode::OK));
    }

    #[test]
    fn paths_of_resources_are_not_answered_here() {
        assert_eq!(status("/api/v1/pods", &[]), None);
        assert_eq!(status("/api/", &[]), Some(StatusCode::OK));
        assert_eq!(status("/apis/extensions", &[]), Some(StatusCode::NOT_FOUND));
        assert_eq!(status("/x", &[]), None);
    }
}
