//! Files that broke and moved while no node ran. Pure.
//!
//! A broken file keeps what it named when it was last good, by its path. While a node runs, a broken file that comes when another one
//! goes keeps what that one named (`source`); a node that starts has seen neither. It knows which files were broken before: one that is
//! broken now and was not then may be what became of a file that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::{Key, Severity, SourceStatus};
use crate::source::{Applied, Listing, plan_source};

/// The files that a source says are broken.
pub(super) fn broken_in(status: &SourceStatus) -> BTreeSet<PathBuf> {
    let errors = status.problems.iter().filter(|p| p.severity == Severity::Error);
    errors.map(|problem| PathBuf::from(&problem.file)).collect()
}

/// Leaves what the first listing of a node does not name any more to a file that broke since the last node looked, if there is one: to
/// one of the same name rather than to another.
pub(super) fn bequeath(applied: &mut BTreeMap<Key, Applied>, listing: &Listing, broken_before: &BTreeSet<PathBuf>) {
    let is_known = |path: &Path| broken_before.iter().any(|known| known.starts_with(path));
    let heirs: Vec<_> = listing.unsettled.iter().filter(|path| !is_known(path)).collect();
    for key in plan_source(applied, listing).prune {
        let gone = applied.get_mut(&key).expect("only what was applied is pruned");
        let name = gone.origin.file_name();
        if let Some(heir) = heirs.iter().max_by_key(|heir| heir.file_name() == name) {
            gone.origin = heir.to_path_buf();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;
    use crate::source::SourceId;

    #[test]
    fn what_is_gone_is_left_to_a_file_that_broke_meanwhile() {
        let key = Key::new(kind("v1", "ConfigMap").expect("in the table"), "default", "a");
        let heir_of = |origin: &str, unsettled: &[&str], before: &[&str]| {
            let noted = Applied {
                origin: origin.into(),
                digest: Some(1),
                uid: "1".to_owned(),
            };
            let mut applied = BTreeMap::from([(key.clone(), noted)]);
            let listing = Listing {
                complete: true,
                unsettled: unsettled.iter().map(PathBuf::from).collect(),
                ..Listing::unread(SourceId("s".into()))
            };
            bequeath(&mut applied, &listing, &before.iter().map(PathBuf::from).collect());
            applied.remove(&key).expect("still noted").origin.display().to_string()
        };
        for (unsettled, before, heir) in [
            (&[][..], &[][..], "/m/a.yaml"),
            (&["/m/b.yaml"], &[], "/m/b.yaml"),
            (&["/m/b.yaml"], &["/m/b.yaml"], "/m/a.yaml"),
            (&["/m/overlay"], &["/m/overlay/part.yaml"], "/m/a.yaml"),
            (&["/m/b.yaml", "/m/c.yaml"], &["/m/c.yaml"], "/m/b.yaml"),
            (&["/m/x/a.yaml", "/m/y.yaml"], &[], "/m/x/a.yaml"),
            (&["/m/a.yaml", "/m/b.yaml"], &[], "/m/a.yaml"),
        ] {
            assert_eq!(
                heir_of("/m/a.yaml", unsettled, before),
                heir,
                "{unsettled:?} {before:?}"
            );
        }
    }
}
