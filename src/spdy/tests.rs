use std::future::Future;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::JoinSet;

use super::frame::{self, Control, HEAD, Head};
use super::header::HeaderReader;
use super::*;

/// What kubectl 1.29.14 sends in a `port-forward` of two connections, and in `exec -i` with `hello` on its standard input, read off the
/// wire.
const PORT_FORWARD: &[u8] = include_bytes!("recorded/port-forward");
const EXEC: &[u8] = include_bytes!("recorded/exec");

/// Frames in words.
fn told(mut bytes: &[u8]) -> Vec<String> {
    let (mut unpack, mut told) = (HeaderReader::new(), Vec::new());
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let head = Head::parse(*head).expect("a frame");
        let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
        let (payload, rest) = rest.split_at(length);
        bytes = rest;
        told.push(match head {
            Head::Data { stream, is_last, .. } => {
                let text = String::from_utf8_lossy(payload);
                let last = if is_last { " last" } else { "" };
                format!("{stream}{last} {}", text.lines().next().unwrap_or_default())
            }
            Head::Control { kind, flags, .. } => {
                match Control::parse(kind, flags, payload, &mut unpack).expect("one of kubectl's") {
                    Control::Open { stream, headers, .. } => {
                        let [kind, port, id] =
                            ["streamtype", "port", "requestid"].map(|name| headers.get(name).to_owned());
                        format!("{stream} open {kind} {port} {id}")
                    }
                    other => format!("{other:?}"),
                }
            }
        });
    }
    told
}

#[test]
fn what_kubectl_sends_is_understood() {
    let expected = [
        "1 open error 80 0",
        "1 last ",
        "3 open data 80 0",
        "3 GET / HTTP/1.1",
        "3 last ",
        "5 open error 80 1",
        "5 last ",
        "7 open data 80 1",
        "7 GET / HTTP/1.1",
        "7 last ",
    ];
    assert_eq!(told(PORT_FORWARD), expected);
    let expected = [
        "1 open error  ",
        "3 open stdin  ",
        "5 open stdout  ",
        "7 open stderr  ",
        "3 hello",
        "3 last ",
    ];
    assert_eq!(told(EXEC), expected);
    assert_eq!(decode(EXEC).expect("whole"), expected.len());
}

#[test]
fn frames_that_nobody_sends_end_the_connection() {
    let head = |bytes: [u8; HEAD]| {
        Head::parse(bytes)
            .map(|head| format!("{head:?}"))
            .map_err(|e| e.to_string())
    };
    let cases = [
        ([0x80, 2, 0, 1, 0, 0, 0, 10], "SPDY version 2 is not spoken here"),
        ([0x80, 3, 0, 1, 0, 1, 0, 0], "a control frame of 65536 bytes"),
    ];
    for (bytes, message) in cases {
        assert_eq!(head(bytes), Err(message.to_owned()));
    }
    let control = |kind, payload: &[u8]| Control::parse(kind, 0, payload, &mut HeaderReader::new());
    for (kind, payload) in [(1, &[0; 9][..]), (1, &[]), (2, &[0; 4]), (3, &[0; 3]), (6, &[])] {
        assert!(control(kind, payload).is_err(), "{kind}: {payload:?}");
    }
    // Settings and what comes after us are let be.
    for kind in [4, 7, 9, 40] {
        assert_eq!(control(kind, &[0; 8]).expect("is let be"), Control::Other);
    }
}

/// Drives what kubectl said against a server; what `handle` does with the streams, and how the connection ended.
async fn serve_bytes<T, F: Future<Output = T>>(
    bytes: &[u8],
    handle: impl FnOnce(tokio::sync::mpsc::Receiver<Stream>) -> F,
) -> (Option<T>, Result<(), SpdyError>) {
    let (reader, writer) = (bytes, tokio::io::sink());
    let (streams, run) = serve(reader, writer);
    let (mut handled, mut run) = (pin!(handle(streams)), pin!(run));
    tokio::select! {
        biased;
        answer = &mut handled => (Some(answer), run.await),
        ended = &mut run => (None, ended),
    }
}

#[tokio::test]
async fn streams_are_opened_only_once_and_in_order() {
    let opened = |numbers: &[u32]| {
        let mut pack = super::header::HeaderWriter::new();
        let frames = numbers
            .iter()
            .map(|number| frame::open(*number, true, &pack.write(&Headers::default())));
        frames.collect::<Vec<_>>().concat()
    };
    let until_gone = |mut streams: tokio::sync::mpsc::Receiver<Stream>| async move {
        while streams.recv().await.is_some() {}
        std::future::pending::<()>().await;
    };
    for numbers in [&[0][..], &[2], &[1, 1], &[3, 1]] {
        let (_, ended) = serve_bytes(&opened(numbers), until_gone).await;
        assert!(matches!(ended, Err(SpdyError::BadStream(_))), "{numbers:?}: {ended:?}");
    }
    let (_, ended) = serve_bytes(&opened(&[1, 3, 9]), until_gone).await;
    assert!(ended.is_ok(), "{ended:?}");
}

/// Both sides of a connection; the server gives back what it gets.
async fn with_echo<T, F: Future<Output = T>>(capacity: usize, ask: impl FnOnce(Client) -> F) -> T {
    let (near, far) = duplex(capacity);
    let serving = tokio::spawn(echo(far));
    let (reader, writer) = split(near);
    let (client, run) = connect(reader, writer);
    let (answer, ended) = tokio::join!(ask(client), run);
    ended.expect("ends well");
    serving.await.expect("does not panic");
    answer
}

async fn echo(io: DuplexStream) {
    let (reader, writer) = split(io);
    let (mut streams, run) = serve(reader, writer);
    let mut echoes = JoinSet::new();
    let accept = async {
        while let Some(Stream { mut input, output, .. }) = streams.recv().await {
            echoes.spawn(async move {
                while let Some(received) = input.recv().await {
                    match received {
                        Ok(bytes) => drop(output.send(&bytes).await),
                        Err(Reset) => return output.reset().await,
                    }
                }
                output.finish().await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        // The client is gone.
        _ = run => {}
    }
}

async fn all(mut input: Input) -> Result<Vec<u8>, Reset> {
    let mut bytes = Vec::new();
    while let Some(received) = input.recv().await {
        bytes.extend_from_slice(&received?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn many_streams_carry_their_own_bytes_to_the_end() {
    with_echo(4096, |client| async move {
        let mut asks = JoinSet::new();
        for number in 0..100u8 {
            let Stream { input, output, .. } = client.open(Headers::default(), false).await.expect("opens");
            asks.spawn(async move {
                let sent = vec![number; 3000 * usize::from(number)];
                let (received, ()) = tokio::join!(all(input), async {
                    output.send(&sent).await;
                    output.finish().await;
                });
                assert!(received == Ok(sent), "stream {number}");
            });
        }
        let count = asks.join_all().await.len();
        assert_eq!(count, 100);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_given_up_says_so_on_the_other_side() {
    with_echo(4096, |client| async move {
        let Stream { input, output, .. } = client.open(Headers::default(), false).await.expect("opens");
        output.reset().await;
        assert_eq!(all(input).await, Err(Reset));
        let Stream { input, .. } = client.open(Headers::default(), true).await.expect("opens");
        assert_eq!(
            all(input).await,
            Ok(Vec::new()),
            "who says that nothing comes gets an empty echo"
        );
    })
    .await;
}

#[tokio::test]
async fn pings_come_back_and_too_many_streams_do_not() {
    let (mut near, far) = duplex(1 << 20);
    let serving = tokio::spawn(echo(far));
    near.write_all(&frame::pong([0, 0, 0, 7])).await.expect("writes");
    let mut answer = [0; 12];
    near.read_exact(&mut answer).await.expect("reads");
    assert_eq!(&answer[..], &frame::pong([0, 0, 0, 7])[..]);
    let mut pack = super::header::HeaderWriter::new();
    for number in 0..2000 {
        let packed = pack.write(&Headers::default());
        if near
            .write_all(&frame::open(2 * number + 1, false, &packed))
            .await
            .is_err()
        {
            break;
        }
    }
    serving.await.expect("ends, and does not panic");
}
