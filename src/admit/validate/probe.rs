//! Probes and lifecycle hooks (V29 to V33).

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::path::FieldPath;
use super::container::Place;
use super::errors::{ErrorList, FieldError};
use super::names;
use crate::model::signal_number;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Checks the probes and hooks of a container that may have them.
pub fn validate_hooks_and_probes(container: &Container, place: &Place<'_>, path: &FieldPath, errors: &mut ErrorList) {
    let hooks = container.lifecycle.as_ref();
    if let Some(signal) = hooks.and_then(|hooks| hooks.stop_signal.as_deref()) {
        let at = path.field("lifecycle").field("stopSignal");
        if !place.names_os {
            let detail = "may not be set for containers with empty `spec.os.name`";
            errors.push(FieldError::forbidden(&at, detail));
        }
        if signal_number(signal).is_none() {
            errors.push(FieldError::invalid(
                &at,
                &signal,
                "must be the name of a signal, such as SIGTERM",
            ));
        }
    }
    for (field, hook) in [
        ("postStart", hooks.and_then(|hooks| hooks.post_start.as_ref())),
        ("preStop", hooks.and_then(|hooks| hooks.pre_stop.as_ref())),
    ] {
        if let Some(hook) = hook {
            validate_hook(hook, place.grace, &path.field("lifecycle").field(field), errors);
        }
    }
    for (field, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(probe) = probe {
            validate_probe(probe, field == "readinessProbe", &path.field(field), errors);
        }
    }
}

fn validate_probe(probe: &Probe, is_readiness: bool, path: &FieldPath, errors: &mut ErrorList) {
    let handlers = [
        probe.exec.is_some(),
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.grpc.is_some(),
    ];
    count_handlers(&handlers, path, errors);
    validate_exec(probe.exec.as_ref(), path, errors);
    validate_http_get(probe.http_get.as_ref(), path, errors);
    if let Some(socket) = &probe.tcp_socket {
        validate_port(&socket.port, &path.field("tcpSocket").field("port"), errors);
    }
    if let Some(grpc) = &probe.grpc {
        validate_port(&IntOrString::Int(grpc.port), &path.field("grpc").field("port"), errors);
    }
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            errors.push(FieldError::invalid(&path.field(field), &value, NOT_NEGATIVE));
        }
    }
    if let Some(threshold) = probe
        .success_threshold
        .filter(|threshold| !is_readiness && *threshold != 1)
    {
        errors.push(FieldError::invalid(
            &path.field("successThreshold"),
            &threshold,
            "must be 1",
        ));
    }
    if let Some(grace) = probe.termination_grace_period_seconds {
        let at = path.field("terminationGracePeriodSeconds");
        if is_readiness {
            errors.push(FieldError::invalid(&at, &grace, "must not be set for readinessProbes"));
        } else if grace <= 0 {
            errors.push(FieldError::invalid(&at, &grace, "must be greater than 0"));
        }
    }
}

fn validate_hook(hook: &LifecycleHandler, grace: i64, path: &FieldPath, errors: &mut ErrorList) {
    let handlers = [
        hook.exec.is_some(),
        hook.http_get.is_some(),
        hook.tcp_socket.is_some(),
        hook.sleep.is_some(),
    ];
    count_handlers(&handlers, path, errors);
    validate_exec(hook.exec.as_ref(), path, errors);
    validate_http_get(hook.http_get.as_ref(), path, errors);
    if let Some(socket) = &hook.tcp_socket {
        validate_port(&socket.port, &path.field("tcpSocket").field("port"), errors);
    }
    if let Some(sleep) = hook
        .sleep
        .as_ref()
        .filter(|sleep| sleep.seconds < 0 || sleep.seconds > grace)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(&path.field("sleep"), &sleep.seconds, detail));
    }
}

fn count_handlers(handlers: &[bool], path: &FieldPath, errors: &mut ErrorList) {
    match handlers.iter().filter(|is_set| **is_set).count() {
        0 => errors.push(FieldError::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type")),
    }
}

fn validate_exec(exec: Option<&ExecAction>, path: &FieldPath, errors: &mut ErrorList) {
    if exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        errors.push(FieldError::required(&path.field("exec").field("command"), ""));
    }
}

fn validate_http_get(get: Option<&HTTPGetAction>, path: &FieldPath, errors: &mut ErrorList) {
    let Some(get) = get else { return };
    let at = path.field("httpGet");
    if get.path.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(&at.field("path"), ""));
    }
    validate_port(&get.port, &at.field("port"), errors);
    let scheme = get.scheme.as_deref().unwrap_or_default();
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(FieldError::not_supported(
            &at.field("scheme"),
            scheme,
            &["HTTP", "HTTPS"],
        ));
    }
}

/// Checks a port that may be a number or a container port's name.
pub fn validate_port(port: &IntOrString, path: &FieldPath, errors: &mut ErrorList) {
    match port {
        IntOrString::Int(number) => {
            if let Some(message) = names::port_number((*number).into()) {
                errors.push(FieldError::invalid(path, number, message));
            }
        }
        IntOrString::String(name) => {
            for message in names::port_name(name) {
                errors.push(FieldError::invalid(path, name, message));
            }
        }
    }
}
