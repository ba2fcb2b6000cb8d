//! A node that answers from a script over its unix socket, and the real binary run against it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// One expected request and its answer.
pub struct Exchange {
    /// Method and path with query, then ` as Table` if a Table is asked for.
    pub request: &'static str,
    pub status: u16,
    pub warning: Option<&'static str>,
    pub answer: String,
}

/// Method and path, and the body, of every request.
type Heard = Arc<Mutex<Vec<(String, String)>>>;
type Script = Arc<Mutex<VecDeque<Exchange>>>;

/// A node that forgets an exchange once it has been had.
pub struct ScriptedNode {
    directory: tempfile::TempDir,
    script: Script,
    heard: Heard,
}

impl ScriptedNode {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let run_dir = directory.path().join("home/run");
        std::fs::create_dir_all(&run_dir).expect("made");
        let listener = UnixListener::bind(run_dir.join("api.sock")).expect("bound");
        let (script, heard) = (Script::default(), Heard::default());
        let node = Self {
            directory,
            script: script.clone(),
            heard: heard.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, heard) = (script.clone(), heard.clone());
                let service = hyper::service::service_fn(move |request| answer(request, script.clone(), heard.clone()));
                // The client hangs up as soon as it has what it wants.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        node
    }

    /// Adds an exchange.
    pub fn on(self, request: &'static str, answer: Value) -> Self {
        self.on_status(request, 200, answer)
    }

    pub fn on_status(self, request: &'static str, status: u16, answer: Value) -> Self {
        self.push(Exchange {
            request,
            status,
            warning: None,
            answer: answer.to_string(),
        })
    }

    pub fn on_text(self, request: &'static str, answer: &str) -> Self {
        self.push(Exchange {
            request,
            status: 200,
            warning: None,
            answer: answer.to_owned(),
        })
    }

    pub fn push(self, exchange: Exchange) -> Self {
        self.script.lock().expect("no holder panics").push_back(exchange);
        self
    }

    /// A path in the directory in which the binary runs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().expect("exists").join(name)
    }

    pub fn heard(&self) -> Vec<(String, String)> {
        self.heard.lock().expect("no holder panics").clone()
    }

    pub async fn run(&self, line: &str) -> Ran {
        self.run_with_input(line, "").await
    }

    pub async fn run_with_input(&self, line: &str, input: &str) -> Ran {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubelocal"))
            .args(line.split_whitespace())
            .env_clear()
            .env("HOME", self.directory.path())
            .env("KUBELOCAL_HOME", self.directory.path().join("home"))
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        // A verb that refuses its arguments has ended before it reads.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().await.expect("ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let ran = Ran {
            code: status.code().expect("not killed"),
            out: text(stdout),
            err: text(stderr),
        };
        let left: Vec<&str> = self
            .script
            .lock()
            .expect("no holder panics")
            .iter()
            .map(|e| e.request)
            .collect();
        assert!(
            left.is_empty(),
            "on {line:?} these requests did not come: {left:?}; {ran:?}; heard {:?}",
            self.heard()
        );
        ran
    }
}

async fn answer(request: Request<Incoming>, script: Script, heard: Heard) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    // Every command asks first whether anybody is there.
    if parts.uri.path() == "/livez" {
        return Ok(Response::new(Full::from("ok")));
    }
    let accept = parts.headers.get("accept").map_or(&b""[..], |accept| accept.as_bytes());
    let table = if accept.starts_with(b"application/json;as=Table") {
        " as Table"
    } else {
        ""
    };
    let line = format!("{} {}{table}", parts.method, parts.uri);
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    heard
        .lock()
        .expect("no holder panics")
        .push((line.clone(), String::from_utf8_lossy(&body).into_owned()));
    let exchange = {
        let mut script = script.lock().expect("no holder panics");
        script
            .iter()
            .position(|exchange| exchange.request == line)
            .and_then(|place| script.remove(place))
    };
    if exchange.is_none() && line.contains("watch=true") {
        // Nothing changes any more, and a node says so by saying nothing.
        return std::future::pending().await;
    }
    let exchange = exchange.unwrap_or_else(|| unexpected(&line));
    let mut response = Response::builder()
        .status(exchange.status)
        .header("content-type", "application/json");
    if let Some(warning) = exchange.warning {
        response = response.header("warning", format!("299 - \"{warning}\""));
    }
    Ok(response.body(Full::from(exchange.answer)).expect("a response"))
}

fn unexpected(line: &str) -> Exchange {
    let status = json!({"kind": "Status", "status": "Failure", "reason": "Unexpected", "message": line, "code": 500});
    Exchange {
        request: "",
        status: 500,
        warning: None,
        answer: status.to_string(),
    }
}

/// How the binary ended, and what it said.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn printed(&self, out: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (0, out, ""));
    }

    #[track_caller]
    pub fn failed(&self, code: i32, err: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (code, "", err));
    }
}
