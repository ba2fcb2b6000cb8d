//! Overlays made at random, and shrunk to the smallest on which we and the reference differ.

use std::fmt::Write as _;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::Case;

/// Texts that readers and printers of YAML like to get wrong, as they are written in a flow mapping.
fn scalar() -> impl Strategy<Value = String> {
    let fixed = [
        "1",
        "\"1\"",
        "true",
        "\"true\"",
        "yes",
        "\"yes\"",
        "null",
        "~",
        "\"\"",
        "''",
        "1.50",
        "1e3",
        "\"1e3\"",
        "0x1F",
        "0644",
        "-0.0",
        "2021-01-01",
        "\"2021-01-01\"",
        "\"a: b\"",
        "\"a #b\"",
        "'it''s'",
        "\"x\\ny\\n\"",
        "\" lead\"",
        "\"trail \"",
        "\"- a\"",
        "\"<&>\"",
        "plain text",
        "\"$(A)\"",
        "é",
        "\"\\t\"",
        "\"a long text that is longer than eighty characters, so that it has to be folded: somewhere\"",
        "12345678901234567890",
        ".5",
        "\"*\"",
        "\"0o7\"",
        "\"1_000\"",
    ];
    prop_oneof![4 => select(fixed.to_vec()).prop_map(str::to_owned), 1 => "[a-z]{1,8}", 1 => "-?[0-9]{1,6}(\\.[0-9]{1,3})?"]
}

/// Values below `spec` of a custom resource.
fn tree() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            btree_map("[a-e]", inner, 0..3).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .into_iter()
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}

fn texts() -> impl Strategy<Value = String> {
    btree_map("[a-c]", select(vec!["x", "\"1\"", "\"true\"", "\"\"", "y.z/w"]), 0..3).prop_map(|texts| {
        let texts: Vec<String> = texts
            .into_iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        format!("{{{}}}", texts.join(", "))
    })
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["web", "api", "conf", "db"]).prop_map(str::to_owned)
}

fn container() -> impl Strategy<Value = String> {
    let env = vec((select(vec!["A", "B", "C"]), scalar()), 0..3);
    (
        select(vec!["main", "side"]),
        select(vec!["nginx", "nginx:1.25", "host.io/team/app:v1", "nginx@sha256:ab"]),
        env,
        any::<bool>(),
    )
        .prop_map(|(name, image, env, refers)| {
            let mut text = format!("{{name: {name}, image: \"{image}\", ports: [{{containerPort: 80}}], env: [");
            for (name, value) in env {
                write!(text, "{{name: {name}, value: {value}}}, ").expect("written");
            }
            text.push(']');
            if refers {
                text.push_str(", envFrom: [{configMapRef: {name: conf}}, {secretRef: {name: gen}}]");
            }
            text + "}"
        })
}

fn resource() -> impl Strategy<Value = String> {
    let metadata = (
        name(),
        option::of(texts()),
        option::of(texts()),
        option::of(select(vec!["one", "two"])),
    )
        .prop_map(|(name, labels, annotations, namespace)| {
            let mut text = format!("metadata:\n  name: {name}\n");
            for (field, value) in [
                ("labels", labels),
                ("annotations", annotations),
                ("namespace", namespace.map(str::to_owned)),
            ] {
                if let Some(value) = value {
                    writeln!(text, "  {field}: {value}").expect("written");
                }
            }
            text
        });
    let pods = vec(container(), 1..3)
        .prop_map(|containers| format!("containers: [{}], serviceAccountName: web", containers.join(", ")));
    (metadata, pods, tree(), vec(("[a-d]", scalar()), 0..4), 0..7_u8).prop_map(|(metadata, pods, tree, data, kind)| {
        let template = format!("template: {{metadata: {{labels: {{app: x}}}}, spec: {{{pods}}}}}");
        match kind {
            0 => format!("apiVersion: apps/v1\nkind: Deployment\n{metadata}spec: {{replicas: 1, selector: {{matchLabels: {{app: x}}}}, {template}}}\n"),
            1 => format!("apiVersion: apps/v1\nkind: StatefulSet\n{metadata}spec: {{serviceName: web, {template}}}\n"),
            2 => format!("apiVersion: batch/v1\nkind: CronJob\n{metadata}spec: {{jobTemplate: {{spec: {{{template}}}}}}}\n"),
            3 => format!("apiVersion: v1\nkind: Service\n{metadata}spec: {{selector: {{app: x}}, ports: [{{port: 80}}]}}\n"),
            4 => format!("apiVersion: example.com/v1\nkind: Foo\n{metadata}spec: {tree}\n"),
            5 => format!("apiVersion: v1\nkind: ServiceAccount\n{metadata}"),
            _ => {
                let mut text = format!("apiVersion: v1\nkind: ConfigMap\n{metadata}data:\n");
                let data: std::collections::BTreeMap<String, String> = data.into_iter().collect();
                for (key, value) in data {
                    writeln!(text, "  {key}: {value}").expect("written");
                }
                text
            }
        }
    })
}

fn patch() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        select(vec!["Deployment", "ConfigMap", "Service", ".*Set", "Foo"]).prop_map(|kind| format!("kind: \"{kind}\"")),
        name().prop_map(|name| format!("name: {name}")),
        Just("labelSelector: \"a\"".to_owned()),
    ];
    let merge = (texts(), tree(), container()).prop_map(|(labels, tree, container)| {
        format!(
            "apiVersion: v1\n    kind: Any\n    metadata:\n      name: any\n      labels: {labels}\n    spec:\n      extra: {tree}\n      \
             template: {{spec: {{containers: [{container}]}}}}\n"
        )
    });
    let json = (
        select(vec!["add", "replace", "remove", "test"]),
        select(vec![
            "/metadata/labels",
            "/spec/x",
            "/metadata/annotations/a",
            "/data/a",
            "/spec/template/spec/containers/0/image",
        ]),
        scalar(),
    )
        .prop_map(|(op, path, value)| {
            format!(
                "[{{\"op\": \"{op}\", \"path\": \"{path}\", \"value\": {}}}]\n",
                if value.starts_with('"') { value } else { "5".to_owned() }
            )
        });
    (target, prop_oneof![2 => merge, 1 => json])
        .prop_map(|(target, patch)| format!("- target: {{{target}}}\n  patch: |-\n    {patch}"))
}

/// The lines of a kustomization beside its resources.
fn fields() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        select(vec!["namePrefix: p-\n", "nameSuffix: -s\n", "namespace: ns\n", "namePrefix: \"1\"\n", "generatorOptions: {disableNameSuffixHash: true}\n"]).prop_map(str::to_owned),
        texts().prop_map(|labels| format!("commonLabels: {labels}\n")),
        texts().prop_map(|texts| format!("commonAnnotations: {texts}\n")),
        (texts(), any::<bool>(), any::<bool>()).prop_map(|(pairs, selectors, templates)| {
            format!("labels:\n- pairs: {pairs}\n  includeSelectors: {selectors}\n  includeTemplates: {templates}\n")
        }),
        select(vec!["{name: nginx, newTag: \"2\"}", "{name: nginx, newName: apache, digest: \"sha256:ff\"}", "{name: \".*app\", newTag: v2}"])
            .prop_map(|image| format!("images:\n- {image}\n")),
        vec(patch(), 1..3).prop_map(|patches| format!("patches:\n{}", patches.concat())),
        vec(("[a-c]", scalar()), 1..3).prop_map(|data| {
            let data: std::collections::BTreeMap<String, String> = data.into_iter().collect();
            let literals: Vec<String> = data.into_iter().map(|(key, value)| format!("'{key}={}'", value.replace('\'', "''"))).collect();
            format!("secretGenerator:\n- name: gen\n  literals: [{}]\n", literals.join(", "))
        }),
        (name(), select(vec!["metadata.name", "data.a", "metadata.labels.a", "spec.replicas"]), select(vec!["metadata.annotations.a", "spec.x.y", "data.b", "spec.template.spec.containers.*.image"]))
            .prop_map(|(name, from, to)| {
                format!("replacements:\n- source: {{name: {name}, fieldPath: {from}}}\n  targets:\n  - select: {{kind: \"Deployment|ConfigMap\"}}\n    fieldPaths: [{to}]\n    options: {{create: true}}\n")
            }),
        Just("sortOptions: {order: fifo}\n".to_owned()),
        Just("buildMetadata: [originAnnotations, transformerAnnotations]\n".to_owned()),
    ];
    vec(field, 0..4).prop_map(|fields| {
        // A field that stands twice would be decoded by chance.
        let mut seen = std::collections::BTreeSet::new();
        fields
            .into_iter()
            .filter(|field| seen.insert(field.split(':').next().unwrap_or_default().to_owned()))
            .collect()
    })
}

/// An overlay over a base.
pub fn overlay() -> impl Strategy<Value = Case> {
    (vec(resource(), 1..5), vec(resource(), 0..2), fields(), fields()).prop_map(
        |(base, own, base_fields, own_fields)| {
            let file = |path: &str, text: String| (path.to_owned(), text);
            let own_resource = if own.is_empty() { "" } else { ", own.yaml" };
            Case {
                name: "random".to_owned(),
                directory: "over".to_owned(),
                has_place: false,
                files: vec![
                    file(
                        "base/kustomization.yaml",
                        format!("resources: [all.yaml]\n{base_fields}"),
                    ),
                    file("base/all.yaml", base.join("---\n")),
                    file(
                        "over/kustomization.yaml",
                        format!("resources: [../base{own_resource}]\n{own_fields}"),
                    ),
                    file("over/own.yaml", own.join("---\n")),
                ],
                recorded: None,
                ours: None,
            }
        },
    )
}
