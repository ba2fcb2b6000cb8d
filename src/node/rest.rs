//! How the node keeps its memory small: little is hoarded while it works, and what work has left is given back when nothing happens.
//! Starting fifty pods takes some megabytes that idling does not need.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// So long without a change is rest. Longer than the pauses within a rollout, shorter than people wait before they look at `top`.
const REST: Duration = Duration::from_secs(2);

/// Heaps of the allocator, which never move freed memory from one to the other. It would make eight for each processor, and the
/// threads of a pull, five for each layer, would fill all of them in turn: up to 78 MiB instead of 36 at the peak of a pull of 30
/// layers (`benches/e2e/RESULTS.md`).
const HEAPS: libc::c_int = 2;

/// Blocks from this size on come from the kernel and go back to it at once: windows of zstd and the chunks of fast connections. The
/// allocator would raise this by itself to the largest block that it saw. Twice what an unpacking layer's chunks have, which are many.
const LARGE: libc::c_int = 256 << 10;

/// Tells the allocator how to be frugal; to be called while there is one thread.
pub(super) fn be_frugal() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls set numbers of the allocator under its own lock. A number that it refuses is left as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives memory back whenever the node comes to rest, until `stop`. Wakes nobody otherwise.
pub(super) async fn run(store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.rested(REST) => {}
        }
        store.forget_changes();
        give_back();
    }
}

/// The allocator keeps what was freed until it is told that the time is right.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call touches free memory of the allocator only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
