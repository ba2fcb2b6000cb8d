//! How many descriptors a process may have.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What this process was given, before it took more.
static GIVEN: OnceLock<Option<u64>> = OnceLock::new();

/// Allows this process all descriptors that it may allow itself. The usual 1024 are for programs that use select(2); connections of a
/// hundred pods need more.
pub fn allow_descriptors() {
    let given = getrlimit(Resource::Nofile);
    GIVEN.get_or_init(|| given.current);
    set(given.maximum);
}

/// What programs are to have that this process starts: what it was given itself. `None` is no limit.
pub fn ordinary_descriptors() -> Option<u64> {
    GIVEN
        .get()
        .copied()
        .unwrap_or_else(|| getrlimit(Resource::Nofile).current)
}

/// Limits this process, and what it starts, to so many descriptors. `None` is no limit.
pub fn limit_descriptors(most: Option<u64>) {
    set(most);
}

/// How many descriptors this process may have.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn set(current: Option<u64>) {
    let limit = Rlimit {
        current,
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the number of descriptors stays as it is");
    }
}
