//! kubelocal: see the library.

fn main() {}
