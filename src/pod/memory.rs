//! The volumes of a pod that lie in memory: made with its sandbox, before anything runs. Pure.

use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::model;
use crate::runtime::MemoryDir;
use crate::volume;

/// The volumes of a pod that lie in memory, below the directory of its volumes (kubelet `calculateEmptyDirMemorySize`). Each may have as much as the pod,
/// or the machine where the pod has no limit, unless it wants less.
pub fn memory_dirs(pod: &Pod, volumes: &Path, machine: i64) -> Vec<MemoryDir> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let bytes = |quantity: &Quantity| {
        let parsed = model::Quantity::parse(&quantity.0)?;
        u64::try_from(parsed.divided_by(model::Quantity::whole(1)))
            .ok()
            .filter(|size| *size > 0)
    };
    let limit = |resources: &Option<ResourceRequirements>| bytes(resources.as_ref()?.limits.as_ref()?.get("memory")?);
    let mut limits = spec.containers.iter().map(|container| limit(&container.resources));
    let sum = |sum: u64, limit: Option<u64>| Some(sum.saturating_add(limit?));
    let of_pod = limit(&spec.resources).or_else(|| limits.try_fold(0, sum));
    let most = of_pod.unwrap_or(u64::MAX).min(u64::try_from(machine).unwrap_or(0));
    let in_memory = |volume: &Volume| {
        let empty = volume
            .empty_dir
            .as_ref()
            .filter(|e| e.medium.as_deref() == Some("Memory"))?;
        let wanted = empty.size_limit.as_ref().and_then(bytes);
        Some(MemoryDir {
            path: volumes.join(&volume.name),
            size: wanted.map_or(most, |size| size.min(most)),
            group: volume::fs_group(pod),
        })
    };
    spec.volumes.iter().flatten().filter_map(in_memory).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_may_have_what_it_wants_and_no_more_than_its_pod() {
        let sizes = |limits: [Option<&str>; 2], wanted: Option<&str>| {
            let container = |limit: Option<&str>| match limit {
                Some(limit) => json!({"name": "c", "resources": {"limits": {"memory": limit}}}),
                None => json!({"name": "c"}),
            };
            let empty = match wanted {
                Some(wanted) => json!({"medium": "Memory", "sizeLimit": wanted}),
                None => json!({"medium": "Memory"}),
            };
            let volumes = json!([{"name": "m", "emptyDir": empty}, {"name": "d", "emptyDir": {}}]);
            let spec = json!({"containers": limits.map(container), "volumes": volumes});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod");
            let dirs = memory_dirs(&pod, Path::new("/v"), 1000);
            assert_eq!((dirs.len(), dirs[0].path.as_path()), (1, Path::new("/v/m")));
            dirs[0].size
        };
        for (limits, wanted, size) in [
            ([None, None], None, 1000),
            ([None, None], Some("10"), 10),
            ([None, None], Some("0"), 1000),
            ([None, None], Some("5Gi"), 1000),
            ([Some("100"), Some("200")], None, 300),
            ([Some("100"), Some("200")], Some("250"), 250),
            ([Some("100"), Some("200")], Some("400"), 300),
            // A pod with a container that has no limit has none.
            ([Some("100"), None], None, 1000),
        ] {
            assert_eq!(sizes(limits, wanted), size, "{limits:?} {wanted:?}");
        }
    }
}
