//! Descriptions, letter by letter where it matters.

use serde_json::json;

use super::*;

fn described(object: &Value) -> String {
    described_with(object, &[])
}

fn described_with(object: &Value, related: &[Value]) -> String {
    let now = "2026-01-01T00:05:00Z".parse().expect("a time");
    print::elastic(describe(object, related, now).text())
}

#[test]
fn a_pod_is_described_as_kubectl_does_it() {
    let pod = json!({
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "a"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
        "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}],
            "env": [{"name": "A", "value": "1"}, {"name": "L", "value": "a\nb"},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "resources": {"limits": {"cpu": "1500m"}},
            "readinessProbe": {"httpGet": {"port": 80, "path": "/"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}, {"name": "u", "mountPath": "/u", "subPath": "p"}]}],
            "tolerations": [{"operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5}],
            "volumes": [{"name": "v", "secret": {"secretName": "s", "optional": false}}, {"name": "u", "emptyDir": {}}]},
        "status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "phase": "Running", "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "ready": true, "restartCount": 1, "state": {"running": {"startedAt": "T"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
    });
    let text = described(&pod);
    for piece in [
        "Name:         web\nNamespace:    default\n",
        "Node:         n/<none>\nLabels:       app=web\n              tier=a\nAnnotations:  <none>\n",
        "IP:           10.0.0.2\nIPs:\n  IP:           10.0.0.2\nControlled By:  ReplicaSet/web-1\nContainers:\n  app:\n    Container ID:   \n    Image:          i\n    Image ID:       \n",
        "    Port:           80/TCP\n    Host Port:      8080/TCP\n    State:          Running\n      Started:      T\n    Last State:     \
         Terminated\n      Reason:       Error\n      Exit Code:    1\n    Ready:          True\n    Restart Count:  1\n    Limits:\n      cpu:      1500m\n    Readiness:  \
         http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3\n    Environment:\n",
        "Tolerations:     op=Exists\n                 k=v:NoExecute for 5s\n",
        "    Environment:\n      A:     1\n      L:     a\n             b\n      S:     <set to the key 'k' in secret 's'>  Optional: false\n      \
         NAME:  web (v1:metadata.name)\n      CPU:   2 (limits.cpu)\n",
        "    Mounts:\n      /u from u (rw,path=\"p\")\n      /v from v (ro)\n",
        "Volumes:\n  v:\n    Type:        Secret (a volume populated by a Secret)\n    SecretName:  s\n    Optional:    false\n  \
         u:\n    Type:        EmptyDir (a temporary directory that shares a pod's lifetime)\n    Medium:      \n    SizeLimit:   <unset>\n",
    ] {
        assert!(text.contains(piece), "missing:\n{piece}\nin:\n{text}");
    }
}

#[test]
fn a_deployment_is_described_as_kubectl_does_it() {
    let template = json!({"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}}, "spec": {
        "serviceAccountName": "default", "containers": [{"name": "c", "image": "i", "args": ["x", "y\nz"],
            "resources": {"limits": {"cpu": "1"}}}],
        "volumes": [{"name": "m", "configMap": {"name": "c"}}], "nodeSelector": {"k": "v"}, "tolerations": [{"key": "t", "operator": "Exists"}]}});
    let revision = |number: &str| json!({"deployment.kubernetes.io/revision": number});
    let deployment = json!({"kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": revision("2")},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "Recreate"}, "template": template},
        "status": {"replicas": 2, "updatedReplicas": 2, "conditions": [{"type": "Available", "status": "True", "reason": "Enough"}]}});
    let set = |name: &str, number: &str, count: u8| json!({"metadata": {"name": name, "annotations": revision(number)}, "spec": {"replicas": count}, "status": {"replicas": count}});
    let text = described_with(&deployment, &[set("web-1", "1", 0), set("web-2", "2", 2)]);
    let wanted = "\
Name:               web
Namespace:          default
CreationTimestamp:  Thu, 01 Jan 2026 00:00:00 +0000
Labels:             <none>
Annotations:        deployment.kubernetes.io/revision: 2
Selector:           app=web
Replicas:           2 desired | 2 updated | 2 total | 0 available | 0 unavailable
StrategyType:       Recreate
MinReadySeconds:    0
Pod Template:
  Labels:           app=web
  Annotations:      a: b
  Service Account:  default
  Containers:
   c:
    Image:      i
    Port:       <none>
    Host Port:  <none>
    Args:
      x
      y
      z
    Limits:
      cpu:        1
    Environment:  <none>
    Mounts:       <none>
  Volumes:
   m:
    Type:          ConfigMap (a volume populated by a ConfigMap)
    Name:          c
    Optional:      false
  Node-Selectors:  k=v
  Tolerations:     t op=Exists
Conditions:
  Type           Status  Reason  Message
  ----           ------  ------  -------
  Available      True    Enough  
OldReplicaSets:  web-1 (0/0 replicas created)
NewReplicaSet:   web-2 (2/2 replicas created)
";
    assert_eq!(text, wanted);
}

#[test]
fn a_replica_set_counts_its_pods_by_phase() {
    let set = json!({"kind": "ReplicaSet", "metadata": {"name": "web-1", "namespace": "default",
        "ownerReferences": [{"kind": "Deployment", "name": "web", "controller": true}]},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 2}});
    let pods = ["Running", "Pending", "Running"].map(|phase| json!({"status": {"phase": phase}}));
    let text = described_with(&set, &pods);
    assert!(
        text.starts_with(
            "Name:           web-1\nNamespace:      default\nSelector:       app=web\nLabels:         <none>\nAnnotations:    <none>\n\
             Controlled By:  Deployment/web\nReplicas:       2 current / 3 desired\n\
             Pods Status:    2 Running / 1 Waiting / 0 Succeeded / 0 Failed\nPod Template:\n"
        ),
        "{text}"
    );
}

#[test]
fn a_node_is_described_with_what_its_pods_ask_of_it() {
    let node = json!({"kind": "Node", "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "capacity": {"cpu": "2"}, "allocatable": {"cpu": "2", "memory": "1Gi"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "T", "lastHeartbeatTime": "H"}],
        "nodeInfo": {"osImage": "o"}}});
    let pod = |name: &str, phase: &str| {
        json!({"metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": phase},
            "spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}}]}})
    };
    let text = described_with(&node, &[pod("web", "Running"), pod("done", "Succeeded")]);
    for piece in [
        "Name:               n\nRoles:              control-plane\n",
        "Taints:             <none>\nUnschedulable:      false\nConditions:\n",
        "  Ready   True    H                  T                   R       m\nAddresses:\n  InternalIP:  192.0.2.1\nCapacity:\n  cpu:  2\n",
        "  OS Image:                   o\n",
        "Non-terminated Pods:          (1 in total)\n  Namespace                   Name    CPU Requests  CPU Limits  Memory Requests  Memory Limits  Age\n",
        "  default                     web     100m (5%)     0 (0%)      0 (0%)           64Mi (6%)      5m\nAllocated resources:\n",
        "  cpu                100m (5%)  0 (0%)\n  memory             0 (0%)     64Mi (6%)\n",
    ] {
        assert!(text.contains(piece), "missing:\n{piece}\nin:\n{text}");
    }
}

#[test]
fn a_namespace_has_neither_quotas_nor_limits() {
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "n"}, "status": {"phase": "Active"}});
    assert_eq!(
        described(&namespace),
        "Name:         n\nLabels:       <none>\nAnnotations:  <none>\nStatus:       Active\n\nNo resource quota.\n\nNo LimitRange resource.\n"
    );
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
