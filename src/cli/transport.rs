//! HTTP over the node's unix socket, as the `kube` client wants it.
//!
//! One connection per request: on a unix socket it costs some microseconds, and a watch or a log occupies a connection
//! wholly anyway. Nothing here knows Kubernetes, but for the `Warning` headers that every answer may carry.

use std::path::{Path, PathBuf};

use http::header::{HOST, HeaderValue, WARNING};
use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::BoxError;

/// Put into a request's extensions by a caller who knows the server's warnings already.
#[derive(Debug, Clone, Copy)]
pub struct WithoutWarnings;

/// A `kube` client that speaks to the API on `socket`.
///
/// Warnings of the server go to standard error as they arrive, one line each, as kubectl prints them.
#[must_use]
pub fn client(socket: &Path, namespace: &str) -> kube::Client {
    let socket: PathBuf = socket.to_owned();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let socket = socket.clone();
        async move { send(&socket, request).await }
    });
    kube::Client::new(service, namespace)
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// When nobody listens, or the connection ends before the answer's head.
pub async fn send<B>(socket: &Path, mut request: Request<B>) -> Result<Response<Incoming>, BoxError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the connection, which ends when the answer has been read or dropped.
    tokio::spawn(connection.with_upgrades());
    request
        .headers_mut()
        .entry(HOST)
        .or_insert(HeaderValue::from_static("localhost"));
    let is_quiet = request.extensions().get::<WithoutWarnings>().is_some();
    let response = sender.send_request(request).await?;
    for warning in response.headers().get_all(WARNING).iter().filter(|_| !is_quiet) {
        if let Some(text) = warning.to_str().ok().and_then(warning_text) {
            eprintln!("Warning: {text}");
        }
    }
    Ok(response)
}

/// The text of a `Warning` header: `299 - "text"` (RFC 7234, 5.5).
fn warning_text(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_warning_is_unquoted() {
        assert_eq!(warning_text(r#"299 - "a \"b\" c""#).as_deref(), Some("a \"b\" c"));
        assert_eq!(warning_text("299 - nothing"), None);
    }
}
