//! The names of signals.

/// Every signal of Linux that has a name of its own (signal(7)).
const SIGNALS: [(&str, i32); 34] = [
    ("SIGABRT", libc::SIGABRT),
    ("SIGALRM", libc::SIGALRM),
    ("SIGBUS", libc::SIGBUS),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGFPE", libc::SIGFPE),
    ("SIGHUP", libc::SIGHUP),
    ("SIGILL", libc::SIGILL),
    ("SIGINT", libc::SIGINT),
    ("SIGIO", libc::SIGIO),
    ("SIGIOT", libc::SIGIOT),
    ("SIGKILL", libc::SIGKILL),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGPOLL", libc::SIGPOLL),
    ("SIGPROF", libc::SIGPROF),
    ("SIGPWR", libc::SIGPWR),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGSYS", libc::SIGSYS),
    ("SIGTERM", libc::SIGTERM),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
];

/// The number of a signal by its name, `SIGRTMIN+n` and `SIGRTMAX-n` included.
pub fn signal_number(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) => digits.parse::<u8>().ok().filter(|n| *n <= 15),
        None => rest.is_empty().then_some(0),
    };
    if let Some(rest) = name.strip_prefix("SIGRTMIN") {
        return offset(rest, '+').map(|n| libc::SIGRTMIN() + i32::from(n));
    }
    if let Some(rest) = name.strip_prefix("SIGRTMAX") {
        return offset(rest, '-').map(|n| libc::SIGRTMAX() - i32::from(n));
    }
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_nothing_else_is_one() {
        for (name, expected) in [
            ("SIGTERM", Some(15)),
            ("SIGUSR1", Some(10)),
            ("SIGRTMIN", Some(libc::SIGRTMIN())),
            ("SIGRTMIN+3", Some(libc::SIGRTMIN() + 3)),
            ("SIGRTMAX-14", Some(libc::SIGRTMAX() - 14)),
            ("SIGRTMIN+16", None),
            ("SIGRTMIN3", None),
            ("TERM", None),
            ("15", None),
            ("", None),
        ] {
            assert_eq!(signal_number(name), expected, "{name}");
        }
    }
}
