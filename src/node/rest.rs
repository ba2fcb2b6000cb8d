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

/// The allocator keeps what was freed until it is told that the time is right. The program's own pages are the kernel's to keep: it
/// maps sixteen for each that is touched, and of those of a node at rest next to none is needed again soon.
fn give_back() {
    for (start, length) in program_text() {
        // SAFETY: the range is this program's own code, as the kernel just said: mapped from its file, never written to. What is
        // needed again comes from the page cache.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: the call touches free memory of the allocator only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Where this program's code is mapped, as address and length (proc_pid_maps(5)). Nothing if the kernel does not say.
fn program_text() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    plan_text(&maps, &program.to_string_lossy())
}

fn plan_text(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_text = words.next()? == "r-xp" && words.nth(3)? == program;
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        is_text.then_some((start, end - start))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let maps = "00200000-0075a000 r--p 00000000 fe:00 77  /opt/kubelocal\n\
                    0075a000-01cc6000 r-xp 00559000 fe:00 77  /opt/kubelocal\n\
                    01cc6000-01d00000 rw-p 01ac4000 fe:00 77  /opt/kubelocal\n\
                    01d00000-01e00000 r-xp 00000000 fe:00 78  /opt/kubelocal-other\n\
                    7ffe053cd000-7ffe053cf000 r-xp 00000000 00:00 0  [vdso]\n";
        assert_eq!(plan_text(maps, "/opt/kubelocal"), [(0x0075_a000, 0x0156_c000)]);
        assert_eq!(plan_text("", "/opt/kubelocal"), []);
        assert_eq!(plan_text("nonsense\n\n00-", "/opt/kubelocal"), []);
    }
}
