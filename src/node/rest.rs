//! What the node does when nothing happens: it gives memory back. Starting fifty pods takes some megabytes that idling does not need.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// So long without a change is rest. Longer than the pauses within a rollout, shorter than people wait before they look at `top`.
const REST: Duration = Duration::from_secs(2);

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
