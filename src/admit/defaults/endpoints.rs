//! Endpoints and EndpointSlices (`pkg/apis/core/v1/defaults.go`, `pkg/apis/discovery/v1/defaults.go`).

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::text;

pub(super) fn default_endpoints(endpoints: &mut Endpoints) {
    let subsets = endpoints.subsets.iter_mut().flatten();
    for port in subsets.flat_map(|subset| subset.ports.iter_mut().flatten()) {
        text(&mut port.protocol, "TCP");
    }
}

pub(super) fn default_slice(slice: &mut EndpointSlice) {
    for port in slice.ports.iter_mut().flatten() {
        port.name.get_or_insert_default();
        text(&mut port.protocol, "TCP");
    }
}
