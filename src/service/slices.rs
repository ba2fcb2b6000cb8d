//! EndpointSlices by their Services: kept from change to change, so that a look at one Service costs what that one has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Key, Object, SERVICE_NAME, known_kind};
use crate::store::{Change, ChangeKind, Store};

/// All slices that name a Service.
#[derive(Debug, Default)]
pub struct Slices(BTreeMap<Key, BTreeMap<String, Arc<Object>>>);

impl Slices {
    /// Those that are there.
    pub fn of_store(store: &Store) -> Self {
        let mut all = Self::default();
        for slice in store
            .list(known_kind("discovery.k8s.io/v1", "EndpointSlice"), None)
            .items
        {
            all.enter(slice);
        }
        all
    }

    /// Takes in the change of a slice; says which Services it is about.
    pub fn take(&mut self, change: &Change) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        for slice in [Some(&change.object), change.old.as_ref()].into_iter().flatten() {
            if let Some(service) = service_of(slice) {
                if let Some(slices) = self.0.get_mut(&service) {
                    slices.remove(&slice.key().name);
                    if slices.is_empty() {
                        self.0.remove(&service);
                    }
                }
                touched.insert(service);
            }
        }
        if change.kind != ChangeKind::Deleted {
            self.enter(change.object.clone());
        }
        touched
    }

    /// A Service's, without those that are going.
    pub fn of(&self, service: &Key) -> Vec<Arc<Object>> {
        let slices = self.0.get(service).into_iter().flat_map(BTreeMap::values);
        slices.filter(|slice| !slice.is_deleting()).cloned().collect()
    }

    /// The Services that have any.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    fn enter(&mut self, slice: Arc<Object>) {
        if let Some(service) = service_of(&slice) {
            let slices = self.0.entry(service).or_default();
            slices.insert(slice.key().name.clone(), slice);
        }
    }
}

/// The Service of a slice.
pub fn service_of(slice: &Object) -> Option<Key> {
    let name = slice.value()["metadata"]["labels"][SERVICE_NAME].as_str();
    let name = name.filter(|name| !name.is_empty())?;
    Some(Key::new(known_kind("v1", "Service"), &slice.key().namespace, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::SystemClock;

    fn slice(name: &str, service: &str) -> Object {
        let metadata = json!({"name": name, "namespace": "default", "labels": {SERVICE_NAME: service}});
        let value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4"});
        Object::new(value).expect("a slice")
    }

    #[tokio::test]
    async fn slices_follow_their_label_from_service_to_service() {
        let store = Store::in_memory(Arc::new(SystemClock));
        let mut changes = store.watch(store.resource_version()).expect("nothing is lost");
        let mut slices = Slices::of_store(&store);
        store.create(slice("s1", "web")).expect("is new");
        store.create(slice("s2", "web")).expect("is new");
        let key = |name: &str| Key::new(known_kind("v1", "Service"), "default", name);
        let names = |slices: &Slices, service: &str| -> Vec<String> {
            let found = slices.of(&key(service)).into_iter();
            found.map(|slice| slice.key().name.clone()).collect()
        };
        for _ in 0..2 {
            slices.take(&changes.next().await.expect("a change"));
        }
        assert_eq!(names(&slices, "web"), ["s1", "s2"]);
        let moved = slice("s1", "other");
        let written = store.update(moved.key(), |present| {
            present.value_mut()["metadata"]["labels"] = moved.value()["metadata"]["labels"].clone();
        });
        written.expect("is there");
        let touched = slices.take(&changes.next().await.expect("a change"));
        assert_eq!(touched, BTreeSet::from([key("other"), key("web")]));
        assert_eq!(
            (names(&slices, "web"), names(&slices, "other")),
            (vec!["s2".to_owned()], vec!["s1".to_owned()])
        );
        let (s2, gone) = (slice("s2", "web"), crate::store::DeleteOptions::default());
        store.delete(s2.key(), &gone).expect("is there");
        slices.take(&changes.next().await.expect("a change"));
        assert!(names(&slices, "web").is_empty());
        assert_eq!(slices.services().count(), 1);
        assert_eq!(names(&Slices::of_store(&store), "other"), ["s1"]);
    }
}
