//! Charts beside `kubectl kustomize --enable-helm`, rendered by one helm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubelocal::kustomize::{Disk, Options, Programs, build};

const CHART: [(&str, &str); 4] = [
    ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
    ("values.yaml", "replicas: 1\nimage: nginx\nnested: {a: 1, b: [1, 2]}\n"),
    (
        "templates/all.yaml",
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
  namespace: {{ .Release.Namespace }}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
      - {name: main, image: \"{{ .Values.image }}\", args: {{ .Values.nested.b | toJson }}}
---
{{- if .Capabilities.APIVersions.Has \"foo/v1\" }}
apiVersion: v1
kind: ConfigMap
metadata: {name: has-foo}
data: {version: \"{{ .Capabilities.KubeVersion.Version }}\", a: \"{{ .Values.nested.a }}\"}
{{- end }}
",
    ),
    (
        "templates/tests/test.yaml",
        "\
apiVersion: v1
kind: Pod
metadata:
  name: test
  annotations: {\"helm.sh/hook\": test}
spec: {containers: [{name: c, image: busybox}]}
",
    ),
];

/// Kustomizations, and whether they can be built.
const CASES: [(&str, bool); 7] = [
    ("helmCharts:\n- {name: web, releaseName: rel}\n", true),
    (
        "\
namespace: dev
namePrefix: p-
helmCharts:
- name: web
  releaseName: rel
  namespace: other
  includeCRDs: true
  skipTests: true
  valuesInline: {replicas: 3, nested: {a: 5}}
  apiVersions: [foo/v1]
  kubeVersion: '1.30.0'
",
        true,
    ),
    (
        "\
namespace: dev
helmGlobals: {chartHome: ./charts}
helmCharts:
- name: web
  releaseName: rel
  skipHooks: true
  valuesFile: own.yaml
  additionalValuesFiles: [more.yaml]
  valuesInline: {image: inline}
  valuesMerge: merge
images: [{name: more, newTag: '2'}]
",
        true,
    ),
    (
        "\
helmCharts:
- name: web
  releaseName: rel
  valuesMerge: merge
  valuesInline: {replicas: 4, nested: {c: null, d: {e: f}}}
",
        true,
    ),
    (
        "\
namespace: dev
helmChartInflationGenerator:
- {chartName: web, releaseName: rel, releaseNamespace: ns, values: own.yaml}
",
        true,
    ),
    (
        "\
helmCharts:
- name: web
  nameTemplate: '{{ .Values.image }}-x'
  valuesInline: {image: only}
  valuesMerge: replace
",
        false,
    ),
    ("helmCharts:\n- {name: none, releaseName: rel}\n", false),
];

fn helm() -> Option<PathBuf> {
    let program = super::reference("KUBELOCAL_TEST_HELM", "helm4", "helm");
    let ran = Command::new(&program).arg("version").output().ok()?;
    ran.status.success().then_some(program)
}

fn put(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, text).expect("written");
}

#[test]
fn charts_are_rendered_as_the_installed_kubectl_renders_them() {
    let Some(helm) = helm() else {
        eprintln!("SKIPPED: no helm here; no chart was rendered");
        return;
    };
    let kubectl = super::kubectl();
    if kubectl.is_none() {
        eprintln!("SKIPPED in part: no kubectl with Kustomize 5.8 here; charts were rendered and not compared with it");
    }
    let programs = Programs {
        helm: Some(helm.clone()),
        repositories: None,
    };
    let options = Options {
        enable_helm: true,
        ..Options::default()
    };
    for (kustomization, is_good) in CASES {
        let root = tempfile::tempdir().expect("a temporary directory");
        let real = fs::canonicalize(root.path()).expect("there");
        put(&real, "kustomization.yaml", kustomization);
        put(&real, "own.yaml", "replicas: 7\n");
        put(&real, "more.yaml", "image: more\n");
        for (name, text) in CHART {
            put(&real, &format!("charts/web/{name}"), text);
        }
        let path = real.to_str().expect("a path of text");
        let ours = build(&Disk::default(), &programs, path, &options);
        assert_eq!(ours.is_ok(), is_good, "{kustomization}: {:?}", ours.as_ref().err());
        if let Ok(built) = &ours {
            assert!(
                built
                    .looked_at
                    .contains(&format!("{path}/charts/web/templates/all.yaml"))
            );
            assert!(built.listed.contains(&format!("{path}/charts/web/templates/tests")));
        }
        let Some(kubectl) = &kubectl else { continue };
        let mut command = Command::new(kubectl);
        command.args(["kustomize", "--enable-helm", "--helm-command"]);
        let theirs = command.arg(&helm).arg(path).output().expect("kubectl runs");
        assert_eq!(theirs.status.success(), is_good, "{kustomization}");
        let ours = ours.map(|built| built.text()).unwrap_or_default();
        assert_eq!(ours, String::from_utf8_lossy(&theirs.stdout), "{kustomization}");
    }
}
