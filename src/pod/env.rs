//! A container's environment and the `$(VAR)` references to it (kubelet `makeEnvironmentVariables`,
//! `third_party/forked/golang/expansion`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource, Pod};
use serde_json::Value;

use crate::model::{Lookup, Object, downward};

/// Why a container's configuration can't be made (`CreateContainerConfigError`). The texts are kubelet's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A ConfigMap or Secret is not there.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there, but the key is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A value that can't be what it stands for.
    #[error("{0}")]
    Invalid(String),
}

/// Names and values in order; a later value of a name replaces the earlier one in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// The image's environment, then the links of Services, `envFrom` and `env`, each seeing what stands before it.
    ///
    /// # Errors
    /// When something that is not optional is missing.
    pub fn of(pod: &Pod, container: &Container, image: &[String], lookup: &Lookup<'_>) -> Result<Self, ConfigError> {
        let mut env = Self::default();
        for entry in image {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            env.set(name, value);
        }
        let mut declared = Self(lookup.links.to_vec());
        for source in container.env_from.iter().flatten() {
            declared.extend_from(source, pod, lookup)?;
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = declared.value_of(variable, pod, container, lookup)? {
                declared.set(&variable.name, &value);
            }
        }
        declared.0.iter().for_each(|(name, value)| env.set(name, value));
        Ok(env)
    }

    /// Replaces `$(NAME)` by values; `$$(NAME)` is the text `$(NAME)`, and unknown names stay as they are.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            rest = self.expand_operator(rest, &mut out);
        }
        out + rest
    }

    /// `NAME=value`, as a process gets them.
    pub fn into_entries(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// Writes what stands after a `$` and returns the text behind it.
    fn expand_operator<'t>(&self, rest: &'t str, out: &mut String) -> &'t str {
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            return after;
        }
        let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) else {
            out.push('$');
            return rest;
        };
        match self.get(name) {
            Some(value) => out.push_str(value),
            None => out.push_str(&format!("$({name})")),
        }
        after
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn extend_from(&mut self, source: &EnvFromSource, pod: &Pod, lookup: &Lookup<'_>) -> Result<(), ConfigError> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (Source::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (Source::Secret, &secret.name, secret.optional),
            (None, None) => return Ok(()),
        };
        let Some(object) = kind.find(name, optional, pod, lookup)? else {
            return Ok(());
        };
        for (key, value) in kind.texts(&object) {
            self.set(&format!("{prefix}{key}"), &value?);
        }
        Ok(())
    }

    fn value_of(
        &self,
        variable: &EnvVar,
        pod: &Pod,
        container: &Container,
        lookup: &Lookup<'_>,
    ) -> Result<Option<String>, ConfigError> {
        match &variable.value_from {
            None => Ok(Some(self.expand(variable.value.as_deref().unwrap_or_default()))),
            Some(source) => value_from(source, pod, container, lookup),
        }
    }
}

fn value_from(
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    lookup: &Lookup<'_>,
) -> Result<Option<String>, ConfigError> {
    if let Some(key) = &source.config_map_key_ref {
        return Source::ConfigMap.value(&key.name, &key.key, key.optional, pod, lookup);
    }
    if let Some(key) = &source.secret_key_ref {
        return Source::Secret.value(&key.name, &key.key, key.optional, pod, lookup);
    }
    if let Some(field) = &source.field_ref {
        let value = downward::field_value(field, pod, lookup);
        return value.map(Some).map_err(ConfigError::Invalid);
    }
    if let Some(field) = &source.resource_field_ref {
        let value = downward::resource_value(field, pod, Some(container), lookup);
        return value.map(Some).map_err(ConfigError::Invalid);
    }
    Err(ConfigError::Invalid(
        "an environment variable's valueFrom names no source".to_owned(),
    ))
}

/// Where values come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    ConfigMap,
    Secret,
}

impl Source {
    fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    fn find(
        self,
        name: &str,
        optional: Option<bool>,
        pod: &Pod,
        lookup: &Lookup<'_>,
    ) -> Result<Option<std::sync::Arc<Object>>, ConfigError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let found = (lookup.find)(self.kind(), namespace, name);
        if found.is_none() && optional != Some(true) {
            let kind = match self {
                Self::ConfigMap => "configmap",
                Self::Secret => "secret",
            };
            return Err(ConfigError::Missing {
                kind,
                name: name.to_owned(),
            });
        }
        Ok(found)
    }

    fn value(
        self,
        name: &str,
        key: &str,
        optional: Option<bool>,
        pod: &Pod,
        lookup: &Lookup<'_>,
    ) -> Result<Option<String>, ConfigError> {
        let Some(object) = self.find(name, optional, pod, lookup)? else {
            return Ok(None);
        };
        match self.texts(&object).find(|(k, _)| *k == key) {
            Some((_, value)) => value.map(Some),
            None if optional == Some(true) => Ok(None),
            None => {
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                Err(ConfigError::MissingKey {
                    kind: self.kind(),
                    namespace,
                    name: name.to_owned(),
                    key: key.to_owned(),
                })
            }
        }
    }

    /// The entries as text; those that are not text are an error when used.
    fn texts(self, object: &Object) -> impl Iterator<Item = (&str, Result<String, ConfigError>)> {
        let entries = object.at("/data").and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), self.text(key, value.as_str().unwrap_or_default())))
    }

    fn text(self, key: &str, value: &str) -> Result<String, ConfigError> {
        match self {
            Self::ConfigMap => Ok(value.to_owned()),
            Self::Secret => {
                let bytes = STANDARD.decode(value).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                text.ok_or_else(|| ConfigError::Invalid(format!("the secret's value of {key:?} is not text")))
            }
        }
    }
}
