//! kubelocal's program: one binary that is the command line, the node, a pod's supervisor and the demo image's only file.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // Before anything makes a thread: supervisor and node enter namespaces, and stay as small as they start. The
    // command line makes its runtime only after it has handed `node` on.
    match args.get(1).and_then(|verb| verb.to_str()) {
        Some("pod-supervisor") => kubelocal::runtime::native::supervisor::main(&args[2..]),
        Some("demo") => demo(&args[2..]),
        _ => kubelocal::cli::main(args, |node| kubelocal::node::main(node.background, node.no_egress)),
    }
}

/// The program of the built-in image; its exit codes are its own.
fn demo(args: &[std::ffi::OsString]) -> ExitCode {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    std::process::exit(kubelocal::demo::run(&args))
}
