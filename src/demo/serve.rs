//! The HTTP server of the demo.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::output::{environment, line};
use super::{Failure, Outcome, number, process};

/// The largest body that `/echo` sends back: it is held in memory.
const BODY_MAX: u64 = 1 << 20;
/// The longest head of a request.
const HEAD_MAX: u64 = 16 << 10;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where it listens, and when it says that it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    port: u16,
    well_after: Duration,
    well_for: Option<Duration>,
}

impl Options {
    pub(super) fn read(words: &[&str]) -> Result<Options, Failure> {
        let mut options = Options {
            port: 8080,
            well_after: Duration::ZERO,
            well_for: None,
        };
        for pair in words.chunks(2) {
            match pair {
                ["--port", port] => options.port = number("port", port)?,
                ["--well-after", time] => options.well_after = process::seconds(time)?,
                ["--well-for", time] => options.well_for = Some(process::seconds(time)?),
                other => return Err(Failure::Usage(format!("{} is not understood", other.join(" ")))),
            }
        }
        Ok(options)
    }

    fn is_well(self, age: Duration) -> bool {
        age.checked_sub(self.well_after)
            .is_some_and(|well| self.well_for.is_none_or(|end| well < end))
    }
}

/// Who answers.
#[derive(Clone)]
struct Server {
    name: String,
    options: Options,
    start: Instant,
}

/// Answers until SIGTERM.
pub(super) fn serve(options: &Options) -> Outcome {
    process::exit_on_term();
    let (options, port) = (*options, options.port);
    // One socket for IPv6 and IPv4, where the kernel has both.
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let server = Server {
        name: pod_name(),
        options,
        start: Instant::now(),
    };
    line(&format!("{} listens on {}", server.name, listener.local_addr()?))?;
    for stream in listener.incoming() {
        let server = server.clone();
        // A client that goes away in the middle is its own affair, and so is one thread too few.
        let _answered = stream.and_then(|stream| {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || answer_all(&stream, &server).is_ok())
        });
    }
    Ok(0)
}

/// `$POD_NAME`, else the host's name, which is the pod's.
pub(super) fn pod_name() -> String {
    let hostname = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    std::env::var("POD_NAME").unwrap_or_else(|_| hostname())
}

/// Answers the requests of one connection, one after the other.
fn answer_all(stream: &TcpStream, server: &Server) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let (status, body) = respond(&request, server);
        let connection = if request.keeps_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        let body = if request.method == "HEAD" { &[][..] } else { &body };
        { stream }.write_all(&[head.as_bytes(), body].concat())?;
        if !request.keeps_alive {
            break;
        }
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    keeps_alive: bool,
    body: Vec<u8>,
}

fn respond(request: &Request, server: &Server) -> (&'static str, Vec<u8>) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    match path {
        "/" => ("200 OK", format!("{}\n", server.name).into_bytes()),
        "/healthz" if server.options.is_well(server.start.elapsed()) => ("200 OK", b"ok\n".to_vec()),
        "/healthz" => ("500 Internal Server Error", b"not well\n".to_vec()),
        "/env" => ("200 OK", environment().into_bytes()),
        "/echo" if request.body.is_empty() => ("200 OK", format!("{query}\n").into_bytes()),
        "/echo" => ("200 OK", request.body.clone()),
        _ => ("404 Not Found", b"not found\n".to_vec()),
    }
}

/// The next request, or nothing if the client has no more. Bodies are taken by their `Content-Length` only.
fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut head = reader.by_ref().take(HEAD_MAX);
    let mut first = String::new();
    head.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let (mut length, mut keeps_alive) = (0, version == "HTTP/1.1");
    loop {
        let mut header = String::new();
        if head.read_line(&mut header)? == 0 {
            return Ok(None);
        }
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0).min(BODY_MAX),
            "connection" => keeps_alive = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        keeps_alive,
        body,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_by_path() {
        for (path, body, answer) in [
            ("/", "", "200 OK: web-0\n"),
            ("/healthz", "", "200 OK: ok\n"),
            ("/echo?hello", "", "200 OK: hello\n"),
            ("/echo", "said", "200 OK: said"),
            ("/other", "", "404 Not Found: not found\n"),
        ] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\ncontent-length: {}\r\n\r\n{body}rest",
                body.len()
            );
            let request = read_request(&mut head.as_bytes()).expect("memory").expect("a request");
            let server = Server {
                name: "web-0".to_owned(),
                options: Options::read(&[]).expect("nothing is asked"),
                start: Instant::now(),
            };
            let (status, body) = respond(&request, &server);
            assert_eq!(format!("{status}: {}", String::from_utf8_lossy(&body)), answer);
            assert!(request.keeps_alive);
        }
    }

    #[test]
    fn it_is_well_from_then_and_for_so_long() {
        let options = |words: &str| Options::read(&words.split_whitespace().collect::<Vec<_>>()).expect("well formed");
        for (words, well, ill) in [
            ("", &[0, 9][..], &[][..]),
            ("--well-after 3", &[3, 9], &[0, 2]),
            ("--well-for 3 --port 80", &[0, 2], &[3, 9]),
            ("--well-after 2 --well-for 3", &[2, 4], &[1, 5]),
        ] {
            let is_well = |second: &u64| options(words).is_well(Duration::from_secs(*second));
            assert!(well.iter().all(is_well), "{words}");
            assert!(!ill.iter().any(is_well), "{words}");
        }
        assert!(Options::read(&["--port"]).is_err());
    }

    #[test]
    fn a_client_that_says_nothing_or_stops_in_the_head_gets_no_answer() {
        for head in ["", "\r\n", "GET /\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            assert!(
                read_request(&mut head.as_bytes()).expect("memory").is_none(),
                "{head:?}"
            );
        }
    }
}
