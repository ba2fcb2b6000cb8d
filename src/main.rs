//! kubelocal's program: one binary that is the command line, the node, a pod's supervisor and the demo image's only file.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // Before anything makes a thread: supervisor and node enter namespaces, and stay as small as they start. The
    // command line makes its runtime only after it has handed `node` on.
    match args.get(1).and_then(|verb| verb.to_str()) {
        Some("pod-supervisor") => kubelocal::runtime::native::supervisor::main(&args[2..]),
        _ => kubelocal::cli::main(args, |_| kubelocal::node::main()),
    }
}
