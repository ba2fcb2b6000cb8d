//! The real thing: supervisors, namespaces, overlay and an OCI runtime. Every test runs with the embedded runtime and with crun.
//!
//! Needs root or a user namespace with a full map, busybox-static and crun; says so where one is missing.

#[path = "runtime_native/ground.rs"]
mod ground;

#[path = "runtime_native/life.rs"]
mod life;

#[path = "runtime_native/confinement.rs"]
mod confinement;

#[path = "runtime_native/streams.rs"]
mod streams;

#[path = "runtime_native/crash.rs"]
mod crash;

#[path = "runtime_native/sight.rs"]
mod sight;

#[path = "runtime_native/measure.rs"]
mod measure;

/// Makes of each `async fn name(ground: Ground)` one test per runtime.
macro_rules! with_every_runtime {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(crate::ground::Ground::new(None).await).await })*
        }
        mod crun {
            $(#[tokio::test] async fn $name() { super::$name(crate::ground::Ground::new(Some("crun")).await).await })*
        }
    };
}
pub(crate) use with_every_runtime;
