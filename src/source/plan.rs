//! What a listing asks for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Listing, SourcedObject};
use crate::model::{KINDS, Key};

/// What was applied of a source before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The [`SourcedObject::origin`] that it came from. Empty if the node ended before it could note it.
    pub origin: PathBuf,
    /// The [`SourcedObject::digest`] that was applied. `None` if the node ended before it could note it.
    pub digest: Option<u64>,
    /// The uid of the object in the store: another one of its name is not the source's.
    pub uid: String,
}

/// What is to be done so that the store says what the source says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourcePlan {
    /// To apply, in this order: namespaces first, what runs last.
    pub apply: Vec<Arc<SourcedObject>>,
    /// To delete, in this order: what runs first.
    pub prune: Vec<Key>,
    /// Not named now, and not pruned, because it is not known whether they are gone.
    pub keep_last_good: Vec<Key>,
    /// Named as they were applied: nothing to do.
    pub unchanged: Vec<Key>,
}

impl SourcePlan {
    /// Whether there is nothing to do.
    pub fn is_settled(&self) -> bool {
        self.apply.is_empty() && self.prune.is_empty()
    }
}

/// Plans from what was applied of this source before.
///
/// # Guarantees
/// Nothing is pruned before the source could be read whole once, nor what came from a file that is broken, unreadable, being
/// written or just now changing. What such a file named when it was last good, and is gone, comes back.
pub fn plan_source(applied: &BTreeMap<Key, Applied>, listing: &Listing) -> SourcePlan {
    let mut plan = SourcePlan::default();
    let mut named = BTreeSet::new();
    for object in &listing.objects {
        named.insert(&object.key);
        let before = applied.get(&object.key).and_then(|applied| applied.digest);
        if before == Some(object.digest) {
            plan.unchanged.push(object.key.clone());
        } else {
            plan.apply.push(Arc::clone(object));
        }
    }
    let last_good: BTreeSet<&Key> = listing.last_good.iter().map(|object| &object.key).collect();
    let is_lost =
        |object: &&Arc<SourcedObject>| !applied.contains_key(&object.key) && !listing.leaving.contains(&*object.origin);
    for object in listing.last_good.iter().filter(is_lost) {
        if named.insert(&object.key) {
            plan.apply.push(Arc::clone(object));
        }
    }
    for (key, applied) in applied.iter().filter(|(key, _)| !named.contains(key)) {
        if listing.complete && !last_good.contains(key) && !is_unsettled(&applied.origin, listing) {
            plan.prune.push(key.clone());
        } else {
            plan.keep_last_good.push(key.clone());
        }
    }
    plan.apply.sort_by_key(|object| std::cmp::Reverse(rank(&object.key)));
    plan.prune.sort_by_key(rank);
    plan
}

/// Whether it is not known what a file names. One whose name was not noted may be any of those.
fn is_unsettled(origin: &Path, listing: &Listing) -> bool {
    let is_any = origin.as_os_str().is_empty() && !listing.unsettled.is_empty();
    is_any || origin.ancestors().any(|path| listing.unsettled.contains(path))
}

/// The kind's place in the table, where what others need stands last.
pub fn rank(key: &Key) -> usize {
    KINDS.iter().position(|kind| kind == key.kind()).unwrap_or(KINDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::admit_file;
    use crate::source::SourceId;

    fn key(kind: &str, name: &str) -> Key {
        let kind = KINDS.iter().find(|k| k.kind == kind).expect("known");
        Key::new(kind, "default", name)
    }

    fn object(kind: &str, name: &str, digest: u64) -> Arc<SourcedObject> {
        let text = format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"
        );
        let text = if kind == "Pod" {
            text
        } else {
            text.lines().take(3).collect::<Vec<_>>().join("\n")
        };
        let found = admit_file(Path::new("/m/a.yaml"), text.as_bytes()).objects.remove(0);
        Arc::new(SourcedObject {
            key: found.object.key().clone(),
            origin: Path::new("/m/a.yaml").into(),
            location: found.location,
            config: found.config,
            object: found.object,
            warnings: found.warnings,
            digest,
        })
    }

    fn listing(objects: Vec<Arc<SourcedObject>>) -> Listing {
        Listing {
            complete: true,
            objects,
            generation: 1,
            ..Listing::unread(SourceId("s".into()))
        }
    }

    fn applied(entries: &[(Key, &str, u64)]) -> BTreeMap<Key, Applied> {
        let entry = |(key, origin, digest): &(Key, &str, u64)| {
            (
                key.clone(),
                Applied {
                    origin: (*origin).into(),
                    digest: Some(*digest),
                    uid: String::new(),
                },
            )
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn what_is_new_or_changed_is_applied_and_what_left_is_pruned() {
        let before = applied(&[
            (key("Pod", "same"), "/m/a.yaml", 1),
            (key("Pod", "other"), "/m/a.yaml", 1),
            (key("Pod", "gone"), "/m/a.yaml", 1),
        ]);
        let plan = plan_source(
            &before,
            &listing(vec![
                object("Pod", "same", 1),
                object("Pod", "other", 2),
                object("Pod", "new", 1),
            ]),
        );
        assert_eq!(
            plan.apply.iter().map(|o| o.key.name.as_str()).collect::<Vec<_>>(),
            ["other", "new"]
        );
        assert_eq!(
            (plan.prune, plan.unchanged),
            (vec![key("Pod", "gone")], vec![key("Pod", "same")])
        );
    }

    #[test]
    fn nothing_is_pruned_before_the_first_complete_listing() {
        let before = applied(&[(key("Pod", "a"), "/m/a.yaml", 1)]);
        let unread = Listing::unread(SourceId("s".into()));
        let plan = plan_source(&before, &unread);
        assert_eq!((plan.prune, plan.keep_last_good), (vec![], vec![key("Pod", "a")]));
        assert_eq!(plan_source(&before, &listing(vec![])).prune, [key("Pod", "a")]);
    }

    #[test]
    fn what_came_from_an_unsettled_file_or_directory_is_kept() {
        let before = applied(&[
            (key("Pod", "a"), "/m/a.yaml", 1),
            (key("Pod", "b"), "/m/sub/b.yaml", 1),
            (key("Pod", "c"), "/m/c.yaml", 1),
        ]);
        let mut now = listing(vec![]);
        now.unsettled = BTreeSet::from([PathBuf::from("/m/a.yaml"), PathBuf::from("/m/sub")]);
        let plan = plan_source(&before, &now);
        assert_eq!(
            (plan.prune, plan.keep_last_good),
            (vec![key("Pod", "c")], vec![key("Pod", "a"), key("Pod", "b")])
        );
    }

    #[test]
    fn what_was_last_good_is_not_pruned_and_applied_only_where_it_is_gone() {
        let before = applied(&[(key("Pod", "a"), "/elsewhere.yaml", 1)]);
        let mut now = listing(vec![]);
        now.last_good = vec![object("Pod", "a", 1)];
        let plan = plan_source(&before, &now);
        assert_eq!((plan.is_settled(), plan.keep_last_good), (true, vec![key("Pod", "a")]));
        let names = |plan: SourcePlan| plan.apply.iter().map(|o| o.key.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(plan_source(&BTreeMap::new(), &now)), ["a"]);
        // A file that was taken away is not broken: nothing of it comes back.
        now.leaving = BTreeSet::from([PathBuf::from("/m/a.yaml")]);
        assert_eq!(names(plan_source(&BTreeMap::new(), &now)), [""; 0]);
    }

    #[test]
    fn what_came_from_nobody_knows_where_stays_while_any_file_is_unsettled() {
        let before = applied(&[(key("Pod", "a"), "", 1)]);
        let mut now = listing(vec![]);
        now.unsettled = BTreeSet::from([PathBuf::from("/m/x.yaml")]);
        assert_eq!(plan_source(&before, &now).prune, []);
        now.unsettled.clear();
        assert_eq!(plan_source(&before, &now).prune, [key("Pod", "a")]);
    }

    #[test]
    fn what_others_need_is_applied_first_and_pruned_last() {
        let plan = plan_source(
            &BTreeMap::new(),
            &listing(vec![
                object("Pod", "p", 1),
                object("ConfigMap", "c", 1),
                object("Namespace", "team", 1),
            ]),
        );
        assert_eq!(
            plan.apply.iter().map(|o| o.key.kind().kind).collect::<Vec<_>>(),
            ["Namespace", "ConfigMap", "Pod"]
        );
        let before = applied(&[
            (key("Namespace", "team"), "/a", 1),
            (key("ConfigMap", "c"), "/a", 1),
            (key("Pod", "p"), "/a", 1),
        ]);
        let plan = plan_source(&before, &listing(vec![]));
        assert_eq!(
            plan.prune.iter().map(|key| key.kind().kind).collect::<Vec<_>>(),
            ["Pod", "ConfigMap", "Namespace"]
        );
    }

    #[test]
    fn what_was_applied_and_not_noted_is_applied_again() {
        let before = BTreeMap::from([(
            key("Pod", "a"),
            Applied {
                origin: "/m/a.yaml".into(),
                digest: None,
                uid: String::new(),
            },
        )]);
        assert_eq!(
            plan_source(&before, &listing(vec![object("Pod", "a", 1)])).apply.len(),
            1
        );
    }
}
