//! `down`: the end of a source and of all it made, gracefully, all at once, and then waiting until it is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::client::{Node, Resource, items_of};
use super::context::{Context, parse_duration, source_path, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::Files;
use super::follow::{self, Doomed};
use super::pods::{name_of, pod_kind};
use super::{node, print};
use crate::api::own::{ObjectRef, SourceRemoved, path};
use crate::model::{Kind, MANIFESTS_SOURCE, kind, storage};

/// Stop watching paths and remove what they made.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Paths, as they were given to watch or apply
    #[arg(value_name = "PATH", required_unless_present = "all")]
    paths: Vec<PathBuf>,
    /// Everything that is watched, but for the node's own directory of manifests
    #[arg(long, conflicts_with = "paths")]
    all: bool,
    /// How long to wait until all is gone
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) fn source_kind() -> &'static Kind {
    kind("kubelocal.dev/v1alpha1", "ManifestSource").expect("the table of kinds has sources")
}

/// Runs `down`.
///
/// # Errors
/// When a path can't be read, or something does not go in time.
pub async fn run(args: &DownArgs, context: &Context) -> Result {
    let Some(node) = node::connect_running()? else {
        // Without a node nothing would be stopped: containers may run on, and only a node can end them.
        return run_with(&node::connect().await?, args, context).await;
    };
    run_with(&node, args, context).await
}

async fn run_with(node: &Node, args: &DownArgs, context: &Context) -> Result {
    let list = node.get(&Resource::collection(source_kind(), None), &[]).await?;
    let sources = items_of(list, source_kind());
    let mut chosen: Vec<String> = Vec::new();
    let mut doomed: Vec<Doomed> = Vec::new();
    let workloads = Workloads::now(node).await?;
    if args.all {
        chosen.extend(
            sources
                .iter()
                .map(name_of)
                .filter(|name| *name != MANIFESTS_SOURCE)
                .map(str::to_owned),
        );
    }
    for path in &args.paths {
        match source_of(&sources, path)? {
            Some(source) => {
                check_whole(source, &args.paths)?;
                chosen.push(name_of(source).to_owned());
            }
            // Nobody watches it: then it was applied once, or never.
            None => doomed.extend(applied_from(node, path, context).await?),
        }
    }
    chosen.sort();
    chosen.dedup();
    for name in &chosen {
        doomed.extend(unregister(node, name).await?);
    }
    if chosen.is_empty() && doomed.is_empty() {
        return write("nothing to take down\n");
    }
    match follow::within(Some(args.timeout), wait_gone(node, &workloads, &doomed)).await? {
        Some(()) => Ok(()),
        None => Err(CliError::new(
            ErrorKind::NotReached,
            "timed out waiting until everything is gone",
        )),
    }
}

/// The source that was registered with this path among its own.
fn source_of<'a>(sources: &'a [Value], path: &Path) -> Result<Option<&'a Value>> {
    let path = source_path(path);
    let is_it = |known: &Value| known.as_str().is_some_and(|known| *known == *path.as_os_str());
    let has = |source: &&Value| {
        source
            .pointer("/spec/paths")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(is_it)
    };
    match sources.iter().find(has) {
        Some(source) if name_of(source) == MANIFESTS_SOURCE => Err(CliError::usage(format_args!(
            "{} is the node's own directory and always watched; remove files from it instead",
            path.display()
        ))),
        found => Ok(found),
    }
}

/// Paths that are watched together end together: which objects are whose can't be told apart without them all.
fn check_whole(source: &Value, given: &[PathBuf]) -> Result {
    let given: Vec<PathBuf> = given.iter().map(|path| source_path(path)).collect();
    let paths = source.pointer("/spec/paths").and_then(Value::as_array);
    let all: Vec<&str> = paths.into_iter().flatten().filter_map(Value::as_str).collect();
    if all
        .iter()
        .all(|path| given.iter().any(|given| given == Path::new(path)))
    {
        return Ok(());
    }
    let message = format!("these paths are watched together: {}", all.join(" "));
    Err(CliError::usage(message).with_hint(format!("name all of them: kubelocal down {}", all.join(" "))))
}

/// What the file names and is there; asked to go.
async fn applied_from(node: &Node, path: &Path, context: &Context) -> Result<Vec<Doomed>> {
    let mut doomed = Vec::new();
    for (resource, _) in Files::of_path(path, false).read_refs(context.namespace())? {
        if storage::holds_data(resource.kind) {
            tell_kept(&resource)?;
            continue;
        }
        let options = json!({"propagationPolicy": "Background"});
        match node.delete(&resource, &options).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            answer => {
                let uid = super::delete::uid_of(&answer?).to_owned();
                doomed.push((resource, uid));
            }
        }
    }
    Ok(doomed)
}

/// Ends a source; the answer is what it had made.
///
/// # Errors
/// What the node says.
pub(super) async fn unregister(node: &Node, name: &str) -> Result<Vec<Doomed>> {
    let query = [("name", name.to_owned())];
    let removed: SourceRemoved = node.own(Method::DELETE, path::SOURCES, &query, None::<&()>).await?;
    for (resource, _) in removed.kept.into_iter().filter_map(resource_of) {
        tell_kept(&resource)?;
    }
    Ok(removed.objects.into_iter().filter_map(resource_of).collect())
}

/// What holds data stays until it is deleted by name.
fn tell_kept(resource: &Resource) -> Result {
    let (name, namespace) = (
        resource.name.as_deref().unwrap_or_default(),
        resource.namespace.as_deref(),
    );
    let namespace = namespace
        .map(|namespace| format!(" -n {namespace}"))
        .unwrap_or_default();
    let full = print::full_name(resource.kind, name);
    write(&format!(
        "{full} kept with its data (kubelocal delete {full}{namespace} removes both)\n"
    ))
}

fn resource_of(object: ObjectRef) -> Option<(Resource, String)> {
    let kind = kind(&object.api_version, &object.kind)?;
    Some((Resource::object(kind, &object.namespace, &object.name), object.uid))
}

/// Until the objects and all pods that they own are gone; a line for each object.
///
/// # Errors
/// What the node says.
pub(super) async fn wait_gone(node: &Node, before: &Workloads, doomed: &[Doomed]) -> Result {
    let mut pods = before.pods_of(doomed);
    // One that came since.
    pods.extend(Workloads::now(node).await?.pods_of(doomed));
    let tell = |resource: &Resource| {
        let name = resource.name.as_deref().unwrap_or_default();
        write(&format!("{} deleted\n", print::full_name(resource.kind, name)))
    };
    let objects = follow::until_all_gone(node, doomed, tell);
    futures::future::try_join(objects, follow::until_all_gone(node, &pods, |_| Ok(())))
        .await
        .map(drop)
}

/// All ReplicaSets and pods of a moment. To be taken before anything is removed: an owner may be gone before its pods are, and then
/// nothing tells whose they were.
pub(super) struct Workloads {
    replica_sets: Vec<Value>,
    pods: Vec<Value>,
}

impl Workloads {
    /// Those of now.
    ///
    /// # Errors
    /// What the node says.
    pub(super) async fn now(node: &Node) -> Result<Self> {
        let of_kind = |kind: &'static Kind| async move {
            let list = node.get(&Resource::collection(kind, None), &[]).await?;
            Ok::<_, CliError>(items_of(list, kind))
        };
        Ok(Self {
            replica_sets: of_kind(kind("apps/v1", "ReplicaSet").expect("the table of kinds has replica sets")).await?,
            pods: of_kind(pod_kind()).await?,
        })
    }

    /// The pods that workloads among the objects own, through their ReplicaSets: they are what takes time to go.
    fn pods_of(&self, doomed: &[Doomed]) -> Vec<Doomed> {
        let mut owners: Vec<&str> = doomed.iter().map(|(_, uid)| uid.as_str()).collect();
        let sets = self.replica_sets.iter().filter(|set| is_owned_by(set, &owners));
        let sets: Vec<&str> = sets.map(super::delete::uid_of).collect();
        owners.extend(sets);
        let pods = self.pods.iter().filter(|pod| is_owned_by(pod, &owners));
        pods.filter_map(|pod| Some((super::client::resource_of(pod)?, super::delete::uid_of(pod).to_owned())))
            .collect()
    }
}

fn is_owned_by(object: &Value, uids: &[&str]) -> bool {
    let refs = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let mut owners = refs
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str());
    owners.any(|owner| uids.contains(&owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_found_by_its_path() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let path = tmp.path().canonicalize().expect("exists");
        let sources = [json!({"metadata": {"name": "s1"}, "spec": {"paths": ["/other", path.to_str()]}})];
        assert_eq!(source_of(&sources, &path).expect("reads"), Some(&sources[0]));
        assert_eq!(source_of(&sources, Path::new("/none")).expect("reads"), None);
        let refused = check_whole(&sources[0], std::slice::from_ref(&path)).expect_err("/other is missing");
        assert!(
            refused
                .hint
                .expect("says what to do")
                .contains("kubelocal down /other "),
            "{}",
            refused.message
        );
        check_whole(&sources[0], &[path, "/other".into()]).expect("both are named");
    }

    #[test]
    fn pods_are_found_through_their_replica_sets_though_those_may_go_first() {
        let object = |kind: &str, version: &str, uid: &str, owner: &str| {
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": uid, "namespace": "default", "uid": uid,
                "ownerReferences": [{"uid": owner}]}})
        };
        let workloads = Workloads {
            replica_sets: vec![object("ReplicaSet", "apps/v1", "set", "deployment")],
            pods: vec![
                object("Pod", "v1", "ours", "set"),
                object("Pod", "v1", "other", "elsewhere"),
            ],
        };
        let deployments = kind("apps/v1", "Deployment").expect("in the table");
        let doomed = [(Resource::object(deployments, "default", "web"), "deployment".to_owned())];
        let uids: Vec<String> = workloads.pods_of(&doomed).into_iter().map(|(_, uid)| uid).collect();
        assert_eq!(uids, ["ours"]);
    }

    #[test]
    fn the_nodes_own_directory_is_not_taken_down() {
        let sources = [json!({"metadata": {"name": MANIFESTS_SOURCE}, "spec": {"paths": ["/m"]}})];
        assert!(source_of(&sources, Path::new("/m")).is_err());
    }
}
