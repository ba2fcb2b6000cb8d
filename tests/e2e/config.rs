//! What a container finds: environment, arguments, volumes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::home::Home;
use crate::manifest::{config_map, container, documents, job, pod, secret};

#[test]
fn the_environment_comes_from_everywhere_and_expands() {
    let home = Home::new();
    let from = |kind: &str, name: &str, key: &str| json!({kind: {"name": name, "key": key}});
    let manifest = job("env", "env")
        .with("/metadata/labels", json!({"app": "x"}))
        .with(
            "/spec/containers/0/resources",
            json!({"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}),
        )
        .with(
            "/spec/containers/0/envFrom",
            json!([
                {"configMapRef": {"name": "c"}, "prefix": "C_"},
                {"secretRef": {"name": "s"}},
                {"configMapRef": {"name": "absent", "optional": true}},
            ]),
        )
        .with(
            "/spec/containers/0/env",
            json!([
                {"name": "PLAIN", "value": "plain"},
                {"name": "EXPANDED", "value": "$(PLAIN)-$(TOKEN)-$$(PLAIN)-$(UNKNOWN)"},
                {"name": "ONE", "valueFrom": from("configMapKeyRef", "c", "color")},
                {"name": "TWO", "valueFrom": from("secretKeyRef", "s", "TOKEN")},
                {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "ASKED", "valueFrom": {"resourceFieldRef": {"resource": "requests.ephemeral-storage"}}},
                {"name": "DISK", "valueFrom": {"resourceFieldRef": {"resource": "limits.ephemeral-storage", "divisor": "1Ki"}}},
            ]),
        );
    let all = documents([
        config_map("c", json!({"color": "blue"})),
        secret("s", json!({"TOKEN": "t0"})),
        manifest,
    ]);
    home.must(format!("apply -f {}", home.file("a.yaml", all)));
    home.until_phase("env", "Succeeded");
    let log = home.must("logs env");
    for line in [
        "PLAIN=plain",
        "EXPANDED=plain-t0-$(PLAIN)-$(UNKNOWN)",
        "ONE=blue",
        "TWO=t0",
        "TOKEN=t0",
        "C_color=blue",
        "NAME=env",
        "LABEL=x",
        "ACCOUNT=default",
        "MEMORY=64",
        "ASKED=0",
        "HOSTNAME=env",
    ] {
        assert!(log.lines().any(|found| found == line), "{line} is missing:\n{log}");
    }
    assert!(!log.contains("ABSENT"), "{log}");
    // Without a limit, what the node has.
    let disk = home.must("get nodes -o jsonpath={.items[0].status.allocatable.ephemeral-storage}");
    let line = format!("DISK={}", disk.trim_end_matches("Ki"));
    assert!(log.lines().any(|found| found == line), "{line} is missing:\n{log}");
}

#[test]
fn arguments_expand_and_a_missing_key_is_a_config_error() {
    let home = Home::new();
    let echo =
        job("echo", "echo $(WHO) $$(WHO)").with("/spec/containers/0/env", json!([{"name": "WHO", "value": "you"}]));
    let broken = pod("broken", "env").with(
        "/spec/containers/0/env",
        json!([
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}},
        ]),
    );
    home.must(format!("apply -f {}", home.file("a.yaml", documents([echo, broken]))));
    home.until_phase("echo", "Succeeded");
    assert_eq!(home.must("logs echo"), "you $(WHO)\n");
    home.until_waiting("broken", "CreateContainerConfigError");
    let waiting = home.text("pod broken", "/status/containerStatuses/0/state/waiting/message");
    assert_eq!(waiting, "configmap \"late\" not found");
    home.must(format!(
        "apply -f {}",
        home.file("late.yaml", config_map("late", json!({"k": "v"})))
    ));
    home.until_logged("broken", "A=v");
}

#[test]
fn config_maps_and_secrets_are_files_that_follow_their_objects() {
    let home = Home::new();
    let manifest = pod("web", "cat /config/color --every 0.1")
        .with("/spec/containers/0/volumeMounts", json!([
            {"name": "config", "mountPath": "/config"},
            {"name": "secret", "mountPath": "/secret", "readOnly": true},
            {"name": "items", "mountPath": "/items"},
            {"name": "optional", "mountPath": "/optional"},
        ]))
        .with("/spec/volumes", json!([
            {"name": "config", "configMap": {"name": "c"}},
            {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
            {"name": "items", "configMap": {"name": "c", "items": [{"key": "color", "path": "deep/er", "mode": 448}]}},
            {"name": "optional", "configMap": {"name": "absent", "optional": true}},
        ]));
    home.start(documents([
        config_map("c", json!({"color": "blue", "size": "1"})),
        secret("s", json!({"token": "t0"})),
        manifest,
    ]));
    let see = |words: &str| home.must(format!("exec web -- /kubelocal demo {words}"));
    assert_eq!(see("cat /config/size"), "1");
    assert_eq!(see("cat /secret/token"), "t0");
    assert_eq!(see("cat /items/deep/er"), "blue");
    assert_eq!(see("ls /items/deep"), "er\n");
    assert!(
        see("ls /optional").lines().all(|name| name.starts_with("..")),
        "{}",
        see("ls /optional")
    );
    assert_eq!(see("readlink /config/color"), "..data/color\n");
    assert!(
        see("stat /secret/..data/token").contains("0400"),
        "{}",
        see("stat /secret/..data/token")
    );
    assert!(
        see("stat /items/..data/deep/er").contains("0700"),
        "{}",
        see("stat /items/..data/deep/er")
    );
    let ids = home.container_ids();
    home.must(format!(
        "apply -f {}",
        home.file("b.yaml", config_map("c", json!({"color": "green"})))
    ));
    let log = home.until_logged("web", "green");
    assert!(
        log.lines().all(|line| line == "blue" || line == "green"),
        "the swap is atomic: {log}"
    );
    assert_eq!(home.container_ids(), ids);
    home.until("the removed key is gone", || !see("ls /config").contains("size"));
}

#[test]
fn two_containers_share_an_empty_dir_and_sub_paths_are_parts_of_it() {
    let home = Home::new();
    let mut reader = container("reader", "sleep forever");
    reader["volumeMounts"] = json!([{"name": "v", "mountPath": "/all"}]);
    let mut writer = container("main", "sleep forever");
    writer["volumeMounts"] = json!([{"name": "v", "mountPath": "/part", "subPath": "a/b"}]);
    let manifest = pod("web", "sleep forever")
        .with("/spec/containers", json!([writer, reader]))
        .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]));
    home.start(manifest);
    home.must([
        "exec",
        "web",
        "-c",
        "main",
        "--",
        "/kubelocal",
        "demo",
        "write",
        "/part/f",
        "shared text",
    ]);
    let read = home.must("exec web -c reader -- /kubelocal demo cat /all/a/b/f");
    assert_eq!(read, "shared text\n");
    let uid = home.text("pod web", "/metadata/uid");
    home.must("delete pod web");
    home.until("its files are gone", || !home.path("pods").join(&uid).exists());
}

#[test]
fn a_host_path_is_the_hosts_and_its_type_is_checked() {
    let home = Home::new();
    let dir = home.path("../files/shared");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("in"), "from the host").expect("writes");
    let dir = dir.canonicalize().expect("is there").display().to_string();
    let with = |name: &str, kind: &str, path: &str| {
        pod(name, "sleep forever")
            .with(
                "/spec/containers/0/volumeMounts",
                json!([{"name": "h", "mountPath": "/h"}]),
            )
            .with(
                "/spec/volumes",
                json!([{"name": "h", "hostPath": {"path": path, "type": kind}}]),
            )
    };
    let all = [with("web", "Directory", &dir), with("wrong", "File", &dir)];
    home.must(format!("apply -f {}", home.file("a.yaml", documents(all))));
    home.until_ready("web");
    assert_eq!(home.must("exec web -- /kubelocal demo cat /h/in"), "from the host");
    home.must("exec web -- /kubelocal demo write /h/out back");
    assert_eq!(fs::read_to_string(format!("{dir}/out")).expect("written"), "back\n");
    home.until("the wrong type is told", || {
        home.must("events --for pod/wrong")
            .contains("hostPath type check failed")
    });
}

#[test]
fn a_pod_has_its_own_loopback_or_with_host_network_the_hosts() {
    let home = Home::new();
    let shared = pod("shared", "sleep forever").with("/spec/hostNetwork", json!(true));
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", documents([pod("own", "serve"), shared]))
    ));
    let devices = |pod: &str| home.must(format!("exec {pod} -- /kubelocal demo cat /proc/net/dev"));
    let host = fs::read_to_string("/proc/net/dev").expect("reads");
    // Two lines of headings, loopback and the pod's own.
    assert_eq!(devices("own").lines().count(), 4, "{}", devices("own"));
    assert_eq!(devices("shared").lines().count(), host.lines().count());
    home.must("exec own -- /kubelocal demo connect 127.0.0.1:8080");
    let ip = home.text("pod shared", "/status/podIP");
    assert_eq!(ip, home.text("pod shared", "/status/hostIP"));
}

#[test]
fn projected_volumes_hold_objects_and_the_pods_own_fields_and_follow_changes() {
    let home = Home::new();
    let own = json!({"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]});
    let sources = json!([{"configMap": {"name": "settings"}}, {"secret": {"name": "key"}}, {"downwardAPI": own}]);
    let volumes = json!([{"name": "all", "projected": {"sources": sources}}, {"name": "own", "downwardAPI": own}]);
    let mounts = json!([{"name": "all", "mountPath": "/all"}, {"name": "own", "mountPath": "/own"}]);
    let web = pod("web", "serve")
        .with("/metadata/labels", json!({"app": "one"}))
        .with("/spec/containers/0/volumeMounts", mounts)
        .with("/spec/volumes", volumes);
    let map = |value: &str| config_map("settings", json!({"color": value}));
    home.start(documents([map("red"), secret("key", json!({"word": "hush"})), web]));
    let cat = |path: &str| home.must(format!("exec web -- /kubelocal demo cat {path}"));
    assert_eq!(cat("/all/color") + &cat("/all/word"), "redhush");
    assert_eq!(
        (cat("/all/labels"), cat("/own/labels")),
        ("app=\"one\"".into(), "app=\"one\"".into())
    );
    let changed = home.run_with(map("blue").to_string(), "apply -f -");
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    home.until("the file follows the ConfigMap", || cat("/all/color") == "blue");
}

#[test]
fn a_sub_path_expression_is_made_in_its_volume_and_never_leads_out() {
    let home = Home::new();
    let with_expression = |name: &str, value: &str| {
        job(name, "exit 0")
            .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]))
            .with("/spec/containers/0/env", json!([{"name": "P", "value": value}]))
            .with(
                "/spec/containers/0/volumeMounts",
                json!([{"name": "v", "mountPath": "/data", "subPathExpr": "logs/$(P)"}]),
            )
    };
    let all = documents([with_expression("good", "web"), with_expression("bad", "../../../../..")]);
    home.must(format!("apply -f {}", home.file("a.yaml", all)));
    home.until_phase("good", "Succeeded");
    home.until_waiting("bad", "CreateContainerConfigError");
    let message = home.text("pod bad", "/status/containerStatuses/0/state/waiting/message");
    assert!(message.contains("must not contain '..'"), "{message}");
}

#[test]
fn an_empty_dir_keeps_the_mode_that_the_pod_gave_it() {
    let home = Home::new();
    let manifest = pod("data", "sleep forever")
        .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]))
        .with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/data"}]),
        );
    home.start(manifest);
    let volume = home
        .path("pods")
        .join(home.text("pod data", "/metadata/uid"))
        .join("volumes/v");
    let mode = || fs::metadata(&volume).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o777);
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).expect("ours");
    let supervisor = home
        .supervisor_pid(&home.text("pod data", "/metadata/uid"))
        .expect("it runs");
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("it is ours");
    home.until("the container runs again", || {
        let status = home.field("pod data", "/status/containerStatuses/0");
        status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(mode(), 0o700);
}
