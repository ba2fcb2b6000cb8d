//! Descriptions, letter by letter where it matters.

use serde_json::json;

use super::*;

fn described(object: &Value) -> String {
    print::elastic(describe(object, &[]).text())
}

#[test]
fn a_pod_is_described_as_kubectl_does_it() {
    let pod = json!({
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "a"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
        "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}],
            "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "readinessProbe": {"httpGet": {"port": 80, "path": "/"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}],
            "tolerations": [{"operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5}],
            "volumes": [{"name": "v", "secret": {"secretName": "s", "optional": false}}]},
        "status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "phase": "Running", "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "ready": true, "restartCount": 1, "state": {"running": {"startedAt": "T"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
    });
    let text = described(&pod);
    for piece in [
        "Name:         web\nNamespace:    default\n",
        "Node:         n/<none>\nLabels:       app=web\n              tier=a\nAnnotations:  <none>\n",
        "IP:           10.0.0.2\nIPs:\n  IP:           10.0.0.2\nControlled By:  ReplicaSet/web-1\nContainers:\n  app:\n",
        "    Port:           80/TCP\n    Host Port:      8080/TCP\n",
        "Tolerations:     op=Exists\n                 k=v:NoExecute for 5s\n",
        "    State:          Running\n      Started:      T\n    Last State:     Terminated\n      Reason:       Error\n      Exit Code:    1\n",
        "    Readiness:      http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3\n",
        "    Ready:          True\n    Restart Count:  1\n    Environment:\n      A:  1\n      S:  <set to the key 'k' in secret 's'>\n",
        "    Mounts:\n      /v from v (ro)\n",
        "Volumes:\n  v:\n    Type:        Secret\n    Optional:    false\n    SecretName:  s\n",
    ] {
        assert!(text.contains(piece), "missing:\n{piece}\nin:\n{text}");
    }
}

#[test]
fn times_are_shown_as_kubectl_shows_them() {
    assert_eq!(sheet::date("2026-01-02T03:04:05Z"), "Fri, 02 Jan 2026 03:04:05 +0000");
    assert_eq!(sheet::date("not yet"), "not yet");
}

#[test]
fn a_secret_keeps_its_secret() {
    let secret =
        json!({"kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "data": {"password": "aHVudGVyMg=="}});
    let text = described(&secret);
    assert!(text.contains("password:  7 bytes\n"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
}

#[test]
fn events_stand_below_with_their_counts() {
    let event = json!({"type": "Warning", "reason": "BackOff", "count": 3, "message": "again", "source": {"component": "kubelet"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:04:00Z"});
    let mut sheet = Sheet::default();
    add_events(&mut sheet, &[event], "2026-01-01T00:05:00Z".parse().expect("a time"));
    assert_eq!(
        print::elastic(sheet.text()),
        "Events:\n  Type     Reason   Age               From     Message\n  \
         ----     ------   ----              ----     -------\n  \
         Warning  BackOff  60s (x3 over 5m)  kubelet  again\n"
    );
}

#[test]
fn a_source_tells_what_it_made_and_what_is_wrong() {
    let source = json!({"kind": "ManifestSource", "metadata": {"name": "s"}, "spec": {"paths": ["/a", "/b"]}, "status": {
        "objects": [{"kind": "Pod", "namespace": "default", "name": "web", "origin": "/a/web.yaml:1"}],
        "problems": [{"severity": "warning", "file": "/a/web.yaml", "line": 3, "message": "not honoured", "excerpt": "  x: 1"}]}});
    let text = described(&source);
    for piece in [
        "Paths:      /a\n            /b\n",
        "Objects:\n  Pod  default/web  /a/web.yaml:1\n",
        "  warning: /a/web.yaml:3: not honoured\n",
    ] {
        assert!(text.contains(piece), "missing:\n{piece}\nin:\n{text}");
    }
}

#[test]
fn kinds_without_a_description_of_their_own_show_every_field() {
    let volume = json!({"kind": "Volume", "metadata": {"name": "c"},
        "spec": {"volumeName": "v", "accessModes": [{"mode": 80}]}});
    let text = described(&volume);
    assert!(
        text.contains("Spec:\n  Access Modes:\n    Mode:       80\n  Volume Name:  v\n"),
        "{text}"
    );
}
