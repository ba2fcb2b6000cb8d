//! `kubelocal demo`: the program of the built-in image, for the demo and the tests.
//!
//! It runs in a container where there is nothing else: no shell, no libc files, no other programs. So it has small
//! stand-ins for what tests of a pod need to see from inside. Must not know anything of kubelocal: it is a workload.
//! Nearly only the standard library; libc where that has nothing: PID 1 dies of no signal that it does not handle, and `ping` needs a socket
//! of its own kind.

mod datagram;
mod dns;
mod files;
mod hunger;
mod load;
mod net;
mod output;
mod process;
mod serve;

const USAGE: &str = "usage: kubelocal demo VERB
  serve [--port 8080] [--well-after SECONDS] [--well-for SECONDS]
                                 answer HTTP: / with the pod's name, /client with the client's address, /env, /echo, and /healthz, which is well only then
  echo TEXT…                     print the text
  sleep SECONDS|forever          exit with 0 then, or at once on SIGTERM
  ignore-term [SECONDS]          the same, but SIGTERM only prints a line
  exit CODE [--after SECONDS]    exit with this code
  env                            print the environment
  id                             print uid, gid and groups
  resolve NAME                   print the addresses of a name, asked of resolv.conf's name server
  connect HOST:PORT [--within MS]
                                 connect, print what the other side says, exit with 0 if it could be reached
  datagrams PORT                 send datagrams back to whoever sent them
  ask HOST:PORT TEXT [--from PORT] [--times N]
                                 send a datagram, print the answer, N times; exit with 0 if there was one each time
  ping ADDRESS                   send an echo of ICMP, exit with 0 if it comes back
  answer [--port 8080]           answer datagrams with the pod's name and what they say
  name-server ADDRESS            say of every name that this is its address
  fetch HOST:PORT[/PATH]         print what an HTTP server has at its root or this path
  stay HOST:PORT                 ask an HTTP server for its root by one connection, again and again; exit with 1 when that ends
  load HOST:PORT CLIENTS PATH    ask an HTTP server, so many clients at a time, a connection for each request, until
                                 there is a file at PATH; exit with 0 if all were answered
  cat PATH [--every SECONDS]     print a file, again and again
  count [--interval MS] [--to N] print numbered lines
  spin                           use a processor
  eat MEBIBYTES                  take that much memory, then sleep
  eat-in-child MEBIBYTES         have a child take it; exit with its code, as a shell counts
  crowd N                        start N processes that sleep, print how many could be started, then sleep
  write PATH TEXT                write a file
  ls|stat|rm|readlink PATH       look at a path, or remove it
  mounts                         print the mounts";

/// Why a verb failed.
#[derive(Debug)]
enum Failure {
    /// It was called wrongly.
    Usage(String),
    /// It could not be done.
    Failed(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

type Outcome = Result<i32, Failure>;

/// Runs the demo program with the arguments that follow `demo`, and returns its exit code: what the verb says; 1 if it
/// failed, 2 if it was called wrongly.
pub fn run(args: &[String]) -> i32 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(code) => code,
        Err(Failure::Failed(why)) => {
            eprintln!("kubelocal demo {}: {why}", words.join(" "));
            1
        }
        Err(Failure::Usage(why)) => {
            eprintln!("{why}\n{USAGE}");
            2
        }
    }
}

fn dispatch(words: &[&str]) -> Outcome {
    match words {
        ["serve", options @ ..] => serve::serve(&serve::Options::read(options)?),
        ["echo", text @ ..] => output::echo(text),
        ["sleep", "forever"] => process::sleep(None),
        ["sleep", seconds] => process::sleep(Some(process::seconds(seconds)?)),
        ["ignore-term"] => process::ignore_term(None),
        ["ignore-term", seconds] => process::ignore_term(Some(process::seconds(seconds)?)),
        ["exit", code] => Ok(number("code", code)?),
        ["exit", code, "--after", seconds] => process::exit_after(number("code", code)?, process::seconds(seconds)?),
        ["env"] => output::env(),
        ["id"] => process::id(),
        ["spin"] => process::spin(),
        ["eat", size] => hunger::eat(number("number of mebibytes", size)?),
        ["eat-in-child", size] => hunger::eat_in_child(size),
        ["crowd", count] => hunger::crowd(number("number", count)?),
        ["resolve", name] => dns::resolve(name),
        ["connect", target] => net::connect(target, None),
        ["connect", target, "--within", time] => net::connect(target, Some(number("milliseconds", time)?)),
        ["datagrams", port] => net::send_back(number("port", port)?),
        ["ask", target, text, options @ ..] => datagram::ask(target, text, options),
        ["ping", address] => datagram::ping(address),
        ["answer", options @ ..] => datagram::answer(options),
        ["name-server", address] => dns::serve(address),
        ["fetch", target] => net::fetch(target),
        ["stay", target] => net::stay(target),
        ["load", target, clients, path] => load::load(target, number("number of clients", clients)?, path),
        ["cat", path] => files::cat(path, None),
        ["cat", path, "--every", seconds] => files::cat(path, Some(process::seconds(seconds)?)),
        ["count", options @ ..] => output::count(options),
        ["write", path, text] => files::write(path, text),
        ["ls", path] => files::ls(path),
        ["stat", path] => files::stat(path),
        ["rm", path] => files::rm(path),
        ["readlink", path] => files::readlink(path),
        ["mounts"] => files::cat("/proc/self/mountinfo", None),
        [] => Err(Failure::Usage("what shall it do?".to_owned())),
        other => Err(Failure::Usage(format!("{} is not understood", other.join(" ")))),
    }
}

fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Usage(format!("{text} is no {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_exit_code_is_the_verbs_or_1_for_failure_or_2_for_misuse() {
        for (call, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 3 --after 0", 3),
            ("echo", 0),
            ("sleep 0", 0),
            ("env", 0),
            ("id", 0),
            ("count --to 2 --interval 0", 0),
            ("cat /nowhere/at/all", 1),
            ("readlink /proc/self", 0),
            ("connect 127.0.0.1:1", 1),
            ("", 2),
            ("dance", 2),
            ("exit seven", 2),
            ("serve --port 70000", 2),
            ("count --by 2", 2),
        ] {
            assert_eq!(run(&words(call)), code, "{call}");
        }
    }
}
