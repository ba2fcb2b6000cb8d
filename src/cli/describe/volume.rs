//! Volumes of pods and of templates (`describeVolumes` of kubectl).

use serde_json::Value;

use super::sheet::{Place, Sheet, list, plain, text};

pub(super) fn describe(volumes: &[Value], place: Place, sheet: &mut Sheet) {
    sheet.line(
        place.level(),
        if volumes.is_empty() {
            "Volumes:\t<none>"
        } else {
            "Volumes:"
        },
    );
    for volume in volumes {
        sheet.name(place, text(volume, "/name"));
        let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
        if let Some((kind, source)) = source {
            describe_source(kind, source, sheet);
        }
    }
}

fn describe_source(kind: &str, source: &Value, sheet: &mut Sheet) {
    let optional = || flag(source, "optional");
    let (words, fields) = match kind {
        "configMap" => (
            "ConfigMap (a volume populated by a ConfigMap)",
            vec![("Name", text(source, "/name").to_owned()), ("Optional", optional())],
        ),
        "secret" => (
            "Secret (a volume populated by a Secret)",
            vec![
                ("SecretName", text(source, "/secretName").to_owned()),
                ("Optional", optional()),
            ],
        ),
        "emptyDir" => (
            "EmptyDir (a temporary directory that shares a pod's lifetime)",
            vec![
                ("Medium", text(source, "/medium").to_owned()),
                (
                    "SizeLimit",
                    source.get("sizeLimit").map_or_else(|| "<unset>".to_owned(), plain),
                ),
            ],
        ),
        "hostPath" => (
            "HostPath (bare host directory volume)",
            vec![
                ("Path", text(source, "/path").to_owned()),
                (
                    "HostPathType",
                    source.get("type").map_or_else(|| "<none>".to_owned(), plain),
                ),
            ],
        ),
        "persistentVolumeClaim" => (
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
            vec![
                ("ClaimName", text(source, "/claimName").to_owned()),
                ("ReadOnly", flag(source, "readOnly")),
            ],
        ),
        "projected" => (
            "Projected (a volume that contains injected data from multiple sources)",
            list(source, "/sources").iter().flat_map(projected).collect(),
        ),
        "downwardAPI" => (
            "DownwardAPI (a volume populated by information about the pod)",
            Vec::new(),
        ),
        _ => return describe_other(kind, source, sheet),
    };
    sheet.field(2, "Type", words);
    for (name, value) in fields {
        sheet.cell(2, name, &value);
    }
    if kind == "downwardAPI" {
        sheet.line(2, "Items:");
    }
    for item in list(source, "/items").iter().filter(|_| kind == "downwardAPI") {
        let what = [
            text(item, "/fieldRef/fieldPath"),
            text(item, "/resourceFieldRef/resource"),
        ]
        .concat();
        sheet.line(3, &format!("{what} -> {}", text(item, "/path")));
    }
}

fn flag(source: &Value, name: &str) -> String {
    source.get(name).map_or_else(|| "false".to_owned(), plain)
}

fn projected(source: &Value) -> Vec<(&'static str, String)> {
    let optional = |of: &Value| of.get("optional").map_or_else(|| "<nil>".to_owned(), plain);
    let name = |of: &Value| text(of, "/name").to_owned();
    if let Some(secret) = source.get("secret") {
        vec![("SecretName", name(secret)), ("SecretOptionalName", optional(secret))]
    } else if source.get("downwardAPI").is_some() {
        vec![("DownwardAPI", "true".to_owned())]
    } else if let Some(map) = source.get("configMap") {
        vec![("ConfigMapName", name(map)), ("ConfigMapOptional", optional(map))]
    } else if let Some(seconds) = source.pointer("/serviceAccountToken/expirationSeconds") {
        vec![("TokenExpirationSeconds", plain(seconds))]
    } else {
        Vec::new()
    }
}

/// A kind of volume of which kubectl has no words of its own to take over: its plain fields.
fn describe_other(kind: &str, source: &Value, sheet: &mut Sheet) {
    let title = |name: &str| {
        let mut letters = name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    sheet.field(2, "Type", &title(kind));
    for (name, value) in source.as_object().into_iter().flatten() {
        if !value.is_object() && !value.is_array() {
            sheet.field(2, &title(name), &plain(value));
        }
    }
}
