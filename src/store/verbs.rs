//! Create, update, delete, as the API machinery does them for every kind (`k8s.io/apiserver/pkg/registry/generic`).

use std::sync::Arc;

use jiff::Timestamp;

use super::Store;
use super::deletion::{deletable, is_held, plan_deletion, waits_for_containers};
use super::state::State;
use crate::model::{Key, Object, object_time};

/// What every object is: checked when it is made.
const IS_OBJECT: &str = "objects are JSON objects";

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{resource} {name:?} not found", resource = .0.kind().resource(), name = .0.name)]
    NotFound(Key),
    /// The name is taken.
    #[error("{resource} {name:?} already exists", resource = .0.kind().resource(), name = .0.name)]
    AlreadyExists(Key),
    /// Someone else wrote first.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {why}", resource = key.kind().resource(), name = key.name)]
    Conflict {
        /// The object.
        key: Key,
        /// Which condition did not hold.
        why: String,
    },
    /// The namespace of the object is being deleted.
    #[error("{resource} {name:?} is forbidden: unable to create new content in namespace {ns} because it is being terminated",
        resource = .0.kind().resource(), name = .0.name, ns = .0.namespace)]
    Terminating(Key),
    /// One of the namespaces that stay.
    #[error("{resource} {name:?} is forbidden: this namespace may not be deleted", resource = .0.kind().resource(), name = .0.name)]
    Immortal(Key),
    /// New finalizers on an object that is being deleted.
    #[error(
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {0:?}"
    )]
    NewFinalizers(Vec<String>),
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object as it is now.
    pub object: Arc<Object>,
    /// Whether the write changed anything. An unchanged object keeps its resourceVersion, and nobody hears of it.
    pub changed: bool,
}

/// What becomes of an object's dependents (`metav1.DeletionPropagation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// The object goes at once, its dependents after it.
    #[default]
    Background,
    /// The object waits for its dependents.
    Foreground,
    /// The dependents stay.
    Orphan,
}

/// What must hold for a delete to go ahead (`metav1.Preconditions`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precondition {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's resourceVersion.
    pub resource_version: Option<String>,
}

/// How to delete (`metav1.DeleteOptions`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    /// Seconds a pod gets to end; `None` is what the pod asks for. Negative counts as 1.
    pub grace_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Propagation,
    /// What must hold.
    pub precondition: Precondition,
}

/// The outcome of a delete.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// It is gone; this was its last state.
    Gone(Arc<Object>),
    /// It is marked and goes when its pod has ended or its finalizers are gone.
    Pending(Arc<Object>),
}

impl Store {
    /// Stores a new object. uid, creationTimestamp, generation and resourceVersion are set here.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::Terminating`].
    pub fn create(&self, object: Object) -> Result<Arc<Object>, StoreError> {
        let now = self.inner.clock.now();
        let done = self.write(|state| {
            let key = object.key().clone();
            if state.get(&key).is_some() {
                return Err(StoreError::AlreadyExists(key));
            }
            if is_namespace_terminating(state, &key) {
                return Err(StoreError::Terminating(key));
            }
            Ok(Plan::Put(prepare_create(object, now)))
        });
        Ok(done?.object)
    }

    /// Changes an object's desired state: `change` gets the present object and edits it. What belongs to the system (status, name, uid,
    /// timestamps) is kept whatever `change` does; `generation` counts changes of what was asked for. If `change` set a
    /// resourceVersion other than the present one, it is a conflict.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::NewFinalizers`].
    pub fn update(&self, key: &Key, change: impl FnOnce(&mut Object)) -> Result<Written, StoreError> {
        self.modify(key, change, prepare_update)
    }

    /// Changes an object's status and nothing else but, as upstream, labels and annotations.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`].
    pub fn update_status(&self, key: &Key, change: impl FnOnce(&mut Object)) -> Result<Written, StoreError> {
        self.modify(key, change, prepare_status)
    }

    /// Gives a pod its node (`pods/binding`). What was asked for stays the same, so `generation` does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn bind(&self, pod: &Key, node: &str) -> Result<Written, StoreError> {
        let bind = |pod: &mut Object| pod.value_mut()["spec"]["nodeName"] = node.into();
        self.modify(pod, bind, |old, mut new| {
            keep_system_metadata(old, &mut new);
            Ok(new)
        })
    }

    /// Deletes an object as its kind wants it: a running pod is marked and ends first, finalizers are waited for.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Immortal`], [`StoreError::Conflict`] when a precondition does not hold.
    pub fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Deleted, StoreError> {
        let now = self.inner.clock.now();
        let done = self.write(|state| {
            let old = deletable(state, key, options)?;
            Ok(match plan_deletion(&old, options, now) {
                None => Plan::Remove(old),
                Some(marked) if marked == *old => Plan::Keep(old),
                Some(marked) => Plan::Put(marked),
            })
        })?;
        Ok(match done.effect {
            Effect::Gone => Deleted::Gone(done.object),
            Effect::None | Effect::There => Deleted::Pending(done.object),
        })
    }

    /// Removes an object whose end is complete: a pod whose containers are gone, or the last state of a dying object. Finalizers
    /// still hold it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when the name now belongs to another object.
    pub fn remove(&self, key: &Key, uid: &str) -> Result<(), StoreError> {
        let grace_seconds = Some(0);
        let precondition = Precondition {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        self.delete(
            key,
            &DeleteOptions {
                grace_seconds,
                precondition,
                ..DeleteOptions::default()
            },
        )
        .map(drop)
    }

    fn modify(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Object),
        prepare: fn(&Object, Object) -> Result<Object, StoreError>,
    ) -> Result<Written, StoreError> {
        let done = self.write(|state| {
            let old = state.get(key).ok_or_else(|| StoreError::NotFound(key.clone()))?;
            let mut new = Object::clone(&old);
            change(&mut new);
            if new.text("/metadata/resourceVersion") != old.text("/metadata/resourceVersion") {
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                return Err(StoreError::Conflict {
                    key: key.clone(),
                    why: why.to_owned(),
                });
            }
            let new = prepare(&old, new)?;
            if new == *old {
                return Ok(Plan::Keep(old));
            }
            // The last finalizer of a dying object went: the object goes with it.
            let is_over = new.is_deleting() && !is_held(&new) && is_held(&old);
            let is_gone = is_over && !waits_for_containers(&new);
            Ok(if is_gone { Plan::Remove(old) } else { Plan::Put(new) })
        })?;
        Ok(Written {
            changed: done.effect != Effect::None,
            object: done.object,
        })
    }

    /// Plans one write and carries it out, under one lock: journals it in order and rings the bell after the lock is free. A dry
    /// store leaves it at the plan.
    fn write(&self, plan: impl FnOnce(&State) -> Result<Plan, StoreError>) -> Result<Done, StoreError> {
        let mut state = self.lock();
        let plan = plan(&state)?;
        if self.is_dry {
            return Ok(plan.imagined());
        }
        let (change, effect) = match plan {
            Plan::Keep(_) => return Ok(plan.imagined()),
            Plan::Put(object) => (state.put(object), Effect::There),
            Plan::Remove(object) => {
                let change = state.remove(object.key());
                (change.expect("it was there under this lock"), Effect::Gone)
            }
        };
        self.inner.journal.append(&change);
        let newest = state.resource_version();
        drop(state);
        self.inner.newest.send_if_modified(|seen| {
            let is_newer = *seen < newest;
            *seen = (*seen).max(newest);
            is_newer
        });
        Ok(Done {
            object: change.object,
            effect,
        })
    }
}

/// What a write comes to, decided before anything changes.
enum Plan {
    Keep(Arc<Object>),
    Put(Object),
    Remove(Arc<Object>),
}

impl Plan {
    /// What would be done by it, but for the resourceVersion that only a write has.
    fn imagined(self) -> Done {
        let (object, effect) = match self {
            Self::Keep(object) => (object, Effect::None),
            Self::Put(object) => (Arc::new(object), Effect::There),
            Self::Remove(object) => (object, Effect::Gone),
        };
        Done { object, effect }
    }
}

/// A write that was carried out.
struct Done {
    object: Arc<Object>,
    effect: Effect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    There,
    Gone,
}

fn is_namespace_terminating(state: &State, key: &Key) -> bool {
    let kind = crate::model::kind("v1", "Namespace").expect("in the table");
    let is_event = key.kind().kind == "Event";
    !is_event
        && state
            .get(&Key::new(kind, "", &key.namespace))
            .is_some_and(|namespace| namespace.is_deleting())
}

/// Kinds whose `spec` is what was asked for count its changes; upstream does not count those of data.
pub(super) fn keeps_generation(object: &Object) -> bool {
    object.at("/spec").is_some()
}

fn prepare_create(mut object: Object, now: Timestamp) -> Object {
    let generation = keeps_generation(&object).then_some(1);
    let metadata = object.metadata_mut();
    for system in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        metadata.remove(system);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), object_time(now).into());
    if let Some(generation) = generation {
        metadata.insert("generation".into(), generation.into());
    }
    object
}

fn prepare_update(old: &Object, mut new: Object) -> Result<Object, StoreError> {
    keep_system_metadata(old, &mut new);
    if old.kind().has_status {
        copy_field(old, &mut new, "status");
    }
    if old.is_deleting() {
        let had = old.finalizers();
        let added: Vec<_> = new
            .finalizers()
            .into_iter()
            .filter(|f| !had.contains(f))
            .map(str::to_owned)
            .collect();
        if !added.is_empty() {
            return Err(StoreError::NewFinalizers(added));
        }
    }
    if old.at("/spec") != new.at("/spec") {
        new.metadata_mut()
            .insert("generation".into(), (old.generation() + 1).into());
    }
    Ok(new)
}

/// Takes the status, labels and annotations of `new`; all else is as it was. What did not change, nearly always all else, is not
/// copied once more: pods write their status some times for each start.
fn prepare_status(old: &Object, mut new: Object) -> Result<Object, StoreError> {
    let (was, is) = (
        old.value().as_object().expect(IS_OBJECT),
        new.value_mut().as_object_mut().expect(IS_OBJECT),
    );
    is.retain(|field, _| field == "status" || was.contains_key(field));
    for (field, value) in was {
        if !matches!(field.as_str(), "metadata" | "status") && is.get(field) != Some(value) {
            is.insert(field.clone(), value.clone());
        }
    }
    let mut metadata = old.value()["metadata"].as_object().expect(IS_OBJECT).clone();
    for field in ["labels", "annotations", "managedFields"] {
        match new.metadata_mut().remove(field) {
            Some(value) => metadata.insert(field.into(), value),
            None => metadata.remove(field),
        };
    }
    *new.metadata_mut() = metadata;
    Ok(new)
}

fn keep_system_metadata(old: &Object, new: &mut Object) {
    let system = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    for field in system {
        match old.at("/metadata").and_then(|m| m.get(field)) {
            Some(value) => new.metadata_mut().insert(field.into(), value.clone()),
            None => new.metadata_mut().remove(field),
        };
    }
}

fn copy_field(from: &Object, to: &mut Object, field: &str) {
    let whole = to.value_mut().as_object_mut().expect(IS_OBJECT);
    match from.value().get(field) {
        Some(value) => whole.insert(field.to_owned(), value.clone()),
        None => whole.remove(field),
    };
}
