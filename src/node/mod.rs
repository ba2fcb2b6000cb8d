//! The node: the only room that knows everyone. It enters the namespaces, opens the rooms, connects them and awaits the end.

mod addresses;
mod conditions;
mod config;
mod devices;
mod end;
mod images;
mod listen;
mod lock;
mod namespaces;
mod own;
mod report;
mod rest;
mod ways_out;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Pid;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, Meter, NodeFacts};
use crate::cgroup::{self, Lack, Tree};
use crate::event::EventRecorder;
use crate::image::{ImageStore, LoginFiles, Puller};
use crate::model::{Clock, Complaints, Family, HOST, Paths, SystemClock, stack_of};
use crate::net::{NodeNetwork, node_network_of};
use crate::pod::{self, Ends, Rooms};
use crate::publish::{self, Published};
use crate::runtime::RuntimeOptions;
use crate::runtime::native::{NativeRuntime, find_supervisor};
use crate::store::Store;
use crate::{applier, controller, egress, ingress, policy, service, volume};

use config::Config;
use end::{until_told_to_end, wind_down};
use listen::Loopback;
use lock::LockError;
use namespaces::Mode;
use own::create_own;
use ways_out::WaysOut;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Threads that serve the API, controllers and workers. Two keep a slow parse from holding up an answer; what blocks has
/// threads of its own.
const WORKERS: usize = 2;

/// `kubelocal node`: runs until it is told to end. To be called before the process has a second thread. In the background it
/// yields to a node that runs already: several commands may have started one at the same moment. With `no_egress` pods reach nothing outside.
pub fn main(is_background: bool, no_egress: bool) -> ExitCode {
    // Before anything is opened: it may begin anew.
    cgroup::enter_scope(std::env::args_os().skip(1));
    namespaces::set_name("kubelocal-node");
    match prepare(no_egress).and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_background && matches!(error.downcast_ref(), Some(LockError::Held(_))) => ExitCode::SUCCESS,
        Err(error) => {
            // Its log may be on a full disk: the status still tells.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is settled before there are threads.
struct Prepared {
    paths: Paths,
    config: Config,
    mode: Mode,
    /// The pods' network that supervisors of an earlier node hold.
    network: Option<OwnedFd>,
    /// Who started it, in the ids of the machine.
    user: (u32, u32),
    /// Whether pods are kept from the outside whatever the settings say.
    no_egress: bool,
    /// Where pods' control groups are, or why nowhere.
    cgroups: Result<Tree, Lack>,
    /// Held for as long as the node runs.
    lock: File,
}

fn prepare(no_egress: bool) -> Result<Prepared, Failure> {
    let paths = Paths::discover()?;
    paths.ensure_run_dir()?;
    for dir in [&paths.home, &paths.manifests, &paths.pods, &paths.state, &paths.volumes] {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    // Secrets, logs and images are the owner's.
    std::fs::set_permissions(&paths.home, std::fs::Permissions::from_mode(0o700))?;
    let config = Config::read(&paths.config)?;
    let lock = lock::take(&paths.lock)?;
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // As the user that the groups were delegated to.
    let cgroups = cgroup::prepare();
    let supervisor = find_supervisor(&paths.pods);
    let mode = namespaces::enter(supervisor.and_then(Pid::from_raw))?;
    Ok(Prepared {
        paths,
        config,
        mode,
        network: supervisor.and_then(node_network_of),
        user,
        no_egress,
        cgroups,
        lock,
    })
}

fn start(prepared: Prepared) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KUBELOCAL_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A log that can't be written, as on a full disk, would be told of on the same descriptor, by a panic.
        .log_internal_errors(false)
        .init();
    rest::be_frugal();
    crate::os::allow_descriptors();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(WORKERS)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_name("node")
        .enable_all();
    runtime.build()?.block_on(run(prepared))
}

async fn run(prepared: Prepared) -> Result<(), Failure> {
    let (paths, config, mode) = (prepared.paths, prepared.config, prepared.mode);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(&paths.state.join("objects.redb"), clock.clone())?;
    let oci_runtime = config.oci_runtime(&paths.config)?;
    let handlers = config.handlers(&paths.config)?;
    let handler_names: Vec<String> = handlers.keys().cloned().collect();
    let mut facts = facts(&paths, mode, oci_runtime.as_deref(), &prepared.cgroups, clock.now());
    let network = open_network(prepared.network, &mut facts.warnings);
    let loopback = listen::loopback(&paths, config.api_port, clock.clone()).await?;
    let api_port = loopback.listener.local_addr()?.port();
    let egress = config.egress(prepared.no_egress, api_port);
    let families = network.as_deref().map(NodeNetwork::families);
    facts.network = families.map_or("", stack_of).to_owned();
    facts.host_loopback = egress.is_on && egress.host_loopback;
    let ways_out = ways_out::open(network.as_ref(), egress).await;
    let options = runtime_options(&paths, (oci_runtime, handlers), prepared.cgroups.ok());
    let runtime = Arc::new(NativeRuntime::open(options, network.clone()).await?);
    let (newest, addresses) = watch::channel(addresses::present());
    let host = report::host(
        paths.pods.clone(),
        network.is_some(),
        addresses.clone(),
        api_port,
        &config,
    );
    let ledger = devices::open(&paths, &config);
    let readiness = ways_out.readiness(egress, addresses::has_way(&addresses));
    let families = families.unwrap_or(&Family::BOTH[..1]);
    let mut node = report::node_object(&host, families, &readiness, &handler_names, clock.now());
    devices::report(&mut node, &ledger.catalogue(), None);
    create_own(&store, &paths, &loopback, &node)?;
    let logins = LoginFiles::plan(variable).with_user((mode != Mode::Root).then_some(prepared.user));
    let images = ImageStore::open_with(&paths.images, config.store_options(mode == Mode::Root, variable))?;
    let (served, ends) = (watch::Sender::new(0), Ends::default());
    let reporter = conditions::Reporter::new(&store, &host.node_name, &clock, &facts.complaints);
    let rooms = Rooms {
        store: store.clone(),
        runtime: runtime.clone(),
        puller: Puller::new(images.clone(), logins),
        images,
        recorder: EventRecorder::new(store.clone(), clock.clone(), host.node_name.clone()),
        tokens: loopback.tokens.clone(),
        clock,
        served: network.as_ref().map(|_| served.subscribe()),
        devices: ledger,
        host,
    };
    let (end, ended) = watch::channel(None);
    let (recorder, published) = (rooms.recorder.clone(), facts.published.clone());
    let serving = spawn_ingress(
        &rooms,
        network.as_ref(),
        &loopback,
        (&config, &paths),
        &facts,
        &ends.stop,
    );
    let on_network = network.clone().map(|network| {
        let outward = (ways_out, (egress, paths.run_dir.join("pods-network")), addresses);
        let services = (config.services, served);
        spawn_on_network(&recorder, network, services, outward, reporter, &ends.stop)
    });
    let reporting = spawn_reports(&rooms, newest, &ends.stop);
    let door = listen::for_pods(network.as_deref()).await;
    let (pods, mut tasks) = spawn_all(rooms, facts, &paths, &config, (loopback, door), end, &ends).await?;
    tasks.extend(on_network.into_iter().flatten().chain(serving));
    tasks.extend(reporting);
    // Last, so that the API has the port that it had before.
    tasks.extend(network.map(|network| {
        let ways_in = publish::run(store.clone(), recorder, network, published, ends.stop.clone());
        tokio::spawn(ways_in)
    }));
    tracing::info!(home = %paths.home.display(), mode = mode.as_str(), "the node runs");
    let ends_pods = until_told_to_end(ended, config.shutdown_graces()).await?;
    wind_down(ends_pods, &ends, pods, tasks, &paths).await?;
    store.close();
    drop(prepared.lock);
    Ok(())
}

/// Keeps the Node's addresses, images and devices true.
fn spawn_reports(rooms: &Rooms, newest: watch::Sender<Vec<String>>, stop: &CancellationToken) -> [JoinHandle<()>; 3] {
    let (store, node) = (&rooms.store, &rooms.host.node_name);
    let moves = addresses::follow(store.clone(), node.clone(), newest, stop.clone());
    let here = images::follow(store.clone(), rooms.images.clone(), node.clone(), stop.clone());
    let recorder = rooms.recorder.component("kubelet");
    let devices = devices::follow(
        store.clone(),
        rooms.devices.clone(),
        recorder,
        node.clone(),
        stop.clone(),
    );
    [tokio::spawn(moves), tokio::spawn(here), tokio::spawn(devices)]
}

/// The pods' network, new or an earlier node's. A kernel that refuses it leaves pods their loopback, and whoever asks is told.
fn open_network(present: Option<OwnedFd>, warnings: &mut Vec<String>) -> Option<Arc<NodeNetwork>> {
    match NodeNetwork::open(present) {
        Ok(network) => Some(Arc::new(network)),
        Err(error) => {
            tracing::warn!(%error, "pods have no network");
            warnings.push(format!("pods have only their loopback interface: {error}"));
            None
        }
    }
}

/// Starts what pods find on their network: Services, names, what keeps them apart, and ways out.
fn spawn_on_network(
    recorder: &EventRecorder,
    network: Arc<NodeNetwork>,
    (means, served): (service::Means, watch::Sender<u64>),
    (ways_out, outward, addresses): (WaysOut, (egress::Settings, PathBuf), watch::Receiver<Vec<String>>),
    reporter: conditions::Reporter,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let (carried, is_carried) = watch::channel(None);
    let told = conditions::follow(reporter.clone(), is_carried.clone(), stop.clone());
    let egress = outward.0;
    let host = (egress.is_on && egress.host_loopback).then_some(HOST);
    let (store, complaints) = (reporter.store.clone(), reporter.complaints.clone());
    let passes = Arc::new(egress::Passes::new(network.clone(), egress));
    // Before the first packet, and the first question for a name, is heard.
    passes.take_all(&store);
    let known = passes.clone();
    let terms = service::Terms {
        host,
        served,
        complaints,
        means,
        carried,
        may_leave: Arc::new(move |source| known.may_leave(source)),
    };
    let services = service::run(store.clone(), network.clone(), terms, stop.clone());
    let recorder = recorder.component("network-policy");
    let policies = policy::run(store.clone(), recorder, network.clone(), is_carried, stop.clone());
    let (leavers, end) = (passes.clone(), stop.clone());
    let follow = async move {
        end.run_until_cancelled(leavers.follow(&store)).await;
    };
    let ways = ways_out::run(ways_out, network, outward, (passes, addresses), reporter, stop.clone());
    let mut tasks = vec![tokio::spawn(services), tokio::spawn(policies), tokio::spawn(follow)];
    tasks.extend([tokio::spawn(told), tokio::spawn(ways)]);
    tasks
}

/// Serves Ingresses, if pods have a network.
fn spawn_ingress(
    rooms: &Rooms,
    network: Option<&Arc<NodeNetwork>>,
    loopback: &Loopback,
    (config, paths): (&Config, &Paths),
    facts: &NodeFacts,
    stop: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let api = loopback.listener.local_addr().ok().filter(|_| facts.host_loopback);
    let settings = config.ingress(&paths.state, api.map(|address| address.port()));
    let served = ingress::run(
        rooms.store.clone(),
        rooms.recorder.component("ingress"),
        network?.clone(),
        loopback.authority.clone(),
        settings,
        (facts.ingress.clone(), facts.complaints.clone()),
        stop.clone(),
    );
    Some(tokio::spawn(served))
}

/// A variable of the environment that names a path.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn facts(
    paths: &Paths,
    mode: Mode,
    oci_runtime: Option<&Path>,
    cgroups: &Result<Tree, Lack>,
    started_at: Timestamp,
) -> NodeFacts {
    let warnings = mode.warning().map(str::to_owned).into_iter();
    NodeFacts {
        home: paths.home.clone(),
        mode: mode.as_str().to_owned(),
        runtime: oci_runtime.map_or("embedded".to_owned(), |path| path.display().to_string()),
        cgroups: report::cgroups(cgroups),
        started_at,
        warnings: warnings.chain(report::no_limits(cgroups)).collect(),
        network: String::new(),
        host_loopback: false,
        complaints: Complaints::default(),
        published: Published::default(),
        ingress: ingress::OpenDoors::default(),
    }
}

/// What the runtime is told: among others the OCI runtime of pods that choose none, and those that pods may choose.
fn runtime_options(
    paths: &Paths,
    (oci_runtime, handlers): (Option<PathBuf>, BTreeMap<String, Option<PathBuf>>),
    cgroups: Option<Tree>,
) -> RuntimeOptions {
    RuntimeOptions {
        pods_dir: paths.pods.clone(),
        run_dir: paths.run_dir.clone(),
        cgroups,
        oci_runtime,
        handlers,
        supervisor_exe: "/proc/self/exe".into(),
    }
}

/// Starts what works side by side until the end: pods, of which the first task is, and sources, controllers, the collector of images, the memory's keeper, the API.
async fn spawn_all(
    rooms: Rooms,
    facts: NodeFacts,
    paths: &Paths,
    config: &Config,
    (loopback, door): (Loopback, Option<TcpListener>),
    end: watch::Sender<Option<bool>>,
    ends: &Ends,
) -> Result<(JoinHandle<()>, Vec<JoinHandle<()>>), Failure> {
    let Rooms {
        store,
        runtime,
        images,
        puller,
        recorder,
        tokens,
        clock,
        ..
    } = rooms.clone();
    let socket = listen::socket(paths)?;
    let kubelet = Rooms {
        recorder: recorder.component("kubelet"),
        ..rooms
    };
    let (kubelet, stop) = (Arc::new(kubelet), &ends.stop);
    let evictor = pod::run_evictor(kubelet.clone(), stop.clone());
    let taints = pod::run_taints(kubelet.clone(), stop.clone());
    let pressure = pod::run_pressure(kubelet.clone(), config.thresholds(), paths.images.clone(), stop.clone());
    let (bells, pods) = pod::run(kubelet, ends.clone()).await?;
    let sources = applier::run(
        store.clone(),
        clock.clone(),
        paths.manifests.clone(),
        config.overlays(&paths.home),
        stop.clone(),
    );
    let recording = recorder.component("kubelet");
    let collector = pod::run_collector(store.clone(), images.clone(), config.marks(), recording, stop.clone());
    let signer = controller::Signer::new(&tokens, &clock);
    let controllers = controller::run(store.clone(), recorder, signer, stop.clone());
    let rest = rest::run(store.clone(), stop.clone());
    let reclaimer = volume::reclaim(store.clone(), stop.clone());
    let keeper = loopback.keeper.run(clock.clone(), stop.clone());
    let api = Arc::new(Api {
        store,
        tokens,
        runtime,
        images,
        puller,
        bells,
        meter: Meter::default(),
        clock,
        facts,
        end,
    });
    let listeners = [Some(loopback.listener), door].into_iter().flatten();
    let over_tls = listeners.map(|listener| api::serve_tls(api.clone(), listener, loopback.tls.clone(), stop.clone()));
    let over_tls: Vec<_> = over_tls.map(tokio::spawn).collect();
    let mut others = vec![
        tokio::spawn(sources),
        tokio::spawn(reclaimer),
        tokio::spawn(controllers),
        tokio::spawn(collector),
        tokio::spawn(evictor),
        tokio::spawn(taints),
        tokio::spawn(pressure),
        tokio::spawn(rest),
        tokio::spawn(api::serve(api, socket, stop.clone())),
        tokio::spawn(keeper),
    ];
    others.extend(over_tls);
    Ok((tokio::spawn(pods), others))
}
