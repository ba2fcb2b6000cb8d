//! The command line: one file per verb, with its arguments and what it does.
//!
//! It is a client like any other: it speaks HTTP to the node's unix socket and shows what comes back, in kubectl's words and
//! forms. It must not reach into the node: no store, no runtime, no controller. What it shares with the node is the table
//! of kinds, the paths on disk, the words of our own endpoints ([`crate::api::own`]) and what network policies mean ([`crate::policy::judge`]). Printing is pure ([`mod@print`]).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod apply;
mod attach;
mod build;
mod builder;
mod client;
mod completion;
mod context;
mod cp;
mod debug;
mod delete;
mod describe;
mod df;
mod diff;
mod doctor;
mod down;
mod error;
mod events;
mod exec;
mod files;
mod follow;
mod get;
mod image;
pub mod jsonpath;
mod kubeconfig;
mod kustomize;
mod logs;
mod net;
mod node;
mod pods;
mod port_forward;
pub mod print;
mod resource;
mod selectors;
mod session;
mod status;
mod stop;
mod terminal;
mod top;
pub mod transport;
mod wait;
mod watch;
mod why;

pub use context::Context;
pub use error::{CliError, ErrorKind};

/// A Kubernetes node for one machine, without the cluster and without root.
#[derive(Debug, Parser)]
#[command(
    name = "kubelocal",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 120
)]
pub struct Cli {
    /// The namespace to work in
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Watch(watch::WatchArgs),
    Get(get::GetArgs),
    Apply(apply::ApplyArgs),
    Delete(delete::DeleteArgs),
    Down(down::DownArgs),
    Diff(diff::DiffArgs),
    Describe(describe::DescribeArgs),
    Why(why::WhyArgs),
    Logs(logs::LogsArgs),
    Exec(exec::ExecArgs),
    Attach(attach::AttachArgs),
    Debug(debug::DebugArgs),
    Cp(cp::CpArgs),
    PortForward(port_forward::PortForwardArgs),
    Events(events::EventsArgs),
    Wait(wait::WaitArgs),
    #[command(subcommand)]
    Image(image::ImageVerb),
    #[command(subcommand)]
    Kustomize(kustomize::KustomizeVerb),
    Kubeconfig(kubeconfig::KubeconfigArgs),
    Build(build::BuildArgs),
    #[command(subcommand)]
    Top(top::TopVerb),
    Df(df::DfArgs),
    Net(net::NetArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    Stop(stop::StopArgs),
    Completion(completion::CompletionArgs),
    Node(NodeArgs),
}

/// Run the node in the foreground.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeArgs {
    /// Leave the terminal's session: how other commands start it
    #[arg(long, hide = true)]
    pub background: bool,
    /// Keep pods from everything outside of their network, whatever the settings say
    #[arg(long)]
    pub no_egress: bool,
}

/// Runs the command line `args`. `node` is what `kubelocal node` runs: the node itself, of which this room knows nothing.
pub fn main(args: impl IntoIterator<Item = OsString>, node: impl FnOnce(&NodeArgs) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return report_usage(&error),
    };
    if let Verb::Node(args) = &cli.verb {
        if args.background {
            // A session of its own keeps the node alive when the terminal goes. It fails only for the leader of a
            // process group, and that one has no terminal to lose.
            let _ = rustix::process::setsid();
        }
        return node(args);
    }
    if let Verb::Doctor(args) = &cli.verb
        && let Some(outcome) = args.run_probe()
    {
        return exit(outcome);
    }
    let context = Context {
        namespace: cli.namespace,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(CliError::from).and_then(|runtime| {
        let outcome = runtime.block_on(run(&cli.verb, &context));
        // A read of standard input that nobody will answer must not keep the process.
        runtime.shutdown_background();
        outcome
    });
    exit(outcome)
}

fn exit(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

async fn run(verb: &Verb, context: &Context) -> Result<(), CliError> {
    match verb {
        Verb::Watch(args) => watch::run(args, context).await,
        Verb::Get(args) => get::run(args, context).await,
        Verb::Apply(args) => apply::run(args, context).await,
        Verb::Delete(args) => delete::run(args, context).await,
        Verb::Down(args) => down::run(args, context).await,
        Verb::Diff(args) => diff::run(args, context).await,
        Verb::Why(args) => why::run(args, context).await,
        Verb::Describe(args) => describe::run(args, context).await,
        Verb::Logs(args) => logs::run(args, context).await,
        Verb::Exec(args) => exec::run(args, context).await,
        Verb::Attach(args) => attach::run(args, context).await,
        Verb::Debug(args) => debug::run(args, context).await,
        Verb::Cp(args) => cp::run(args, context).await,
        Verb::PortForward(args) => port_forward::run(args, context).await,
        Verb::Events(args) => events::run(args, context).await,
        Verb::Wait(args) => wait::run(args, context).await,
        Verb::Image(verb) => image::run(verb).await,
        Verb::Kustomize(verb) => kustomize::run(verb),
        Verb::Kubeconfig(args) => kubeconfig::run(args).await,
        Verb::Build(args) => build::run(args).await,
        Verb::Top(verb) => top::run(verb, context).await,
        Verb::Df(args) => df::run(args).await,
        Verb::Net(args) => net::run(args, context).await,
        Verb::Status(args) => status::run(args).await,
        Verb::Doctor(args) => doctor::run(args),
        Verb::Stop(args) => stop::run(args).await,
        Verb::Completion(args) => completion::run(args, &mut Cli::command()),
        Verb::Node(_) => Ok(()),
    }
}

/// Help and version are answers and exit with 0; anything else is an error, with kubectl's code.
fn report_usage(error: &clap::Error) -> ExitCode {
    // A closed pipe leaves nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::from(error.use_stderr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hands_that_know_kubectl_find_its_flags() {
        for line in [
            "get pods -A -w -l app=web -o wide",
            "get pod web -n x -o jsonpath={.status.phase}",
            "-n x get pods,deploy --no-headers --sort-by=.metadata.name -L app --show-labels",
            "apply -f a.yaml -f - -R --dry-run=server",
            "apply -k overlays/local --server-side",
            "delete pod web --grace-period=0 --force --wait=false",
            "delete -f a.yaml --ignore-not-found --cascade=orphan",
            "logs -f -p -c app --since=5m --tail=10 --timestamps web",
            "logs -l app=web --all-containers --prefix --max-log-requests 10",
            "exec -it web -c app -- sh -c exit",
            "attach -it web",
            "debug web -it --image=busybox --target=app -- sh -c id",
            "cp web:/etc/hosts hosts -c app",
            "port-forward svc/web 8080:80 :http --address 127.0.0.1,::1",
            "events -w --for pod/web --types=Warning",
            "wait --for=condition=Ready pod/web --timeout=60s",
            "wait --for=delete pods --all",
            "watch overlays/local --once --timeout 2m",
            "watch - --rm",
            "down --all",
            "image load -",
            "kustomize build overlays/local --enable-helm --load-restrictor LoadRestrictionsNone",
            "image import rootfs.tar demo:latest",
            "describe pod web",
            "top pods -A --containers --sort-by=cpu",
            "top node --no-headers",
            "completion zsh",
            "doctor",
        ] {
            let args = std::iter::once("kubelocal").chain(line.split(' '));
            assert!(Cli::try_parse_from(args).is_ok(), "{line}");
        }
    }
}
