//! Security contexts of pods and containers (V44).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{PodSecurityContext, SeccompProfile, SecurityContext, Sysctl};

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::volume;

/// Checks a pod's security context.
pub fn validate_pod_context(context: &PodSecurityContext, path: &FieldPath, errors: &mut ErrorList) {
    validate_id(context.run_as_user, &path.field("runAsUser"), errors);
    validate_id(context.run_as_group, &path.field("runAsGroup"), errors);
    validate_id(context.fs_group, &path.field("fsGroup"), errors);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*group), &path.field("supplementalGroups").index(index), errors);
    }
    validate_seccomp(context.seccomp_profile.as_ref(), path, errors);
    validate_sysctls(
        context.sysctls.as_deref().unwrap_or_default(),
        &path.field("sysctls"),
        errors,
    );
    let policies = ["OnRootMismatch", "Always"];
    one_of(
        &context.fs_group_change_policy,
        &policies,
        &path.field("fsGroupChangePolicy"),
        errors,
    );
    let policies = ["Merge", "Strict"];
    one_of(
        &context.supplemental_groups_policy,
        &policies,
        &path.field("supplementalGroupsPolicy"),
        errors,
    );
}

/// Upstream's grammar of names of sysctls (`SysctlContainSlashFmt`), as its message shows it.
const SYSCTL: &str = "must have at most 253 characters and match regex \
    ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn validate_sysctls(sysctls: &[Sysctl], path: &FieldPath, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let at = path.index(index).field("name");
        if sysctl.name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl(&sysctl.name) {
            errors.push(FieldError::invalid(&at, &sysctl.name, SYSCTL));
        } else if !seen.insert(sysctl.name.replace('/', ".")) {
            errors.push(FieldError::duplicate(&at, &sysctl.name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_end = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let inner = |c: &u8| is_end(Some(*c)) || matches!(c, b'-' | b'_');
        is_end(bytes.first().copied()) && is_end(bytes.last().copied()) && bytes.iter().all(inner)
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_part)
}

/// Checks a container's security context.
pub fn validate_container_context(context: &SecurityContext, path: &FieldPath, errors: &mut ErrorList) {
    validate_id(context.run_as_user, &path.field("runAsUser"), errors);
    validate_id(context.run_as_group, &path.field("runAsGroup"), errors);
    validate_seccomp(context.seccomp_profile.as_ref(), path, errors);
    match context.proc_mount.as_deref().unwrap_or_default() {
        "" | "Default" | "Unmasked" => {}
        other => errors.push(FieldError::not_supported(
            &path.field("procMount"),
            other,
            &["Default", "Unmasked"],
        )),
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, context, detail));
        }
        let added = context
            .capabilities
            .iter()
            .flat_map(|capabilities| capabilities.add.iter().flatten());
        if added
            .into_iter()
            .any(|name| matches!(name.as_str(), "CAP_SYS_ADMIN" | "SYS_ADMIN"))
        {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context, detail));
        }
    }
}

fn validate_id(id: Option<i64>, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.push(FieldError::invalid(
            path,
            &id,
            "must be between 0 and 2147483647, inclusive",
        ));
    }
}

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &FieldPath, errors: &mut ErrorList) {
    let Some(profile) = profile else { return };
    let at = path.field("seccompProfile");
    let local = profile.localhost_profile.as_deref().unwrap_or_default();
    match profile.type_.as_str() {
        "" => errors.push(FieldError::required(
            &at.field("type"),
            "type is required when seccompProfile is set",
        )),
        "Localhost" if local.is_empty() => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(&at.field("localhostProfile"), detail));
        }
        "Localhost" => volume::validate_relative_path(local, &at.field("localhostProfile"), errors),
        "RuntimeDefault" | "Unconfined" => {
            if !local.is_empty() {
                let detail = "can only be set when seccomp type is Localhost";
                errors.push(FieldError::invalid(&at.field("localhostProfile"), &local, detail));
            }
        }
        other => {
            let supported = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(FieldError::not_supported(&at.field("type"), other, &supported));
        }
    }
}
