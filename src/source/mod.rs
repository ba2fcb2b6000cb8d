//! Where desired state comes from: a directory, a file, text from standard input.
//!
//! A source is read whole, again whenever the kernel hints at a change and every half minute in case a hint was lost; each
//! reading that differs from the last becomes a [`Listing`]. [`plan_source`] says what a listing asks for, given what
//! was applied of it before. Knows files and the gate (`admit`), not the store: the node applies what is planned.
//!
//! ```text
//! notify ─ bell ─► walk (stat all) ─► reader (parse what changed) ─► listing ─► plan_source ─► apply, prune, keep
//! ```

mod built;
mod overlay;
mod part;
mod plan;
mod reader;
mod run;
#[cfg(test)]
mod tests;
mod tree;
mod watcher;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::admit::{Location, Problem};
use crate::model::{Key, Object};

pub use built::{Overlays, move_problem};
pub use overlay::{Builder, External, NO_BUILDER};
pub use plan::{Applied, SourcePlan, plan_source, rank};
pub use run::{RunningSource, read_once, read_stdin, spawn};

/// Names a source: what the user called it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub String);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a source's manifests are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A directory or a file, watched for as long as the source runs. An absolute path, as the node's working directory is
    /// not the user's.
    Path(PathBuf),
    /// Text that was read once, with the name that problems show.
    Text {
        /// `-`, or what else the text is known by.
        name: String,
        /// The text.
        bytes: Arc<[u8]>,
    },
}

/// A source to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// Its name.
    pub id: SourceId,
    /// Where its manifests are.
    pub origin: Origin,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// When to look.
    pub timing: Timing,
    /// What overlays may do.
    pub overlays: Overlays,
}

impl SourceSpec {
    /// A source at a path, with the usual timing and `default` as the namespace of objects that name none.
    pub fn at(id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::of(id, Origin::Path(path.into()))
    }

    /// A source of text.
    pub fn text(id: impl Into<String>, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::of(
            id,
            Origin::Text {
                name: name.into(),
                bytes: bytes.into(),
            },
        )
    }

    fn of(id: impl Into<String>, origin: Origin) -> Self {
        let namespace = crate::admit::DEFAULT_NAMESPACE.to_owned();
        Self {
            id: SourceId(id.into()),
            origin,
            namespace,
            timing: Timing::default(),
            overlays: Overlays::default(),
        }
    }
}

/// When a source is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A burst of events has ended when none came for so long.
    pub quiet: Duration,
    /// A burst that does not end is looked into after so long.
    pub most: Duration,
    /// What disappeared from a file, or the file itself, must stay gone for so long before it counts: editors, `git checkout` and
    /// scripts that make a directory anew unlink before they write, and a reader that comes between must not tear anything down.
    pub settle: Duration,
    /// Without any event everything is looked at again after so long.
    pub rescan: Duration,
    /// The same where events can't be had.
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            most: Duration::from_millis(200),
            // A checkout on a slow disk and a script between its `rm` and its `cp` take a second or two; who removes a file for good
            // does not wait for what it named to go.
            settle: Duration::from_secs(3),
            rescan: Duration::from_secs(30),
            poll: Duration::from_secs(1),
        }
    }
}

/// An object as a source names it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcedObject {
    /// What names it.
    pub key: Key,
    /// The file, or the directory of the overlay, that it comes from. A stable name for [`Applied`].
    pub origin: Arc<Path>,
    /// Where it begins: for what was built, in the base, patch or kustomization that it comes from.
    pub location: Location,
    /// What its author wrote: to be applied.
    pub config: Value,
    /// With defaults: what it is if nothing of it exists yet.
    pub object: Object,
    /// What it does less than it says.
    pub warnings: Vec<Problem>,
    /// Differs when `config` does.
    pub digest: u64,
}

/// How changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticing {
    /// The kernel tells.
    Events,
    /// It can't, for this reason; everything is looked at again and again.
    Polling(String),
    /// Not at all: the source is read once.
    Never,
}

/// A whole reading of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The source.
    pub source: SourceId,
    /// Whether the source could be read at all. Until it is, nothing is known to be absent.
    pub complete: bool,
    /// What it names, each key once, in the order in which it is to be applied.
    pub objects: Vec<Arc<SourcedObject>>,
    /// What it named when its file was last good. Not pruned; and applied only where it is gone.
    pub last_good: Vec<Arc<SourcedObject>>,
    /// Files and directories of which it is not known what they (no longer) name: broken, unreadable, being written, or just now
    /// changing.
    pub unsettled: BTreeSet<PathBuf>,
    /// Those of them that named more a moment ago, or are gone: if they stay so, what they named goes.
    pub leaving: BTreeSet<PathBuf>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// How many files it was read from.
    pub files_read: usize,
    /// How changes are noticed.
    pub noticing: Noticing,
    /// Counts listings of this source; 0 is before the first reading.
    pub generation: u64,
}

impl Listing {
    /// Before anything was read.
    pub fn unread(source: SourceId) -> Self {
        Self {
            source,
            complete: false,
            objects: Vec::new(),
            last_good: Vec::new(),
            unsettled: BTreeSet::new(),
            leaving: BTreeSet::new(),
            problems: Vec::new(),
            files_read: 0,
            noticing: Noticing::Never,
            generation: 0,
        }
    }
}
