//! Load on a server, so that a test sees whether each request is answered.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::output::line;
use super::{Failure, Outcome, net};

/// Between two requests of one client: a load that is bounded, so that it is the server and not the machine that is tried.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is a file at `end`, prints how many were answered, and of each failure why.
pub(super) fn load(target: &str, clients: usize, end: &str) -> Outcome {
    let (answered, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !Path::new(end).exists() {
                    let count = match net::ask_for(target, "/").and_then(is_good) {
                        Ok(()) => &answered,
                        Err(why) => {
                            eprintln!("{why:?}");
                            &failed
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        }
    });
    let (answered, failed) = (answered.into_inner(), failed.into_inner());
    line(&format!("{answered} answered, {failed} failed"))?;
    Ok(i32::from(failed > 0))
}

fn is_good(heard: String) -> Result<(), Failure> {
    match heard.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(Failure::Failed(format!("the answer was {heard:?}"))),
    }
}
