//! A process that is killed at instants spread over its work.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Names of what lies in a directory.
pub fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).expect("readable");
    entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect()
}

/// A directory in memory if there is such a place: on a disk each intake waits for whatever others have written to it.
pub fn ground() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(parent).expect("a directory")
}

/// Starts a victim that works on the store below `dir` so many times and kills it; `check` then looks whether it is clean, and tells
/// whether the image is whole. Kills that hit nothing prove nothing, so some must have left something half made, and others none.
pub fn kill_often(kills: u32, dir: &Path, start: impl Fn() -> Child, check: impl Fn() -> bool) {
    // The fastest of three: the first one has more to read and less to remove.
    let time = || {
        let begun = Instant::now();
        assert!(start().wait().expect("a child").success());
        begun.elapsed()
    };
    let whole = (0..3).map(|_| time()).min().expect("three runs");
    let (mut survived, mut half_made) = (0, 0);
    for kill in 0..kills {
        let mut victim = start();
        // The instants are spread over the whole run; they are the point of the test and no synchronisation.
        thread::sleep(whole * kill / kills + Duration::from_micros(u64::from(kill * 37 % 100)));
        victim.kill().expect("a child");
        victim.wait().expect("a child");
        half_made += u32::from(!names(&dir.join("images/tmp")).is_empty());
        survived += u32::from(check());
    }
    eprintln!(
        "{kills} kills within {whole:?}: {half_made} left something half made, after {survived} the image was whole"
    );
    assert!(half_made > 0, "no kill hit the work");
    assert!(survived < kills, "no kill kept an image from being whole");
    time();
    assert!(check());
}
