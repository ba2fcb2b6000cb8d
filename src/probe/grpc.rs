//! Asking a gRPC health service (`pkg/probe/grpc`, `grpc.health.v1.Health/Check`). One request with one field and one answer with
//! one field, so the two messages are written and read here.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, TE, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, timeout_at};

use super::ask::{Outcome, Target, connect, keep, shown};
use super::plan::{Endpoint, PROBE_AGENT};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's code for a service or method that is not there.
const UNIMPLEMENTED: u32 = 12;

/// What `HealthCheckResponse.ServingStatus` says by number.
const SERVING: u64 = 1;

/// Asks after a service; the empty name is the whole server.
pub(super) async fn probe(target: &Target, endpoint: &Endpoint, service: &str, limit: Duration) -> Outcome {
    let (address, until) = (shown(endpoint), Instant::now() + limit);
    let connected = timeout_at(until, connect(target, endpoint)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Outcome::Failure(format!("error: failed to connect service at {address:?}: {error}")),
        Err(_) => {
            return Outcome::Failure(format!(
                "timeout: failed to connect service {address:?} within {limit:?}: context deadline exceeded"
            ));
        }
    };
    let call = async {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
        let mut answer = std::pin::pin!(async move {
            let response = sender.send_request(plan_request(&address, service)?).await;
            read(response.map_err(|e| e.to_string())?).await
        });
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    };
    match timeout_at(until, call).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => Outcome::Failure(format!(
            "error: health rpc probe failed: rpc error: code = Unavailable desc = {error}"
        )),
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {limit:?}")),
    }
}

/// What a server said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    /// gRPC's status; 0 is good.
    code: u32,
    message: String,
    body: Vec<u8>,
}

fn plan_request(address: &str, service: &str) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, PROBE_AGENT)
        .body(Full::new(encode(service)));
    request.map_err(|e| e.to_string())
}

async fn read(response: http::Response<Incoming>) -> Result<Answer, String> {
    if response.status() != http::StatusCode::OK {
        return Err(format!("unexpected HTTP status code: {}", response.status().as_u16()));
    }
    // A server that has only an error to tell puts it in the head.
    let mut answer = Answer::default();
    take_status(&mut answer, response.headers());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| e.to_string())?;
        if let Some(bytes) = frame.data_ref() {
            keep(&mut answer.body, bytes);
        } else if let Some(trailers) = frame.trailers_ref() {
            take_status(&mut answer, trailers);
        }
    }
    Ok(answer)
}

fn take_status(answer: &mut Answer, headers: &HeaderMap) {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(code) = text(&STATUS).and_then(|code| code.parse().ok()) {
        answer.code = code;
        answer.message = text(&MESSAGE).unwrap_or_default().to_owned();
    }
}

fn judge(answer: &Answer) -> Outcome {
    let Answer { code, message, .. } = answer;
    if *code == UNIMPLEMENTED {
        return Outcome::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ));
    }
    if *code != 0 {
        return Outcome::Failure(format!(
            "error: health rpc probe failed: rpc error: code = {} desc = {message}",
            code_name(*code)
        ));
    }
    match decode(&answer.body) {
        Some(SERVING) => Outcome::Success,
        Some(status) => Outcome::Failure(format!("service unhealthy (responded with {:?})", status_name(status))),
        None => Outcome::Failure("error: health rpc probe failed: the answer is no HealthCheckResponse".to_owned()),
    }
}

/// `HealthCheckRequest { service = 1 }` in a frame: a byte that says "not compressed", the length, the message.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a name in an object is far below 4 GiB"));
    frame.put(message);
    frame.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        into.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

/// The status in a frame with a `HealthCheckResponse { status = 1 }`; 0 if it is left out. `None` if it is no such thing.
fn decode(frame: &[u8]) -> Option<u64> {
    let (head, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    let mut rest = message.get(..usize::try_from(length).ok()?)?;
    if head[0] != 0 {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match tag & 7 {
            0 if tag >> 3 == 1 => status = take_varint(&mut rest)?,
            0 => drop(take_varint(&mut rest)?),
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn status_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

/// `codes.Code.String`
fn code_name(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_frame_with_the_service() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(encode(&"a".repeat(200)).len(), 5 + 1 + 2 + 200);
    }

    #[test]
    fn whatever_comes_back_is_a_status_or_nothing() {
        for (frame, expected) in [
            (&[0, 0, 0, 0, 2, 0x08, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0][..], Some(0)),
            // Fields that we do not know are passed over.
            (&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 0x08, 2][..], Some(2)),
            (&[1, 0, 0, 0, 2, 0x08, 1][..], None),
            (&[0, 0, 0, 0, 3, 0x08, 1][..], None),
            (&[0, 255, 255, 255, 255][..], None),
            (&[0, 0, 0, 0, 2, 0x12, 9][..], None),
            (&[0, 0, 0, 0, 1, 0x0b][..], None),
            (b"HTTP", None),
        ] {
            assert_eq!(decode(frame), expected, "{frame:?}");
        }
        assert_eq!(decode(&[&[0, 0, 0, 0, 12, 0x08][..], &[0xff; 11]].concat()), None);
    }

    #[test]
    fn answers_are_told_in_grpcs_words() {
        let said = |code, message: &str, body: &[u8]| {
            judge(&Answer {
                code,
                message: message.to_owned(),
                body: body.to_vec(),
            })
        };
        let failure = |text: &str| Outcome::Failure(text.to_owned());
        assert_eq!(said(0, "", &[0, 0, 0, 0, 2, 8, 1]), Outcome::Success);
        assert_eq!(
            said(0, "", &[0, 0, 0, 0, 2, 8, 2]),
            failure("service unhealthy (responded with \"NOT_SERVING\")")
        );
        assert_eq!(
            said(5, "unknown service", &[]),
            failure("error: health rpc probe failed: rpc error: code = NotFound desc = unknown service")
        );
        assert_eq!(
            said(12, "no", &[]),
            failure("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): no")
        );
    }
}
