//! The subresources of pods that reach into pods: log, exec, attach, portforward.

use futures::StreamExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::body::{self, Answer};
use super::error::ApiError;
use super::log::{self, LogOptions};
use super::request::{Query, Target};
use super::streams::{Forward, Process, Upgrade, Wanted, ports_of};
use crate::model::Key;
use crate::pod::{containers, ephemeral_containers, init_containers, uid};
use crate::runtime::{AttachConfig, ContainerId, ExecConfig, PodUid, RuntimeError};
use crate::store::ChangeKind;

/// A container of a pod.
struct Place {
    pod: Pod,
    uid: PodUid,
    container: String,
}

/// A run of a container, as the pod's status tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    id: String,
    attempt: i32,
    is_running: bool,
}

impl Api {
    pub(super) fn log(&self, target: &Target, query: &Query) -> Answer {
        let options = LogOptions::parse(query, self.clock.now())?;
        let place = self.place(target, &options.container)?;
        let run = place.run().filter(|run| !options.previous || run.attempt > 0);
        let (pod, container) = (place.pod.metadata.name.clone().unwrap_or_default(), &place.container);
        let run = run.ok_or_else(|| {
            if options.previous {
                return ApiError::bad_request(format!(
                    "previous terminated container {container:?} in pod {pod:?} not found"
                ));
            }
            let why = place.waiting_reason().unwrap_or("ContainerCreating".to_owned());
            ApiError::bad_request(format!(
                "container {container:?} in pod {pod:?} is waiting to start: {why}"
            ))
        })?;
        let attempt = if options.previous { run.attempt - 1 } else { run.attempt };
        let path = self.facts.home.join("pods").join(&place.uid.0).join("logs");
        let path = path.join(container).join(format!("{attempt}.log"));
        let ended = CancellationToken::new();
        if options.follow && run.is_running && !options.previous {
            tokio::spawn(until_ended(
                self.store.clone(),
                target.key()?,
                place.container.clone(),
                run.id,
                ended.clone(),
            ));
        } else {
            ended.cancel();
        }
        // When the client goes, the flow is dropped, and with it the task that waits for the container's end.
        let guard = ended.clone().drop_guard();
        let lines = log::lines(path, options, ended).map_err(|e| ApiError::internal(e.to_string()))?;
        let lines = lines.map(move |part| {
            let _held = &guard;
            part
        });
        Ok(body::typed(StatusCode::OK, "text/plain", body::flowing(lines)))
    }

    pub(super) async fn exec(&self, target: &Target, query: &Query, request: Request<Incoming>) -> Answer {
        let upgrade = Upgrade::negotiate::<Process>(request.headers())?;
        let place = self.place(target, query.text("container"))?;
        let args: Vec<_> = query.all("command").map(str::to_owned).collect();
        if args.is_empty() {
            return Err(ApiError::bad_request(
                "you must specify at least one command for the container",
            ));
        }
        let exec = ExecConfig {
            args,
            tty: query.flag("tty"),
            stdin: query.flag("stdin"),
            size: None,
            dies_with_session: false,
        };
        let id = self.running_id(&place).await?;
        let session = self.runtime.exec(&place.uid, &id, &exec).await.map_err(refused)?;
        let wanted = Wanted::of(query);
        Ok(upgrade.switch(request, Process { session, wanted }))
    }

    /// The run of a container that runs. Where the status knows of none the runtime may: a postStart hook is under way.
    async fn running_id(&self, place: &Place) -> Result<ContainerId, ApiError> {
        if let Some(run) = place.run().filter(|run| run.is_running) {
            return Ok(ContainerId(run.id));
        }
        let sandbox = self.runtime.status(&place.uid).await.ok().flatten();
        let runs = sandbox.into_iter().flat_map(|sandbox| sandbox.containers);
        let mut own = runs.filter(|run| run.name == place.container && run.is_running());
        let name = place.pod.metadata.name.clone().unwrap_or_default();
        let stopped = || ApiError::bad_request(format!("container {} of pod {name} is not running", place.container));
        own.next().map(|run| run.id).ok_or_else(stopped)
    }

    pub(super) async fn attach(&self, target: &Target, query: &Query, request: Request<Incoming>) -> Answer {
        let upgrade = Upgrade::negotiate::<Process>(request.headers())?;
        let place = self.place(target, query.text("container"))?;
        let attach = AttachConfig {
            stdin: query.flag("stdin"),
        };
        let id = self.running_id(&place).await?;
        let session = self.runtime.attach(&place.uid, &id, &attach).await.map_err(refused)?;
        let wanted = Wanted::of(query);
        Ok(upgrade.switch(request, Process { session, wanted }))
    }

    pub(super) fn port_forward(&self, target: &Target, query: &Query, request: Request<Incoming>) -> Answer {
        let upgrade = Upgrade::negotiate::<Forward>(request.headers())?;
        let key = target.key()?;
        let pod = self.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
        let forward = Forward {
            runtime: self.runtime.clone(),
            pod: PodUid(pod.uid().to_owned()),
            ports: ports_of(query)?,
            name: key.name,
        };
        Ok(upgrade.switch(request, forward))
    }

    /// The container that a request means; a pod with one need not name it.
    fn place(&self, target: &Target, container: &str) -> Result<Place, ApiError> {
        let key = target.key()?;
        let object = self.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
        let pod: Pod = object.typed().map_err(|e| ApiError::internal(e.to_string()))?;
        let all: Vec<_> = containers(&pod)
            .iter()
            .chain(init_containers(&pod))
            .map(|c| c.name.as_str())
            .chain(ephemeral_containers(&pod).iter().map(|c| c.name.as_str()))
            .collect();
        let container = match (container, containers(&pod)) {
            ("", [only]) => only.name.clone(),
            ("", _) => {
                let names = all.join(" ");
                let message = format!(
                    "a container name must be specified for pod {}, choose one of: [{names}]",
                    key.name
                );
                return Err(ApiError::bad_request(message));
            }
            (name, _) if all.contains(&name) => name.to_owned(),
            (name, _) => {
                return Err(ApiError::bad_request(format!(
                    "container {name} is not valid for pod {}",
                    key.name
                )));
            }
        };
        Ok(Place {
            uid: uid(&pod),
            pod,
            container,
        })
    }
}

impl Place {
    fn status(&self) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        all.into_iter().find(|s| s.name == self.container)
    }

    fn run(&self) -> Option<Run> {
        let status = self.status()?;
        let id = status.container_id.as_deref()?.rsplit('/').next()?.to_owned();
        let is_running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        Some(Run {
            id,
            attempt: status.restart_count,
            is_running,
        })
    }

    fn waiting_reason(&self) -> Option<String> {
        self.status()?.state.as_ref()?.waiting.as_ref()?.reason.clone()
    }
}

fn refused(error: RuntimeError) -> ApiError {
    ApiError::internal(error.to_string())
}

/// Cancels `ended` when this run of the container is no longer the running one.
async fn until_ended(store: crate::store::Store, pod: Key, container: String, run: String, ended: CancellationToken) {
    let is_over = || {
        let object = store.get(&pod);
        let Some(pod) = object.and_then(|o| o.typed::<Pod>().ok()) else {
            return true;
        };
        let place = Place {
            uid: uid(&pod),
            pod,
            container: container.clone(),
        };
        place.run().is_none_or(|now| now.id != run || !now.is_running)
    };
    while !is_over() {
        let Ok(mut watcher) = store.watch(store.resource_version()) else {
            continue;
        };
        // What happened between the look and the watch is seen by one more look.
        while !is_over() {
            let change = tokio::select! { change = watcher.next() => change, () = ended.cancelled() => return };
            match change {
                Ok(change) if *change.object.key() == pod && change.kind == ChangeKind::Deleted => break,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    ended.cancel();
}
