//! How many files may be open: the node carries connections of many clients, for which the usual 1,024 are few. Pods have what the user has:
//! there are programs that walk through all numbers that could be open.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than the node's connections and all else take.
const ENOUGH: u64 = 64 << 10;

/// The variable by which a supervisor learns the user's limit.
pub(super) const VARIABLE: &str = "KUBELOCAL_OPEN_FILES";

/// What the limit was before the node raised it.
static OF_USER: OnceLock<u64> = OnceLock::new();

/// Lets this process open as many files as it may.
pub fn raise_open_files() {
    let present = getrlimit(Resource::Nofile);
    let Some(soft) = present.current.filter(|soft| *soft < ENOUGH) else {
        return;
    };
    let raised = present.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH));
    if set(raised) {
        // A second call finds nothing to raise.
        let _ = OF_USER.set(soft);
    }
}

/// The limit that pods are to have, if it is another than ours.
pub(super) fn of_user() -> Option<u64> {
    OF_USER.get().copied()
}

/// Takes the limit back, in a process for which the node set [`VARIABLE`].
pub(super) fn restore() {
    let said = std::env::var(VARIABLE).ok();
    if let Some(soft) = said.and_then(|text| text.parse().ok()) {
        set(soft);
    }
}

fn set(soft: u64) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(soft),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).is_ok()
}
