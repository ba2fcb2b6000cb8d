//! Whoever asks for much and does not read it: that costs bounded memory, nobody else waits, and nothing is lost once it is read.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kubelocal::spdy::{self, Headers};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::home::Home;
use crate::images::load_busybox;
use crate::kubectl::kube_rs;

/// Of all numbers up to this: 63 MB of text.
const LAST: u32 = 8_000_000;

/// What may be held for one who does not read, with all that a node takes anyway to answer the questions of a test.
const ROOM_KB: u64 = 24 << 10;

/// What the node and the pod's supervisor take, in kB.
fn memory(home: &Home) -> u64 {
    let supervisor = home.supervisor_pid(&home.text("pod shell", "/metadata/uid"));
    let taken = [home.node_pid(), supervisor].into_iter().flatten().map(|pid| {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("it has memory");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse::<u64>().expect("a number")
    });
    taken.sum()
}

/// Waits until what writes numbers in the container writes no more of them and has not ended; by streams that nobody holds up.
fn until_held_back(home: &Home) {
    let mut before = String::new();
    home.until("the writer is held back", || {
        let script = "cat /proc/$(busybox pidof seq)/io";
        let now = home.run(["exec", "shell", "--", "sh", "-c", script]);
        let is_same = now.code == 0 && now.stdout == before;
        before = now.stdout;
        is_same
    });
}

/// Fails unless all numbers come, in their order.
async fn read_numbers(from: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(from).lines();
    for number in 1..=LAST {
        let line = lines.next_line().await.expect("reads").expect("goes on");
        assert_eq!(line, number.to_string());
    }
    assert_eq!(lines.next_line().await.expect("reads"), None);
}

/// A connection to the node's socket on which this was asked, and the answer's head was read.
async fn asked(home: &Home, request: &str) -> UnixStream {
    let path = home.path("run/api.sock");
    let mut stream = UnixStream::connect(path).await.expect("listens");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("answers"));
    }
    let head = String::from_utf8_lossy(&head);
    assert!(
        head.starts_with("HTTP/1.1 101") || head.starts_with("HTTP/1.1 200"),
        "{head}"
    );
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_that_nobody_reads_is_held_back_and_goes_on() {
    let home = Home::new();
    home.start(load_busybox(&home, "sleep 1000"));
    let pods: Api<Pod> = Api::default_namespaced(kube_rs(&home).await);
    let last = LAST.to_string();
    let before = memory(&home);

    let over_websocket = AttachParams::default().stderr(false).max_stdout_buf_size(1 << 16);
    let mut process = pods
        .exec("shell", ["seq", "1", &last], &over_websocket)
        .await
        .expect("begins");
    let stdout = process.stdout().expect("was asked for");
    until_held_back(&home);
    let held = memory(&home);
    assert!(held < before + ROOM_KB, "over a WebSocket: {before} kB, then {held} kB");
    read_numbers(stdout).await;
    process.join().await.expect("it ends well");

    let request = format!(
        "POST /api/v1/namespaces/default/pods/shell/exec?command=seq&command=1&command={last}&stdout=true HTTP/1.1\r\n\
        Host: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
        Content-Length: 0\r\n\r\n"
    );
    let (reader, writer) = asked(&home, &request).await.into_split();
    let (client, connection) = spdy::connect(reader, writer);
    let connection = tokio::spawn(connection);
    let open = |kind: &'static str| client.open(Headers::new([("streamtype", kind)]), true);
    let mut error = open("error").await.expect("opens");
    let stdout = open("stdout").await.expect("opens");
    until_held_back(&home);
    let held = memory(&home);
    assert!(held < before + ROOM_KB, "over SPDY: {before} kB, then {held} kB");
    let pieces = futures::stream::unfold(stdout.input, async |mut input| {
        let piece = input
            .recv()
            .await?
            .map_err(|reset| std::io::Error::other(format!("{reset:?}")));
        Some((piece, input))
    });
    read_numbers(tokio_util::io::StreamReader::new(std::pin::pin!(pieces))).await;
    let status = error.input.recv().await.expect("a status").expect("was not given up");
    assert!(status.starts_with(br#"{"metadata":{},"status":"Success"#), "{status:?}");
    drop((client, stdout.output, error.output));
    connection.await.expect("does not panic").expect("ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_is_not_held_and_is_whole() {
    let home = Home::new();
    // 40 MB, so that all parts of the log are kept.
    let last = 40_000;
    let script = format!(
        "i=1; while [ $i -le {last} ]; do echo $i {}; i=$((i+1)); done; sleep 1000",
        "x".repeat(1000)
    );
    home.start(load_busybox(&home, "sleep 1000").with("/spec/containers/0/command", json!(["sh", "-c", script])));
    let before = memory(&home);
    let request = "GET /api/v1/namespaces/default/pods/shell/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n";
    let stream = asked(&home, request).await;
    home.until("all was said", || {
        home.run("logs shell --tail 1").stdout.starts_with(&last.to_string())
    });
    let held = memory(&home);
    assert!(held < before + ROOM_KB, "{before} kB, then {held} kB");
    let mut lines = BufReader::new(stream).lines();
    let mut next = 1;
    while next <= last {
        let line = lines.next_line().await.expect("reads").expect("goes on");
        // Pieces of the flow have a line with their length before them.
        if let Some((number, _)) = line.split_once(' ') {
            assert_eq!(number, next.to_string());
            next += 1;
        }
    }
}
