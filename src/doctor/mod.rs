//! What of this host stands in the node's way, and the command that mends it.
//!
//! Three steps: [`facts`] looks at the host, trying things out in a short-lived process of its own where a file could lie
//! ([`probe`]); [`checks`] judges what was found, which is pure; the command line prints the verdicts. Nothing here changes
//! the host, and nothing needs a node.

mod checks;
mod facts;
pub mod probe;

use std::path::Path;

pub use checks::{Level, Verdict, judge};
pub use facts::Facts;

/// Looks at the host and judges it; `home` is where the node would keep its files.
#[must_use]
pub fn run(home: &Path) -> Vec<Verdict> {
    judge(&Facts::gather(home))
}
