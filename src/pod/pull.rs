//! The images of a pod's containers: from the store, or from their registries while the worker looks after the pod.
//!
//! A pull is begun and left to itself; the worker plans on, and is woken when it ends. A pod that is deleted meanwhile goes at once,
//! and its pulls with it, unless others want the same images.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::execute::{Execution, Refusal};
use super::plan::{Failure, container};
use crate::event::EventKind;
use crate::image::{Image, ImageError, Keyring, Pull, PullRequest};
use crate::model::{self, Key, Object, later};

/// The reason of a failed pull.
pub const PULL_FAILURE: &str = "ErrImagePull";

/// How long a failed pull is shown as such before it is shown as waiting for its next try (kubelet: until its next sync). Long
/// enough for clients that poll, well below the first delay of 10 s.
pub const PULL_FAILURE_SHOWN: Duration = Duration::from_secs(2);

/// The pulls of one pod.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    /// By [`Wanted::key`]: those that a start waits for.
    under_way: BTreeMap<String, Waiting>,
    /// Failures of which it was told that their next try waits.
    told: BTreeMap<String, Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    image: String,
    begun: Timestamp,
    pull: Pull,
    /// The end was there when the pod was last planned; it wakes nobody any more.
    is_ended: bool,
}

/// What a container is started from.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) own: Image,
    /// Of the volumes that are images, by their names.
    pub(super) volumes: BTreeMap<String, Image>,
}

impl Images {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Image> {
        self.volumes.values().chain([&self.own])
    }
}

/// An image that a container needs.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// The container's name, and after a slash that of the volume.
    key: String,
    image: String,
    policy: String,
}

impl Wanted {
    /// What the container runs from.
    fn by(container: &Container) -> Self {
        Self::new(&container.name, &container.image, &container.image_pull_policy)
    }

    fn new(key: &str, image: &Option<String>, policy: &Option<String>) -> Self {
        Self {
            key: key.to_owned(),
            image: image.clone().unwrap_or_default(),
            policy: policy.clone().unwrap_or_else(|| "IfNotPresent".to_owned()),
        }
    }

    /// Whom events are about; a volume is the pod's.
    fn container(&self) -> Option<&str> {
        (!self.key.contains('/')).then_some(self.key.as_str())
    }
}

/// No name of a container has a slash.
fn container_of(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// The volumes of a container that are images.
fn mounted(pod: &Pod, container: &Container) -> Vec<(String, Wanted)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let is_mounted = |name: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == name);
    let wanted = volumes.filter(|volume| is_mounted(&volume.name)).filter_map(|volume| {
        let image = volume.image.as_ref()?;
        let key = format!("{}/{}", container.name, volume.name);
        Some((
            volume.name.clone(),
            Wanted::new(&key, &image.reference, &image.pull_policy),
        ))
    });
    wanted.collect()
}

/// What the pull policy makes of an image that is here, or not (kubelet `shouldPullImage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Use,
    Pull,
    Refuse,
}

/// What is here of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Missing,
    /// Its name came from a registry.
    Pulled,
    /// Its name was given on this machine; no registry knows better.
    MadeHere,
}

fn plan_verdict(policy: &str, presence: Presence) -> Verdict {
    match (policy, presence) {
        ("Never", Presence::Missing) => Verdict::Refuse,
        ("Always", Presence::Pulled) | (_, Presence::Missing) => Verdict::Pull,
        (_, Presence::Pulled | Presence::MadeHere) => Verdict::Use,
    }
}

impl Pulls {
    /// The containers whose images are on their way, for a plan.
    pub(super) fn under_way(&mut self) -> BTreeSet<String> {
        for waiting in self.under_way.values_mut() {
            waiting.is_ended = waiting.pull.outcome().is_some();
        }
        let waiting = self.under_way.iter().filter(|(_, waiting)| !waiting.is_ended);
        waiting.map(|(key, _)| container_of(key).to_owned()).collect()
    }

    /// Waits until one of them ends; for ever if there is none.
    pub(super) async fn next_end(&self) {
        let waiting = self.under_way.values().filter(|waiting| !waiting.is_ended);
        let ends: Vec<_> = waiting.map(|waiting| Box::pin(waiting.pull.done())).collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        let _which = futures::future::select_all(ends).await;
    }

    /// All images that a container needs; none as long as one is on its way.
    pub(super) async fn images(
        &mut self,
        execution: &Execution<'_>,
        container: &Container,
    ) -> Result<Option<Images>, Refusal> {
        let own = Wanted::by(container);
        let own = self.image(execution, &own).await?;
        let mut volumes = BTreeMap::new();
        let mut is_whole = true;
        for (volume, wanted) in mounted(execution.pod, container) {
            match self.image(execution, &wanted).await? {
                Some(image) => drop(volumes.insert(volume, image)),
                None => is_whole = false,
            }
        }
        Ok(own.filter(|_| is_whole).map(|own| Images { own, volumes }))
    }

    /// One image; none as long as it is on its way.
    async fn image(&mut self, execution: &Execution<'_>, wanted: &Wanted) -> Result<Option<Image>, Refusal> {
        let name = wanted.image.clone();
        match self.under_way.remove(&wanted.key) {
            Some(waiting) if waiting.image == name => return self.finish(execution, wanted, waiting),
            // Another image is wanted by now.
            Some(_) | None => {}
        }
        let policy = wanted.policy.as_str();
        let (image, presence) = find(execution, &name, policy).await?;
        match (plan_verdict(policy, presence), image) {
            (Verdict::Use, Some(image)) => {
                let message = format!("Container image {name:?} already present on machine");
                execution.event_of(wanted.container(), EventKind::Normal, "Pulled", &message);
                Ok(Some(image))
            }
            (Verdict::Refuse, _) => {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                Err(Refusal::new("ErrImageNeverPull", message))
            }
            (Verdict::Use | Verdict::Pull, _) => {
                self.begin(execution, wanted);
                Ok(None)
            }
        }
    }

    fn begin(&mut self, execution: &Execution<'_>, wanted: &Wanted) {
        let image = wanted.image.clone();
        let message = format!("Pulling image {image:?}");
        execution.event_of(wanted.container(), EventKind::Normal, "Pulling", &message);
        let pull = execution.rooms.puller.pull(PullRequest {
            name: image.clone(),
            keyrings: keyrings(execution),
            logins: None,
            is_packed: false,
        });
        let begun = execution.rooms.clock.now();
        let waiting = Waiting {
            image,
            begun,
            pull,
            is_ended: false,
        };
        self.under_way.insert(wanted.key.clone(), waiting);
    }

    /// Takes the image of a pull that has ended; else goes on waiting.
    fn finish(
        &mut self,
        execution: &Execution<'_>,
        wanted: &Wanted,
        waiting: Waiting,
    ) -> Result<Option<Image>, Refusal> {
        let image = &waiting.image;
        match waiting.pull.outcome() {
            None => {
                self.under_way.insert(wanted.key.clone(), waiting);
                Ok(None)
            }
            Some(Ok(pulled)) => {
                let took = go_duration(execution.rooms.clock.now().duration_since(waiting.begun).unsigned_abs());
                let size = pulled.image.size;
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {size} bytes."
                );
                execution.event_of(wanted.container(), EventKind::Normal, "Pulled", &message);
                for note in &pulled.image.notes {
                    let message = format!("Image {image:?}: {note}");
                    execution.event_of(wanted.container(), EventKind::Warning, "ImageNote", &message);
                }
                Ok(Some(pulled.image))
            }
            Some(Err(error)) => {
                let message = format!("Failed to pull image {image:?}: {error}");
                execution.event_of(wanted.container(), EventKind::Warning, "Failed", &message);
                Err(Refusal::new(PULL_FAILURE, error))
            }
        }
    }

    /// Tells once of each failed pull that the next try waits (kubelet `EnsureImageExists`).
    pub(super) fn tell_back_off(
        &mut self,
        execution: &Execution<'_>,
        failures: &BTreeMap<String, Failure>,
        now: Timestamp,
    ) {
        self.told
            .retain(|name, at| failures.get(name).is_some_and(|failure| failure.at == *at));
        for (name, failure) in failures {
            if !is_backing_off(failure, now) || self.told.contains_key(name) {
                continue;
            }
            self.told.insert(name.clone(), failure.at);
            let message = back_off_message(&image_of(execution.pod, name));
            execution.event_of(Some(name), EventKind::Normal, "BackOff", &message);
            execution.event_of(Some(name), EventKind::Warning, "Failed", "Error: ImagePullBackOff");
        }
    }
}

/// Whether a failed pull is shown as waiting for its next try.
pub fn is_backing_off(failure: &Failure, now: Timestamp) -> bool {
    failure.reason == PULL_FAILURE && now >= shown_until(failure)
}

/// Until when a failed pull is shown as such.
pub fn shown_until(failure: &Failure) -> Timestamp {
    later(failure.at, PULL_FAILURE_SHOWN)
}

/// What is said of an image that waits to be pulled again.
pub fn back_off_message(image: &str) -> String {
    format!("Back-off pulling image {image:?}")
}

fn image_of(pod: &Pod, name: &str) -> String {
    container(pod, name)
        .and_then(|c| c.into_owned().image)
        .unwrap_or_default()
}

/// What is in the store. The name by which an image is found says who gave it.
async fn find(execution: &Execution<'_>, name: &str, policy: &str) -> Result<(Option<Image>, Presence), Refusal> {
    let is_always = policy == "Always";
    let (images, wanted) = (execution.rooms.images.clone(), name.to_owned());
    let look = move || {
        let here = images.resolve(&wanted)?;
        let is_pulled = here.is_some() && images.is_pulled(&wanted)?;
        // What podman or its kin have on this machine is as good as here. No registry knows what was made here, but
        // they may have made it anew.
        let image = match (here, is_always && !is_pulled) {
            (None, _) => images.adopt(&wanted)?,
            (here, true) => images.adopt(&wanted)?.or(here),
            (here, false) => here,
        };
        let Some(image) = image else {
            return Ok((None, Presence::Missing));
        };
        images.mark_used(&image.id);
        let presence = match images.is_pulled(&wanted)? {
            true => Presence::Pulled,
            false => Presence::MadeHere,
        };
        Ok((Some(image), presence))
    };
    let found: Result<_, ImageError> = tokio::task::spawn_blocking(look)
        .await
        .expect("resolving does not panic");
    found.map_err(|error| match error {
        error @ ImageError::InvalidImageName { .. } => Refusal::new("InvalidImageName", error),
        error => Refusal::new("ImageInspectError", error),
    })
}

/// The account that a pod runs as (admission's default).
fn account_of(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    name.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The Secrets with a pod's credentials: its own, or its account's if it names none (the ServiceAccount admission plugin). The
/// account is asked when they are needed, not when the pod comes: files may bring it later.
fn secret_names(pod: &Pod, account: Option<&Object>) -> Vec<String> {
    let own = pod
        .spec
        .iter()
        .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let own: Vec<String> = own.map(|reference| reference.name.clone()).collect();
    let names = match own.is_empty() {
        false => own,
        true => {
            let secrets = account.and_then(|account| account.at("/imagePullSecrets")?.as_array());
            let names = secrets
                .into_iter()
                .flatten()
                .filter_map(|secret| secret.get("name")?.as_str());
            names.map(str::to_owned).collect()
        }
    };
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// The credentials of a pod. One that is missing is told and left out, as kubelet does: the image may need none.
fn keyrings(execution: &Execution<'_>) -> Vec<Keyring> {
    let (store, namespace) = (&execution.rooms.store, &execution.object.key().namespace);
    let key_of = |kind, name: &str| Key::new(model::kind("v1", kind).expect("in the table"), namespace, name);
    let account = store.get(&key_of("ServiceAccount", account_of(execution.pod)));
    let (mut keyrings, mut missing) = (Vec::new(), Vec::new());
    for name in secret_names(execution.pod, account.as_deref()) {
        let key = key_of("Secret", &name);
        let Some(secret) = store.get(&key) else {
            missing.push(name);
            continue;
        };
        match keyring_of(&secret) {
            Ok(keyring) => keyrings.push(keyring),
            Err(why) => {
                let message = format!("Secret {name:?} in imagePullSecrets: {why}");
                execution.event_of(None, EventKind::Warning, "FailedToRetrieveImagePullSecret", &message);
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        execution.event_of(None, EventKind::Warning, "FailedToRetrieveImagePullSecret", &message);
    }
    keyrings
}

fn keyring_of(secret: &Object) -> Result<Keyring, String> {
    let field = |name: &str| secret.at(&format!("/data/{name}")).and_then(|value| value.as_str());
    let (encoded, is_legacy) = match (field(".dockerconfigjson"), field(".dockercfg")) {
        (Some(text), _) => (text, false),
        (None, Some(text)) => (text, true),
        (None, None) => return Err("it has neither .dockerconfigjson nor .dockercfg".to_owned()),
    };
    let text = base64::engine::general_purpose::STANDARD.decode(encoded);
    let text = text.map_err(|_| "its data is not base64".to_owned())?;
    let origin = format!("Secret {}", secret.key().name);
    let keyring = match is_legacy {
        true => Keyring::parse_legacy(&text, &origin),
        false => Keyring::parse(&text, &origin),
    };
    Ok(keyring?.without_helpers())
}

/// Go's text of a duration, in whole milliseconds: `231ms`, `1.5s`, `1m2.003s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_policy_decides_and_what_was_made_here_is_never_asked_for() {
        for (policy, presence, verdict) in [
            ("Never", Presence::Missing, Verdict::Refuse),
            ("Never", Presence::Pulled, Verdict::Use),
            ("Never", Presence::MadeHere, Verdict::Use),
            ("IfNotPresent", Presence::Missing, Verdict::Pull),
            ("IfNotPresent", Presence::Pulled, Verdict::Use),
            ("IfNotPresent", Presence::MadeHere, Verdict::Use),
            ("Always", Presence::Missing, Verdict::Pull),
            ("Always", Presence::Pulled, Verdict::Pull),
            ("Always", Presence::MadeHere, Verdict::Use),
        ] {
            assert_eq!(plan_verdict(policy, presence), verdict, "{policy} {presence:?}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (millis, text) in [
            (0, "0s"),
            (7, "7ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (62_003, "1m2.003s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn the_secrets_of_the_account_count_for_pods_that_name_none() {
        let account = Object::new(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "builder", "namespace": "n"}, "imagePullSecrets": [{"name": "of-account"}, {}]}))
        .expect("an account");
        let pod = |spec: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "spec": spec})).expect("a pod")
        };
        let own =
            pod(json!({"containers": [], "imagePullSecrets": [{"name": "own"}], "serviceAccountName": "builder"}));
        let none = pod(json!({"containers": []}));
        assert_eq!((account_of(&own), account_of(&none)), ("builder", "default"));
        assert_eq!(secret_names(&own, Some(&account)), ["own"]);
        assert_eq!(secret_names(&none, Some(&account)), ["of-account"]);
        assert_eq!(secret_names(&none, None), [""; 0]);
    }

    #[test]
    fn secrets_of_both_types_are_keyrings() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let secret = |data: serde_json::Value| {
            Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": data}))
                .expect("a secret")
        };
        let entry = r#"{"a.io": {"username": "u", "password": "p"}}"#;
        let new = secret(json!({".dockerconfigjson": encode(&format!("{{\"auths\": {entry}}}"))}));
        let old = secret(json!({".dockercfg": encode(entry)}));
        for secret in [new, old] {
            let keyring = keyring_of(&secret).expect("a keyring");
            let found = keyring.find("a.io", "x").next().expect("a credential").clone();
            assert_eq!(found.origin, "Secret s");
        }
        assert!(keyring_of(&secret(json!({}))).is_err());
        assert!(keyring_of(&secret(json!({".dockercfg": "%"}))).is_err());
    }
}
