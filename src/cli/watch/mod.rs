//! `watch`: registers paths as a source and shows what becomes of it, until Ctrl-C or, with `--once`, until all is ready.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::{AsyncBufReadExt, FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, future, stream};
use http::Method;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::build::build_beside;
use super::client::{Node, Resource};
use super::context::{Context, parse_duration, source_path};
use super::down::{Workloads, source_kind, unregister, wait_gone};
use super::error::{CliError, ErrorKind, Result};
use super::events::event_kind;
use super::files::Files;
use super::follow::{Change, changes};
use super::node;
use crate::api::own::{PullState, SourceRegistered, SourceRequest, path};
use crate::model::{Kind, kind};

mod settling;
mod view;
mod waiting;
mod world;

use settling::Settling;
use view::View;
use world::{Verdict, World};

/// Changes that come within this time are shown together: faster than eyes, slow enough for a burst.
const GATHER: Duration = Duration::from_millis(40);

/// How long `--once` waits when it is not told.
const ONCE_TIMEOUT: Duration = Duration::from_secs(300);

/// Keep the machine like files, directories or overlays, and show what becomes of them.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Files, directories or overlays; - is standard input
    #[arg(required = true, value_name = "PATH|-")]
    paths: Vec<PathBuf>,
    /// Wait until all is ready, then exit with 0; with 1 if something fails or the time is over
    #[arg(long)]
    once: bool,
    /// With --once: how long containers without a readinessProbe have to run on before they count as ready
    // A program that cannot work (a wrong command, a setting that is missing) ends within this time on a busy machine too.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    settle: Duration,
    /// Remove all of it on exit
    #[arg(long)]
    rm: bool,
    /// Have an installed kustomize or kubectl build overlays and run the functions and programs that they name
    #[arg(long)]
    external: bool,
    /// First build the images that are directories with a Containerfile beside the manifests
    #[arg(long)]
    build: bool,
    /// Give up after this time
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// Why the watch ended.
enum End {
    Ready,
    Failed(Vec<String>),
    TimedOut,
    Interrupted,
}

/// What a look at the world comes to.
enum Outcome {
    End(End),
    /// Until something changes; or until then, if all is ready but new.
    GoOn(Option<Instant>),
}

/// Runs `watch`.
///
/// # Errors
/// When a path is missing, the node refuses, or `--once` did not come to its goal.
pub async fn run(args: &WatchArgs, context: &Context) -> Result {
    let request = request(args, context)?;
    let mut node = node::connect().await?;
    if args.build {
        build(&node, args, context).await?;
    }
    let started = Instant::now();
    let registered: SourceRegistered = node.own(Method::POST, path::SOURCES, &[], Some(&request)).await?;
    if is_input(args) && !registered.created {
        eprintln!("standard input was watched before: what stood there gives way to this");
    }
    let mut watch = Watch::new(&node, &registered.name, args);
    let end = loop {
        match watch.run(args, started).await {
            Err(error) if error.kind == ErrorKind::NoNode && !node::was_stopped()? => {
                eprintln!("the node ended without being told to: starting it again");
                node = node::connect().await?;
                watch.incoming = incoming(&node, &registered.name);
                watch.pulls = pulls(node.clone()).boxed();
            }
            end => break end,
        }
    };
    if args.rm {
        tear_down(&node, &registered.name).await?;
    }
    match end? {
        End::Ready => Ok(()),
        End::Interrupted if args.rm => Ok(()),
        End::Interrupted => {
            let paths: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
            eprintln!(
                "\nstill running and watched; `kubelocal down {}` ends it",
                paths.join(" ")
            );
            Ok(())
        }
        End::Failed(reasons) => Err(not_reached(&reasons.join("\nerror: "), args)),
        End::TimedOut => Err(not_reached(&watch.unready(), args)),
    }
}

/// Failing ends the view and not the source, which people may not expect.
fn not_reached(why: &str, args: &WatchArgs) -> CliError {
    let error = CliError::new(ErrorKind::NotReached, why);
    if args.rm || is_input(args) {
        return error;
    }
    let paths: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
    error.with_hint(format!(
        "it stays watched; `kubelocal down {}` ends it",
        paths.join(" ")
    ))
}

fn is_input(args: &WatchArgs) -> bool {
    args.paths == [Path::new("-")]
}

async fn build(node: &Node, args: &WatchArgs, context: &Context) -> Result {
    let mut manifests = Vec::new();
    for path in &args.paths {
        manifests.extend(Files::of_path(path, args.external).read(context.namespace())?);
    }
    build_beside(node, &manifests).await
}

/// What the watch made goes, whatever ended it. A second Ctrl-C ends the waiting, and the node goes on alone.
async fn tear_down(node: &Node, source: &str) -> Result {
    let gone = async {
        let workloads = Workloads::now(node).await?;
        let doomed = unregister(node, source).await?;
        wait_gone(node, &workloads, &doomed).await
    };
    tokio::select! {
        outcome = gone => outcome,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

fn request(args: &WatchArgs, context: &Context) -> Result<SourceRequest> {
    let mut request = SourceRequest {
        namespace: context.namespace.clone(),
        external: args.external,
        search_path: args.external.then(|| std::env::var("PATH").ok()).flatten(),
        ephemeral: args.rm,
        owner_pid: args.rm.then(std::process::id),
        ..SourceRequest::default()
    };
    if is_input(args) {
        let mut documents = String::new();
        std::io::stdin().read_to_string(&mut documents)?;
        request.documents = Some(documents);
        return Ok(request);
    }
    for path in &args.paths {
        if path == Path::new("-") {
            return Err(CliError::usage("standard input can't be watched together with paths"));
        }
        if std::fs::symlink_metadata(path).is_err() {
            return Err(CliError::usage(format_args!("the path {path:?} does not exist")));
        }
        request.paths.push(source_path(path));
    }
    Ok(request)
}

/// Images on their way, whenever that changes.
fn pulls(node: Node) -> impl Stream<Item = Vec<PullState>> {
    let lines = async move {
        Ok(node
            .stream(path::IMAGES_PULLS, &[])
            .await?
            .lines()
            .map_err(CliError::from))
    };
    let states = lines
        .try_flatten_stream()
        .map_ok(|line| serde_json::from_str(&line).unwrap_or_default());
    states
        .take_while(|states| future::ready(states.is_ok()))
        .filter_map(|states| future::ready(states.ok()))
}

/// What a change is about.
#[derive(Debug, Clone, Copy)]
enum Topic {
    Source,
    Objects(&'static Kind),
    Events,
}

type Incoming = stream::SelectAll<stream::BoxStream<'static, (Topic, Result<Change>)>>;

/// Every change of all that the view shows, beginning with a list of each collection.
fn incoming(node: &Node, source: &str) -> Incoming {
    let all = |kind: &'static Kind, topic, query| {
        let receiver = changes(node, Resource::collection(kind, None), query);
        stream::unfold(receiver, |mut receiver: mpsc::Receiver<Result<Change>>| async move {
            receiver.recv().await.map(|change| (change, receiver))
        })
        .map(move |change| (topic, change))
        .boxed()
    };
    let of_source = vec![("fieldSelector", format!("metadata.name={source}"))];
    let warnings = vec![("fieldSelector", "type=Warning".to_owned())];
    let workloads = [("v1", "Pod"), ("apps/v1", "ReplicaSet"), ("apps/v1", "Deployment")].map(|(version, name)| {
        let kind = kind(version, name).expect("the table of kinds has it");
        all(kind, Topic::Objects(kind), Vec::new())
    });
    let others = [
        all(source_kind(), Topic::Source, of_source),
        all(event_kind(), Topic::Events, warnings),
    ];
    stream::select_all(others.into_iter().chain(workloads))
}

struct Watch {
    world: World,
    view: View,
    incoming: Incoming,
    /// Images on their way. It ends with the node, as the others do, and is not missed.
    pulls: stream::BoxStream<'static, Vec<PullState>>,
    settling: Settling,
}

impl Watch {
    fn new(node: &Node, source: &str, args: &WatchArgs) -> Self {
        let paths: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
        Self {
            world: World::default(),
            view: View::for_output(format!("Watching {} (Ctrl-C ends it)", paths.join(" "))),
            incoming: incoming(node, source),
            pulls: pulls(node.clone()).boxed(),
            settling: Settling::new(args.settle),
        }
    }

    async fn run(&mut self, args: &WatchArgs, started: Instant) -> Result<End> {
        let timeout = args.timeout.or(args.once.then_some(ONCE_TIMEOUT));
        let deadline = timeout.map(|timeout| started + timeout);
        // Every collection is listed before anything is judged: half a picture shows objects as missing.
        let mut unlisted = 5_usize;
        let mut next_show: Option<Instant> = None;
        let mut next_look: Option<Instant> = None;
        loop {
            let tick = next_show.or_else(|| self.view.is_ticking().then(|| Instant::now() + Duration::from_secs(1)));
            tokio::select! {
                change = self.incoming.next() => {
                    unlisted = unlisted.saturating_sub(self.take(change)?);
                    // Changes come in bursts: all that are there are learned before anything is judged.
                    while let Some(change) = self.incoming.next().now_or_never() {
                        unlisted = unlisted.saturating_sub(self.take(change)?);
                    }
                    next_show.get_or_insert_with(|| Instant::now() + GATHER);
                    if unlisted > 0 {
                        continue;
                    }
                    match self.outcome(args) {
                        Outcome::End(end) => return self.show_last(end),
                        Outcome::GoOn(look) => next_look = look,
                    }
                }
                () = sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => {
                    match self.outcome(args) {
                        Outcome::End(end) => return self.show_last(end),
                        Outcome::GoOn(look) => next_look = look,
                    }
                }
                Some(pulls) = self.pulls.next() => {
                    self.world.learn_pulls(pulls);
                    next_show.get_or_insert_with(|| Instant::now() + GATHER);
                }
                () = sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() && unlisted == 0 => {
                    self.view.show(&self.world, Timestamp::now())?;
                    next_show = None;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return Ok(End::TimedOut),
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    return Ok(End::Interrupted);
                }
            }
        }
    }

    /// Takes in what came; returns how many collections it lists.
    fn take(&mut self, incoming: Option<(Topic, Result<Change>)>) -> Result<usize> {
        let Some((topic, change)) = incoming else {
            return Err(CliError::new(ErrorKind::NoNode, "the node ended the connection"));
        };
        let change = change?;
        let listed = usize::from(matches!(change, Change::Listed(_)));
        match topic {
            Topic::Source => self.world.learn_source(change),
            Topic::Objects(kind) => self.world.learn_objects(kind.kind, change),
            Topic::Events => self.world.learn_events(change),
        }
        Ok(listed)
    }

    fn show_last(&mut self, end: End) -> Result<End> {
        self.view.show(&self.world, Timestamp::now())?;
        Ok(end)
    }

    /// With `--once` the world decides; without, only the end of the source does.
    fn outcome(&mut self, args: &WatchArgs) -> Outcome {
        if !self.world.has_source() {
            return Outcome::End(End::Failed(vec!["the source was taken down".to_owned()]));
        }
        if !args.once {
            return Outcome::GoOn(None);
        }
        let now = Timestamp::now();
        let settled = self.settling.until(&self.world.pods(), now);
        match (self.world.verdict(now), settled) {
            (Verdict::Ready, None) => Outcome::End(End::Ready),
            (Verdict::Ready, Some(at)) => {
                let rest = at.duration_since(now).try_into().unwrap_or_default();
                Outcome::GoOn(Instant::now().checked_add(rest))
            }
            (Verdict::Failed(reasons), _) => Outcome::End(End::Failed(reasons)),
            (Verdict::Waiting, _) => Outcome::GoOn(None),
        }
    }

    fn unready(&self) -> String {
        let lines = self.world.lines(Timestamp::now());
        let waiting = lines.iter().filter(|line| !line.row.waiting_for.is_empty());
        let reasons: String = waiting
            .map(|line| {
                format!(
                    "\n  {} is {}, waiting for {}",
                    line.name, line.row.status, line.row.waiting_for
                )
            })
            .collect();
        format!("timed out{reasons}")
    }
}
