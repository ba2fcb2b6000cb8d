//! `why`: which line of which file, base, patch or generator each field of an object comes from.

use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::client::{Node, Resource};
use super::context::{Context, write};
use super::down::source_kind;
use super::error::{CliError, Result};
use super::files::{Files, Manifest};
use super::resource::Selection;
use super::{node, print};
use crate::admit::{DEFAULT_NAMESPACE, FieldPath};
use crate::model::{self, Kind, Object, SOURCE, SourceSpec};

/// How much of a value is shown: enough to know it again.
const MAX_SHOWN: usize = 60;

/// How many owners are followed: a Pod's ReplicaSet and its Deployment are two.
const MAX_OWNERS: usize = 8;

/// Show which line of which file each field of an object comes from.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The object
    #[arg(value_name = "TYPE/NAME")]
    object: String,
    /// Only this field and what is in it: spec.replicas, spec.template.spec.containers[0].image
    #[arg(value_name = "FIELD")]
    field: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// An object, and the files that may name it.
struct Asked {
    resource: Resource,
    files: Vec<Files>,
    /// Of objects that name none.
    namespace: String,
}

/// Runs `why`.
///
/// # Errors
/// When the object is in no file, the files can't be read, or they do not name the field.
pub async fn run(args: &WhyArgs, context: &Context) -> Result {
    let pods = model::kind("v1", "Pod").expect("in the table");
    let (kind, name) = Selection::one(std::slice::from_ref(&args.object), pods)?;
    let resource = Resource::object(kind, context.namespace(), &name);
    let asked = match args.files.is_empty() {
        true => ask_node(&node::connect().await?, resource).await?,
        false => Asked {
            resource,
            files: vec![args.files.clone()],
            namespace: context.namespace().to_owned(),
        },
    };
    let mut manifests = Vec::new();
    for files in &asked.files {
        manifests.extend(files.read(&asked.namespace)?);
    }
    let manifest = manifests
        .iter()
        .find(|manifest| manifest.resource == asked.resource)
        .ok_or_else(|| CliError::local(format_args!("{}: no file names it", shown(&asked.resource))))?;
    let field = args.field.as_deref().unwrap_or_default();
    write(&print::elastic(&table(manifest, field)?))
}

/// Follows an object to the one that a file names, and finds the file.
async fn ask_node(node: &Node, resource: Resource) -> Result<Asked> {
    let mut resource = resource;
    for _ in 0..MAX_OWNERS {
        let object = node.get(&resource, &[]).await?;
        let object = Object::new(object).ok_or_else(|| CliError::local("the node answers with something else"))?;
        if let Some(owner) = object.controller() {
            let kind = kind_of_owner(&owner.kind)
                .ok_or_else(|| CliError::local(format_args!("{}: its owner is a {}", shown(&resource), owner.kind)))?;
            let namespace = resource.namespace.clone().unwrap_or_default();
            let next = Resource::object(kind, &namespace, &owner.name);
            eprintln!("{} is made by {}", shown(&resource), shown(&next));
            resource = next;
            continue;
        }
        let source = object.annotations().get(SOURCE).map(|name| (*name).to_owned());
        let source = source.ok_or_else(|| {
            CliError::local(format_args!("{}: no watched file names it", shown(&resource)))
                .with_hint("if it was applied from a file, name that with -f")
        })?;
        return of_source(node, resource, &source).await;
    }
    Err(CliError::local("its owners own each other"))
}

async fn of_source(node: &Node, resource: Resource, source: &str) -> Result<Asked> {
    let source = node.get(&Resource::object(source_kind(), "", source), &[]).await?;
    let spec: SourceSpec = serde_json::from_value(source["spec"].clone())
        .map_err(|error| CliError::local(format_args!("the source can't be read: {error}")))?;
    if spec.paths.is_empty() {
        return Err(CliError::local(format_args!(
            "{}: it came through standard input",
            shown(&resource)
        )));
    }
    let files = spec
        .paths
        .iter()
        .map(|path| Files::of_path(Path::new(path), spec.external));
    Ok(Asked {
        files: files.collect(),
        namespace: match spec.namespace.as_str() {
            "" => DEFAULT_NAMESPACE.to_owned(),
            named => named.to_owned(),
        },
        resource,
    })
}

fn kind_of_owner(name: &str) -> Option<&'static Kind> {
    model::KINDS.iter().find(|kind| kind.kind == name)
}

fn shown(resource: &Resource) -> String {
    print::full_name(resource.kind, resource.name.as_deref().unwrap_or_default())
}

/// Field, value and place, a line each.
fn table(manifest: &Manifest, field: &str) -> Result<String> {
    let rows = manifest.fields(&FieldPath::from(field));
    if rows.is_empty() {
        return Err(CliError::local(format_args!(
            "{}: no file names {field}: it has its default, or someone else set it",
            shown(&manifest.resource)
        )));
    }
    let here = std::env::current_dir().unwrap_or_default();
    let mut text = "FIELD\tVALUE\tWHERE\n".to_owned();
    for (path, value, location) in rows {
        let place = location.to_string();
        let place = Path::new(&place).strip_prefix(&here).unwrap_or(Path::new(&place));
        text.push_str(&format!("{path}\t{}\t{}\n", brief(value), place.display()));
    }
    Ok(text)
}

/// The beginning of a value, on one line.
fn brief(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line
        .chars()
        .take(MAX_SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.trim_end().len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(files: &[(&str, &str)], field: &str) -> Result<Vec<String>> {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = tmp.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let manifests = Files::of_path(&tmp.path().join("over"), false).read("default")?;
        let text = table(&manifests[0], field)?;
        let root = format!("{}/", tmp.path().canonicalize().expect("there").display());
        Ok(text.lines().skip(1).map(|line| line.replace(&root, "")).collect())
    }

    const OVERLAY: [(&str, &str); 3] = [
        (
            "over/kustomization.yaml",
            "resources: [../base]\nnamePrefix: dev-\nconfigMapGenerator:\n- name: settings\n  behavior: merge\n  literals: [k=v]\n",
        ),
        ("base/kustomization.yaml", "resources: [map.yaml]\n"),
        (
            "base/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  own: |\n    two\n    lines\n",
        ),
    ];

    #[test]
    fn each_field_is_shown_with_the_line_that_it_comes_from() {
        let mut files = OVERLAY;
        files[0].1 = "resources: [../base]\nnamePrefix: dev-\n";
        let all = rows(&files, "").expect("built");
        assert!(
            all.contains(&"metadata.name\tdev-settings\tover/kustomization.yaml:2:1".to_owned()),
            "{all:#?}"
        );
        let own = rows(&files, "data").expect("built");
        assert_eq!(own, ["data.own\ttwo…\tbase/map.yaml:6:1"]);
    }

    #[test]
    fn a_field_that_no_file_names_is_said_to_be_none() {
        let mut files = OVERLAY;
        files[0].1 = "resources: [../base]\n";
        let error = rows(&files, "immutable").expect_err("no such field").message;
        assert!(error.contains("configmap/settings: no file names immutable"), "{error}");
    }
}
