//! Asking by HTTP (`pkg/probe/http`).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, LOCATION};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

use super::ask::{Outcome, SHOWN, Target, connect, keep, shown};
use super::plan::{Endpoint, HttpGet};
use crate::os::tls_to_anyone;

/// After so many redirects somebody is playing games (Go's `net/http`).
const MAX_REDIRECTS: usize = 10;

/// Asks, and judges the answer as kubelet does (`DoHTTPProbe`).
pub(super) async fn probe(target: &Target, get: &HttpGet, limit: Duration) -> Outcome {
    match timeout(limit, self::get(target, get)).await {
        Err(_) => Outcome::Failure(format!(
            "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            url(get)
        )),
        Ok(Err(error)) => Outcome::Failure(error),
        Ok(Ok((200..300, _))) => Outcome::Success,
        Ok(Ok((300..400, body))) => Outcome::Warning(format!("Probe terminated redirects, Response body: {body}")),
        Ok(Ok((status, _))) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Makes a request and follows redirects that stay on the same host: the status of the last answer, and the beginning of its body.
///
/// # Errors
/// When there was no answer; the text is for people.
pub(super) async fn get(target: &Target, get: &HttpGet) -> Result<(u16, String), String> {
    let mut next = get.clone();
    for _ in 0..MAX_REDIRECTS {
        let failed = |error: String| format!("Get {:?}: {error}", url(&next));
        let answer = request(target, &next).await.map_err(failed)?;
        match answer.redirect.as_deref().and_then(|place| follow(&next, place)) {
            Some(further) => next = further,
            None => return Ok((answer.status, answer.body)),
        }
    }
    Err(format!("Get {:?}: stopped after {MAX_REDIRECTS} redirects", url(&next)))
}

struct Answer {
    status: u16,
    /// Where it sends us.
    redirect: Option<String>,
    body: String,
}

async fn request(target: &Target, get: &HttpGet) -> Result<Answer, String> {
    let stream = connect(target, &get.endpoint).await?;
    if !get.is_tls {
        return exchange(stream, get).await;
    }
    let name = rustls::pki_types::ServerName::try_from(get.endpoint.host().to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(tls_to_anyone()).connect(name, stream).await;
    exchange(stream.map_err(|e| e.to_string())?, get).await
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, get: &HttpGet) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = plan_request(get)?;
    let mut answer = std::pin::pin!(async move {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let redirect = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        Ok(Answer {
            redirect: redirect
                .filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
                .map(str::to_owned),
            status,
            body: read(response.into_body()).await?,
        })
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The other side has hung up; what it said before may still wait to be read.
        _ = connection => answer.await,
    }
}

async fn read(mut body: Incoming) -> Result<String, String> {
    let mut read = Vec::new();
    while read.len() < SHOWN
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|e| e.to_string())?;
        keep(&mut read, frame.data_ref().map_or(&[], |bytes| &bytes[..]));
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

fn plan_request(get: &HttpGet) -> Result<Request<Empty<Bytes>>, String> {
    let path: Uri = get
        .path
        .parse()
        .map_err(|e| format!("invalid path {:?}: {e}", get.path))?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path;
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&shown(&get.endpoint)).map_err(|e| e.to_string())?;
    headers.insert(HOST, host);
    headers.extend(get.headers.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// Where a redirect leads, unless it leads to another host (`probe/http` `RedirectChecker`).
fn follow(from: &HttpGet, place: &str) -> Option<HttpGet> {
    if !is_absolute(place) {
        let base = from.path.split(['?', '#']).next().unwrap_or_default();
        let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = match place.chars().next() {
            Some('/') if place.starts_with("//") => return None,
            Some('/') => place.to_owned(),
            Some('?') => format!("{base}{place}"),
            _ => format!("{directory}/{place}"),
        };
        let path = without_dots(&path);
        return Some(HttpGet { path, ..from.clone() });
    }
    let uri: Uri = place.parse().ok()?;
    let is_tls = uri.scheme_str()? == "https";
    if uri.host()? != from.endpoint.host() {
        return None;
    }
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let mut headers = from.headers.clone();
    // It named the host itself.
    headers.remove(HOST);
    Some(HttpGet {
        endpoint: Endpoint {
            port,
            ..from.endpoint.clone()
        },
        is_tls,
        path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers,
    })
}

/// Whether a reference begins with a scheme (RFC 3986, 3.1). A colon that comes later, as in a query, makes none.
fn is_absolute(place: &str) -> bool {
    let scheme = place.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_of_scheme)
}

/// The path and query without `.` and `..` in the path (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    // What leads to a directory goes on doing so.
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

fn url(get: &HttpGet) -> String {
    let scheme = if get.is_tls { "https" } else { "http" };
    format!("{scheme}://{}{}", shown(&get.endpoint), get.path)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn redirects_are_followed_on_the_same_host_only() {
        let from = HttpGet {
            endpoint: Endpoint { host: None, port: 8080 },
            is_tls: false,
            path: "/a/b?c".to_owned(),
            headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("h"))]),
        };
        for (place, expected) in [
            ("/x", Some("http://127.0.0.1:8080/x h")),
            ("x?y", Some("http://127.0.0.1:8080/a/x?y h")),
            ("?z", Some("http://127.0.0.1:8080/a/b?z h")),
            ("http://127.0.0.1:81/x", Some("http://127.0.0.1:81/x ")),
            ("https://127.0.0.1", Some("https://127.0.0.1:443/ ")),
            ("http://localhost:8080/x", None),
            (
                "/login?next=http://x.y/",
                Some("http://127.0.0.1:8080/login?next=http://x.y/ h"),
            ),
            (
                "x?next=http://x.y/../z",
                Some("http://127.0.0.1:8080/a/x?next=http://x.y/../z h"),
            ),
            ("../x/./y", Some("http://127.0.0.1:8080/x/y h")),
            ("../../..", Some("http://127.0.0.1:8080/ h")),
            ("./", Some("http://127.0.0.1:8080/a/ h")),
            ("mailto:me", None),
            ("//other/x", None),
            ("https://other", None),
        ] {
            let found = follow(&from, place).map(|get| {
                let host = get.headers.get(HOST).map_or("", |host| host.to_str().expect("text"));
                format!("{} {host}", url(&get))
            });
            assert_eq!(found.as_deref(), expected, "{place}");
        }
    }
}
