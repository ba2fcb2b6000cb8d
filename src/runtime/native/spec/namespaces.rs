//! The namespaces of a container. Pure.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use super::Place;

/// Network, ipc and uts namespaces are the supervisor's: what is not named is inherited.
pub(super) fn plan_namespaces(place: &Place) -> oci_spec::Result<Vec<LinuxNamespace>> {
    let own = |typ| LinuxNamespaceBuilder::default().typ(typ).build();
    let pid = match &place.pid_namespace {
        // The host's is the supervisor's own.
        None if place.host_pid => None,
        Some(path) => Some(
            LinuxNamespaceBuilder::default()
                .typ(LinuxNamespaceType::Pid)
                .path(path)
                .build()?,
        ),
        None => Some(own(LinuxNamespaceType::Pid)?),
    };
    let others = [own(LinuxNamespaceType::Mount)?, own(LinuxNamespaceType::Cgroup)?];
    Ok(pid.into_iter().chain(others).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::super::tests::place;
    use super::*;

    fn planned(place: &Place) -> Value {
        let namespaces = plan_namespaces(place).expect("every builder is given all it needs");
        serde_json::to_value(namespaces).expect("is JSON")
    }

    #[test]
    fn among_the_hosts_processes_no_pid_namespace_is_made() {
        let place = Place {
            host_pid: true,
            ..place()
        };
        assert_eq!(planned(&place), json!([{"type": "mount"}, {"type": "cgroup"}]));
    }

    #[test]
    fn a_shared_pid_namespace_is_joined_by_path() {
        let place = Place {
            pid_namespace: Some(PathBuf::from("/proc/9/ns/pid")),
            ..place()
        };
        assert_eq!(planned(&place)[0], json!({"type": "pid", "path": "/proc/9/ns/pid"}));
    }
}
