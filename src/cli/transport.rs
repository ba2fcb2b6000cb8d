//! HTTP over the node's unix socket, as the `kube` client wants it.
//!
//! One connection per request: on a unix socket it costs some microseconds, and a watch or a log occupies a connection
//! wholly anyway. Nothing here knows Kubernetes, but for the `Warning` headers that every answer may carry.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{HOST, HeaderValue, WARNING};
use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tower::BoxError;

use crate::os::SocketPath;

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
    let stream = Patient(UnixStream::connect(SocketPath::of(socket)?.path()).await?);
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

/// A connection that waits for the answer where nobody takes more of the question: a server that refuses an upload says why and hangs
/// up, and hyper would look no further than the write that fails then.
struct Patient(UnixStream);

impl Patient {
    fn or_wait(outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match outcome {
            // Whoever reads hears the answer, or that there is none.
            Poll::Ready(Err(error)) if is_hung_up(&error) => Poll::Pending,
            outcome => outcome,
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::or_wait(Pin::new(&mut self.0).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::or_wait(Pin::new(&mut self.0).poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
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
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_answer_that_comes_before_the_question_is_through_is_heard() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).expect("bound");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("connected");
            stream.read_exact(&mut [0; 16]).await.expect("a beginning");
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(answer).await.expect("written");
        };
        // More than a socket holds.
        let body = http_body_util::Full::new(Bytes::from(vec![0; 8 << 20]));
        let request = Request::post("/").body(body).expect("a request");
        let (answer, ()) = tokio::join!(send(&path, request), server);
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 400);
        let said = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(said.as_ref(), b"no");
    }

    #[test]
    fn the_text_of_a_warning_is_unquoted() {
        assert_eq!(warning_text(r#"299 - "a \"b\" c""#).as_deref(), Some("a \"b\" c"));
        assert_eq!(warning_text("299 - nothing"), None);
    }
}
