//! kubelocal's program.

fn main() {
    let args: Vec<_> = std::env::args_os().collect();
    // Before anything makes a thread: a supervisor forks, and stays as small as it starts.
    if args.get(1).is_some_and(|verb| verb == "pod-supervisor") {
        kubelocal::runtime::native::supervisor::main(&args[2..]);
    }
}
