//! A registry of our own on loopback: serves what it is given, and misbehaves where a test says so.
//!
//! One thread per connection, HTTP/1.1 with one request each, nothing more than the tests need.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::image::{Image, OCI_INDEX, OCI_MANIFEST, digest};

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What it is answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// After so many bytes of the body the connection breaks.
    pub break_after: Option<usize>,
    /// After so many bytes of the body nothing more comes, until the client goes.
    pub stall_after: Option<usize>,
    /// How the body of the request is read first.
    pub reading: Reading,
}

/// How a registry reads what is sent to it.
#[derive(Debug, Clone)]
pub struct Reading {
    /// So many bytes at once; none: the connection breaks.
    pub piece: u64,
    /// The pause after each piece.
    pub pause: Duration,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            piece: u64::MAX,
            pause: Duration::ZERO,
        }
    }
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            body: body.into(),
            ..Answer::default()
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

type Script = dyn Fn(&Request, usize) -> Option<Answer> + Send + Sync;

/// The registry. It goes with the test.
pub struct Scripted {
    pub host: String,
    log: Arc<Mutex<Vec<Request>>>,
}

/// What it serves: manifests by tag and digest, blobs by digest.
#[derive(Default, Clone)]
struct Content {
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Scripted {
    /// Serves images by tag; the script may answer first. It is told how often the same has been asked before.
    pub fn answering(
        images: &[(&str, &Image)],
        script: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::with_index(images, &[], script)
    }

    /// The same with indexes by tag.
    pub fn with_index(
        images: &[(&str, &Image)],
        indexes: &[(&str, Vec<u8>)],
        script: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Scripted {
        let mut content = Content::default();
        for (tag, image) in images {
            for name in [(*tag).to_owned(), image.manifest_digest()] {
                content
                    .manifests
                    .insert(name, (OCI_MANIFEST.to_owned(), image.manifest.clone()));
            }
            content.blobs.extend(image.blobs.clone());
        }
        for (tag, index) in indexes {
            for name in [(*tag).to_owned(), digest(index)] {
                content.manifests.insert(name, (OCI_INDEX.to_owned(), index.clone()));
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("is bound").to_string();
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, script, seen) = (content.clone(), script.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, &content, &*script, &seen));
            }
        });
        Scripted { host, log }
    }

    /// `127.0.0.1:port/test/<name>`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/test/{name}", self.host)
    }

    /// What was asked so far: requests whose path contains this.
    pub fn asked(&self, part: &str) -> Vec<Request> {
        let log = self.log.lock().expect("nobody panics with it");
        log.iter()
            .filter(|request| request.path.contains(part))
            .cloned()
            .collect()
    }
}

fn serve(stream: TcpStream, content: &Content, script: &Script, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(&stream);
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    let before = {
        let mut log = log.lock().expect("nobody panics with it");
        let same = |other: &&Request| other.path == request.path && other.method == request.method;
        let before = log.iter().filter(same).count();
        log.push(request.clone());
        before
    };
    let answer = script(&request, before).unwrap_or_else(|| content.answer(&request));
    // A client that has enough goes; that is its right.
    if read_body(&mut reader, &request, &answer.reading).is_ok() {
        let _ = write_answer(&stream, &request, &answer);
    }
}

fn read_body(reader: &mut impl Read, request: &Request, reading: &Reading) -> std::io::Result<()> {
    let length = request
        .headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = reader.take(length.unwrap_or(0));
    if reading.piece == 0 {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    while std::io::copy(&mut body.by_ref().take(reading.piece), &mut std::io::sink())? > 0 {
        std::thread::sleep(reading.pause);
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = reader.lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

fn write_answer(mut stream: &TcpStream, request: &Request, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = answer
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !has_length {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let end = answer.break_after.or(answer.stall_after).unwrap_or(answer.body.len());
    stream.write_all(&answer.body[..end.min(answer.body.len())])?;
    if answer.stall_after.is_some() {
        // Until the client goes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    Ok(())
}

impl Content {
    fn answer(&self, request: &Request) -> Answer {
        let missing = || Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}"#);
        let Some((kind, wanted)) = request.path.rsplit_once('/') else {
            return missing();
        };
        match kind.rsplit('/').next() {
            Some("manifests") => match self.manifests.get(wanted) {
                Some((media_type, bytes)) => Answer::new(200, bytes.clone())
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", digest(bytes)),
                None => missing(),
            },
            Some("blobs") => match self.blobs.get(wanted) {
                Some(bytes) => blob(request, bytes),
                None => missing(),
            },
            _ if request.path == "/v2/" => Answer::new(200, "{}"),
            _ => missing(),
        }
    }
}

/// A blob, or the part of it that is asked for.
pub fn blob(request: &Request, bytes: &[u8]) -> Answer {
    let range = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    match range.and_then(|from| from.parse::<usize>().ok()) {
        Some(from) if from < bytes.len() => Answer::new(206, &bytes[from..]).with(
            "Content-Range",
            format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        Some(_) => Answer::new(416, ""),
        None => Answer::new(200, bytes),
    }
}
