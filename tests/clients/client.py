"""What the Python client does, one line of output for each: its name, and "ok" or what went wrong."""

import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.stream import portforward, stream

NAMESPACE = sys.argv[1]


def pod(name, labels):
    container = client.V1Container(name="main", image="kubelocal.dev/demo", image_pull_policy="IfNotPresent", args=["serve"])
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)


def until_ready(core, name):
    for _ in range(600):
        found = core.read_namespaced_pod(name, NAMESPACE)
        if any(c.type == "Ready" and c.status == "True" for c in found.status.conditions or []):
            return
        time.sleep(0.1)
    raise TimeoutError(name)


def create(core):
    core.create_namespaced_pod(NAMESPACE, pod("python", {"app": "python"}))
    until_ready(core, "python")


def list_(core):
    names = [p.metadata.name for p in core.list_namespaced_pod(NAMESPACE, label_selector="app=python").items]
    assert names == ["python"], names


def watch_(core):
    seen = []
    for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, timeout_seconds=20):
        seen.append(event["object"].metadata.name)
        if seen[-1] == "watched":
            return
        if len(seen) == 1:
            body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="watched"), data={"a": "b"})
            threading.Thread(target=lambda: core.create_namespaced_config_map(NAMESPACE, body)).start()
    raise AssertionError(seen)


def patch(core):
    changed = core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "c"}})
    assert changed.data == {"a": "c"}, changed.data


def replace(core):
    found = core.read_namespaced_config_map("watched", NAMESPACE)
    found.data = {"a": "d"}
    assert core.replace_namespaced_config_map("watched", NAMESPACE, found).data == {"a": "d"}


def logs(core):
    core.read_namespaced_pod_log("python", NAMESPACE)


def exec_(core):
    said = stream(core.connect_get_namespaced_pod_exec, "python", NAMESPACE, command=["/kubelocal", "demo", "echo", "hello"],
                  stdout=True, stderr=True, stdin=False, tty=False)
    assert said == "hello\n", said


def port_forward(core):
    forward = portforward(core.connect_get_namespaced_pod_portforward, "python", NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(20)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = socket.recv(4096)
    assert said.startswith(b"HTTP/1.1 200"), said


def scale(core):
    apps = client.AppsV1Api()
    labels = {"app": "scaled"}
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod("x", labels).spec)
    spec = client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="scaled"), spec=spec))
    scaled = apps.patch_namespaced_deployment_scale("scaled", NAMESPACE, {"spec": {"replicas": 1}})
    assert scaled.spec.replicas == 1, scaled


def delete(core):
    core.delete_namespaced_pod("python", NAMESPACE)
    for _ in range(600):
        try:
            core.read_namespaced_pod("python", NAMESPACE)
        except client.ApiException as error:
            assert error.status == 404, error
            return
        time.sleep(0.1)
    raise TimeoutError("delete")


config.load_kube_config()
for name, do in [("create", create), ("list", list_), ("watch", watch_), ("patch", patch), ("replace", replace), ("logs", logs),
                 ("exec", exec_), ("port-forward", port_forward), ("scale", scale), ("delete", delete)]:
    try:
        do(client.CoreV1Api())
        print(name, "ok", flush=True)
    except Exception as error:  # whatever it is, it is a cell of the matrix
        print(name, repr(error).replace("\n", " ")[:300], flush=True)
