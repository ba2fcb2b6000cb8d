//! Words for resources on a command line, in all the forms that kubectl takes: `pods`, `po web db`, `pod/web deploy/api`,
//! `deploy,rs`, `all`. Pure.

use super::client::Resource;
use super::error::{CliError, Result};
use crate::model::{KINDS, Kind};

/// One kind that was asked for, and which of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The kind.
    pub kind: &'static Kind,
    /// Names; none is all of the kind.
    pub names: Vec<String>,
}

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// In the order of the arguments.
    pub items: Vec<Selected>,
}

/// The kind that a word names.
///
/// # Errors
/// In kubectl's words when there is none.
pub fn kind_named(word: &str) -> Result<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.is_named(word))
        .ok_or_else(|| CliError::usage(format_args!("the server doesn't have a resource type {word:?}")))
}

impl Selection {
    /// Reads the arguments of `get`, `delete`, `describe` and their like.
    ///
    /// # Errors
    /// In kubectl's words, when a word names no kind or the forms are mixed.
    pub fn parse(args: &[String]) -> Result<Self> {
        let Some((first, names)) = args.split_first() else {
            return Err(CliError::usage(
                "you must specify the type of resource: pods, deployments, all …",
            ));
        };
        let items = if args.iter().any(|arg| arg.contains('/')) {
            slashed(args)?
        } else {
            typed(first, names)?
        };
        Ok(Self { items })
    }

    /// Reads arguments that must name exactly one object; a bare name is one of `default_kind`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn one(args: &[String], default_kind: &'static Kind) -> Result<(&'static Kind, String)> {
        match args {
            [name] if !name.contains('/') => Ok((default_kind, name.clone())),
            _ => match Self::parse(args)?.items.as_slice() {
                [Selected { kind, names }] if names.len() == 1 => Ok((kind, names[0].clone())),
                _ => Err(CliError::usage("exactly one object must be named")),
            },
        }
    }

    /// The requests that answer it: one collection or one object each. `None` is all namespaces.
    #[must_use]
    pub fn resources(&self, namespace: Option<&str>) -> Vec<Resource> {
        let mut resources = Vec::new();
        for Selected { kind, names } in &self.items {
            let collection = Resource::collection(kind, namespace);
            if names.is_empty() {
                resources.push(collection);
                continue;
            }
            resources.extend(names.iter().map(|name| Resource {
                name: Some(name.clone()),
                ..collection.clone()
            }));
        }
        resources
    }

    /// Whether any object is named.
    #[must_use]
    pub fn has_names(&self) -> bool {
        self.items.iter().any(|item| !item.names.is_empty())
    }
}

/// `pod/web deploy/api`: every argument brings its kind.
fn slashed(args: &[String]) -> Result<Vec<Selected>> {
    let mut items: Vec<Selected> = Vec::new();
    for arg in args {
        let Some((word, name)) = arg.split_once('/') else {
            return Err(CliError::usage(format_args!(
                "there is no need to specify a resource type as a separate argument when passing arguments in \
                 resource/name form (e.g. 'get resource/<resource_name>' instead of 'get resource resource/<resource_name>')"
            )));
        };
        if name.is_empty() || name.contains('/') {
            return Err(CliError::usage(format_args!(
                "arguments in resource/name form must have a single resource and name: {arg:?}"
            )));
        }
        let kind = kind_named(word)?;
        match items.last_mut() {
            Some(last) if last.kind == kind => last.names.push(name.to_owned()),
            _ => items.push(Selected {
                kind,
                names: vec![name.to_owned()],
            }),
        }
    }
    Ok(items)
}

/// `pods`, `deploy,rs`, `pods web db`, `all`.
fn typed(words: &str, names: &[String]) -> Result<Vec<Selected>> {
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let of_category = KINDS.iter().filter(|kind| kind.categories.contains(&word));
        let before = kinds.len();
        kinds.extend(of_category);
        if kinds.len() == before {
            kinds.push(kind_named(word)?);
        }
    }
    let mut items: Vec<Selected> = Vec::new();
    for kind in kinds {
        if !items.iter().any(|item| item.kind == kind) {
            items.push(Selected {
                kind,
                names: names.to_vec(),
            });
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let selection = Selection::parse(&args)?;
        let items: Vec<String> = selection
            .items
            .iter()
            .map(|item| format!("{}[{}]", item.kind.plural, item.names.join(",")))
            .collect();
        Ok(items.join(" "))
    }

    #[test]
    fn every_form_that_kubectl_takes_is_understood() {
        for (line, wanted) in [
            ("pods", "pods[]"),
            ("po web db", "pods[web,db]"),
            ("pod/web po/db", "pods[web,db]"),
            ("pod/web deploy/api", "pods[web] deployments[api]"),
            ("deploy,rs", "deployments[] replicasets[]"),
            ("deploy,rs x", "deployments[x] replicasets[x]"),
            ("pods,po", "pods[]"),
            ("all", "pods[] services[] deployments[] replicasets[]"),
            ("deployments.apps", "deployments[]"),
            ("sources", "manifestsources[]"),
        ] {
            assert_eq!(parse(line).expect(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_kubectls_words() {
        for (line, message) in [
            ("gateway", "error: the server doesn't have a resource type \"gateway\""),
            (
                "pod/",
                "error: arguments in resource/name form must have a single resource and name: \"pod/\"",
            ),
        ] {
            assert_eq!(parse(line).expect_err(line).message, message);
        }
        assert!(
            parse("pods pod/x")
                .expect_err("mixed")
                .message
                .contains("there is no need to specify")
        );
        assert!(
            parse("")
                .expect_err("nothing")
                .message
                .contains("you must specify the type of resource")
        );
    }

    #[test]
    fn a_bare_name_is_one_of_the_default_kind() {
        let pod = crate::model::kind("v1", "Pod").expect("in the table");
        let one = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Selection::one(&args, pod).map(|(kind, name)| format!("{}/{name}", kind.singular))
        };
        assert_eq!(one("web").expect("a pod"), "pod/web");
        assert_eq!(one("deploy/web").expect("a deployment"), "deployment/web");
        assert!(one("pods").is_ok_and(|named| named == "pod/pods"));
        assert!(one("pod/a pod/b").is_err());
    }
}
