//! An overlay as large as real ones get: many applications in a base, and all of them changed above it.

use std::fmt::Write as _;

/// A deployment, its service and its configuration.
fn application(number: usize) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{number}
  labels: {{app: app-{number}}}
spec:
  replicas: 1
  selector:
    matchLabels: {{app: app-{number}}}
  template:
    metadata:
      labels: {{app: app-{number}}}
    spec:
      serviceAccountName: web
      containers:
      - name: main
        image: nginx:1.25
        args: [--port=8080, --verbose]
        ports:
        - {{containerPort: 8080, name: http}}
        envFrom:
        - configMapRef: {{name: settings-{number}}}
        env:
        - {{name: LOG, value: info}}
        - name: TOKEN
          valueFrom: {{secretKeyRef: {{name: shared, key: token}}}}
        resources:
          requests: {{cpu: 100m, memory: 64Mi}}
          limits: {{memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata: {{name: app-{number}}}
spec:
  selector: {{app: app-{number}}}
  ports:
  - {{name: http, port: 80, targetPort: http}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings-{number}}}
data:
  host: app-{number}.example.org
  config.yaml: |
    a: 1
    b: two
"
    )
}

const TOP: &str = "\
resources: [../base]
namespace: dev
namePrefix: dev-
labels:
- pairs: {env: dev}
  includeSelectors: true
images:
- {name: nginx, newTag: \"1.27\"}
patches:
- path: patch.yaml
secretGenerator:
- name: shared
  literals: [token=abc]
";

const PATCH: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-0}
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: main
        env:
        - {name: LOG, value: debug}
";

/// A file of the base; each edit gives it another content.
pub(crate) fn file(number: usize, edit: usize) -> (String, String) {
    let text = application(number).replace("value: info", &format!("value: level-{edit}"));
    (format!("base/app-{number}.yaml"), text)
}

/// The overlay's patch; each edit gives it another content.
pub(crate) fn patch(edit: usize) -> String {
    PATCH.replace("replicas: 3", &format!("replicas: {}", 3 + edit))
}

/// The files of an overlay of `count` resources, whose directory is `top`.
pub(crate) fn overlay(count: usize) -> Vec<(String, String)> {
    let numbers = 0..count.div_ceil(3);
    let mut list = "resources:\n".to_owned();
    for number in numbers.clone() {
        writeln!(list, "- app-{number}.yaml").expect("written");
    }
    let patch = patch(0);
    let own = [
        ("base/kustomization.yaml", list.as_str()),
        ("top/kustomization.yaml", TOP),
        ("top/patch.yaml", patch.as_str()),
    ];
    let own = own.map(|(name, text)| (name.to_owned(), text.to_owned()));
    own.into_iter().chain(numbers.map(|number| file(number, 0))).collect()
}
