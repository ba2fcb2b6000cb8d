//! The HTTP server of the demo.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::output::{environment, line};
use super::{Failure, Outcome, number, process};

/// The largest body that `/echo` sends back: it is held in memory.
const BODY_MAX: u64 = 1 << 20;
/// The longest head of a request.
const HEAD_MAX: u64 = 16 << 10;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it looks for another client before it ends, and how long it waits at most for those that it has.
const QUIET: Duration = Duration::from_millis(5);
const FAREWELL: Duration = Duration::from_millis(500);

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
    /// How many clients are owed an answer: all but those that may ask once more.
    asked: Arc<AtomicUsize>,
    is_ending: Arc<AtomicBool>,
}

/// Answers until SIGTERM, and after it those who have connected before, as servers should: nobody else comes any more.
pub(super) fn serve(options: &Options) -> Outcome {
    let term = process::term()?;
    let (options, port) = (*options, options.port);
    // One socket for IPv6 and IPv4, where the kernel has both.
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    listener.set_nonblocking(true)?;
    let server = Server {
        name: pod_name(),
        options,
        start: Instant::now(),
        asked: Arc::default(),
        is_ending: Arc::default(),
    };
    line(&format!("{} listens on {}", server.name, listener.local_addr()?))?;
    while !is_readable(&[listener.as_fd(), term.as_fd()], None)?[1] {
        server.take_clients(&listener);
    }
    server.is_ending.store(true, Ordering::Relaxed);
    let end = Instant::now() + FAREWELL;
    while server.take_clients(&listener) || (server.asked.load(Ordering::Relaxed) > 0 && Instant::now() < end) {
        is_readable(&[listener.as_fd()], Some(QUIET))?;
    }
    Ok(0)
}

/// Waits until one of them has something to read, and says which.
fn is_readable(of: &[BorrowedFd<'_>], within: Option<Duration>) -> std::io::Result<Vec<bool>> {
    let mut polled: Vec<_> = of.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let within = within.map(|time| Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    });
    match poll(&mut polled, within.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(error) => Err(error.into()),
    }
}

impl Server {
    /// Takes in all who wait; says whether there were any.
    fn take_clients(&self, listener: &TcpListener) -> bool {
        let mut were_any = false;
        while let Ok((stream, _)) = listener.accept() {
            were_any = true;
            self.asked.fetch_add(1, Ordering::Relaxed);
            let server = self.clone();
            let answer = move || {
                // A client that goes away in the middle is its own affair.
                let _broken = answer_all(&stream, &server);
                server.asked.fetch_sub(1, Ordering::Relaxed);
            };
            // And so is one thread too few.
            if thread::Builder::new().stack_size(64 << 10).spawn(answer).is_err() {
                self.asked.fetch_sub(1, Ordering::Relaxed);
            }
        }
        were_any
    }
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
        let (status, body) = respond(&request, server, stream.peer_addr()?.ip().to_canonical());
        let keeps_alive = request.keeps_alive && !server.is_ending.load(Ordering::Relaxed);
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        let body = if request.method == "HEAD" { &[][..] } else { &body };
        { stream }.write_all(&[head.as_bytes(), body].concat())?;
        if !keeps_alive {
            break;
        }
        server.asked.fetch_sub(1, Ordering::Relaxed);
        let next = reader.fill_buf();
        server.asked.fetch_add(1, Ordering::Relaxed);
        next?;
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    keeps_alive: bool,
    body: Vec<u8>,
}

fn respond(request: &Request, server: &Server, client: IpAddr) -> (&'static str, Vec<u8>) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    match path {
        "/" => ("200 OK", format!("{}\n", server.name).into_bytes()),
        "/healthz" if server.options.is_well(server.start.elapsed()) => ("200 OK", b"ok\n".to_vec()),
        "/healthz" => ("500 Internal Server Error", b"not well\n".to_vec()),
        "/client" => ("200 OK", format!("{client}\n").into_bytes()),
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
            ("/client", "", "200 OK: 192.0.2.7\n"),
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
                asked: Arc::default(),
                is_ending: Arc::default(),
            };
            let (status, body) = respond(&request, &server, [192, 0, 2, 7].into());
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
