//! Volumes beyond directories on the disk: in memory, of images, of a group; and parts of volumes that containers work on.

use serde_json::{Value, json};

use crate::home::Home;
use crate::images::load_busybox;
use crate::manifest::{Manifest, documents, pod};

/// A pod of busybox whose one container runs this script, with this volume at `/v`.
fn with_volume(shell: &Manifest, name: &str, volume: Value, script: &str) -> Manifest {
    let mut volume = volume;
    volume["name"] = json!("v");
    shell
        .clone()
        .with("/metadata/name", json!(name))
        .with("/spec/restartPolicy", json!("Never"))
        .with("/spec/volumes", json!([volume]))
        .with("/spec/containers/0/command", json!(["sh", "-c", script]))
        .with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/v"}]),
        )
}

#[test]
fn a_directory_in_memory_is_shared_bounded_and_outlives_its_containers() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let memory = json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
    let script = "echo $(( $(cat /v/count 2>/dev/null || echo 0) + 1 )) > /v/count; until rm /v/end 2>/dev/null; do sleep 1; done";
    let mut pod = with_volume(&shell, "memory", memory, script).with("/spec/restartPolicy", json!("Always"));
    let mut second = pod.0["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    second["command"] = json!(["sleep", "1000"]);
    pod.0["spec"]["containers"].as_array_mut().expect("a list").push(second);
    home.start(pod);
    let second = |script: &str| home.run(["exec", "memory", "-c", "second", "--", "sh", "-c", script]);
    let mounts = second("cat /proc/mounts").stdout;
    let own = mounts.lines().find(|line| line.contains(" /v ")).unwrap_or_default();
    assert!(own.starts_with("tmpfs ") && own.contains("size=1024k"), "{mounts}");
    let full = second("busybox dd if=/dev/zero of=/v/big bs=1024 count=2048; rm /v/big");
    assert!(full.stderr.contains("No space left on device"), "{full:?}");
    second("echo > /v/end");
    home.until("the next run has found what the first one left", || {
        second("cat /v/count").stdout == "2\n"
    });
    let uid = home.text("pod memory", "/metadata/uid");
    let below = home.path("pods").join(uid).join("volumes/v");
    assert_eq!(
        std::fs::read_dir(below).expect("is there").count(),
        0,
        "nothing is on the disk"
    );
}

#[test]
fn the_files_of_volumes_are_the_groups_of_the_pod() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let secret = Manifest(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
        "stringData": {"word": "hush"}}),
    );
    let script = "busybox id; cat /v/word; busybox stat -c '%g %a' /v/..data/word; echo x > /e/f && busybox stat -c '%g' /e/f /m";
    let pod = with_volume(
        &shell,
        "grouped",
        json!({"secret": {"secretName": "key", "defaultMode": 256}}),
        script,
    )
    .with(
        "/spec/securityContext",
        json!({"fsGroup": 2000, "runAsUser": 1234, "runAsGroup": 1234}),
    );
    let mut pod = pod;
    let volumes = json!([{"name": "v", "secret": {"secretName": "key", "defaultMode": 256}}, {"name": "e", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}}]);
    pod.0["spec"]["volumes"] = volumes;
    pod.0["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/v"}, {"name": "e", "mountPath": "/e"}, {"name": "m", "mountPath": "/m"}]);
    home.must(format!("apply -f {}", home.file("a.yaml", documents([secret, pod]))));
    home.until_phase("grouped", "Succeeded");
    let log = home.must("logs grouped");
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].contains("2000"), "{log}");
    assert_eq!(lines[1..], ["hush2000 440", "2000", "2000"], "{log}");
}

#[test]
fn an_image_is_a_volume_that_is_read_only() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let image = || json!({"image": {"reference": "test/busybox:1", "pullPolicy": "Never"}});
    let script = "ls /v/bin/busybox /part/busybox; echo x > /v/f || echo refused; /v/bin/busybox true || echo not run; \
                  sleep 1000";
    let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/part", "subPath": "bin"}]);
    let pod = with_volume(&shell, "image", image(), script).with("/spec/containers/0/volumeMounts", mounts);
    let absent = with_volume(
        &shell,
        "absent",
        json!({"image": {"reference": "test/none:1", "pullPolicy": "Never"}}),
        "true",
    );
    home.must(format!("apply -f {}", home.file("a.yaml", documents([pod, absent]))));
    let log = home.until_logged("image", "not run");
    for line in ["/v/bin/busybox", "/part/busybox", "refused"] {
        assert!(log.contains(line), "{log}");
    }
    home.until_waiting("absent", "ErrImageNeverPull");
    let events = home.must("events --for pod/image");
    assert!(
        events.contains("Container image \"test/busybox:1\" already present"),
        "{events}"
    );
}

#[test]
fn a_token_is_the_one_users_as_whom_all_containers_run() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let look = format!("busybox stat -L -c '%a %u' {token}; busybox wc -c < {token}");
    let reader = |name: &str, user: u32| {
        shell
            .clone()
            .with("/metadata/name", json!(name))
            .with("/spec/restartPolicy", json!("Never"))
            .with("/spec/securityContext", json!({"runAsUser": user}))
            .with("/spec/containers/0/command", json!(["sh", "-c", look]))
    };
    let mut two = reader("two", 1000);
    let mut second = two.0["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    second["securityContext"] = json!({"runAsUser": 1001});
    two.0["spec"]["containers"].as_array_mut().expect("a list").push(second);
    let one = reader("one", 1000);
    home.must(format!("apply -f {}", home.file("a.yaml", documents([one, two]))));
    for (name, mode) in [("one", "600 1000\n"), ("two", "644 0\n")] {
        home.until_phase(name, "Succeeded");
        let said = home.must(format!("logs {name} -c {}", "main"));
        assert!(said.starts_with(mode), "{name}: {said}");
    }
}

#[test]
fn a_part_that_leads_out_of_its_volume_is_a_configuration_that_can_not_be() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let place = home.path("part");
    std::fs::create_dir_all(&place).expect("a directory");
    std::os::unix::fs::symlink("/etc", place.join("out")).expect("links");
    let mounts = json!([{"name": "v", "mountPath": "/v", "subPath": "out"}]);
    let pod = with_volume(&shell, "out", json!({"hostPath": {"path": place}}), "true");
    let pod = pod.with("/spec/containers/0/volumeMounts", mounts);
    home.must(format!("apply -f {}", home.file("a.yaml", pod)));
    home.until_waiting("out", "CreateContainerConfigError");
}

#[test]
fn a_part_of_a_volume_is_never_outside_of_it_whatever_a_container_does_meanwhile() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    // One container changes the part between a directory and a way out as fast as it can, the other takes it again and again.
    let swap =
        "while :; do mkdir /v/part; busybox rmdir /v/part; busybox ln -s /proc /v/part; rm /v/part; done 2>/dev/null";
    let look = "if test -e /p/self; then echo escaped; else echo inside; fi";
    let mut pod = with_volume(&shell, "race", json!({"emptyDir": {}}), swap);
    let mut taker = pod.0["spec"]["containers"][0].clone();
    taker["command"] = json!(["sh", "-c", look]);
    taker["volumeMounts"] = json!([{"name": "v", "mountPath": "/p", "subPath": "part"}]);
    let containers = pod.0["spec"]["containers"].as_array_mut().expect("a list");
    for number in 0..6 {
        taker["name"] = json!(format!("taker{number}"));
        containers.push(taker.clone());
    }
    home.must(format!("apply -f {}", home.file("a.yaml", pod)));
    let state = |number: usize| home.field("pod race", &format!("/status/containerStatuses/{number}/state"));
    let mut inside = 0;
    for number in 1..=6 {
        // It ran inside, or was refused: when the part was found, or when it was mounted and was gone by then.
        home.until("a taker has an answer", || {
            let state = state(number);
            state["terminated"].is_object() || state["waiting"]["reason"] == "CreateContainerConfigError"
        });
        let end = &state(number)["terminated"];
        if end["reason"] == "StartError" {
            let why = end["message"].as_str().unwrap_or_default();
            assert!(why.contains("failed to mount"), "{end}");
        } else if end.is_object() {
            let name = format!("logs race -c taker{}", number - 1);
            assert_eq!(home.must(name), "inside\n", "{end}");
            inside += 1;
        }
    }
    assert!(inside > 0, "all were refused: {}", home.sight());
}

#[test]
fn mounts_are_read_only_all_the_way_down_where_that_is_asked_for() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let mounts = json!([{"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": "Enabled"}]);
    let pod = with_volume(
        &shell,
        "fixed",
        json!({"emptyDir": {}}),
        "echo x > /v/f || echo refused; sleep 1000",
    )
    .with("/spec/containers/0/volumeMounts", mounts);
    home.start(pod);
    home.until_logged("fixed", "refused");
    let status = home.field("pod fixed", "/status/containerStatuses/0/volumeMounts/0");
    assert_eq!(status["recursiveReadOnly"], "Enabled", "{status}");
}

#[test]
fn nothing_is_mounted_over_what_the_kernel_says_of_processes() {
    let home = Home::new();
    let at = |name: &str, path: &str| {
        pod(name, "serve")
            .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]))
            .with(
                "/spec/containers/0/volumeMounts",
                json!([{"name": "v", "mountPath": path}]),
            )
    };
    let refused = home.fails(format!("apply -f {}", home.file("a.yaml", at("part", "/proc/sys"))));
    let words =
        "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/proc/sys\": nothing can be mounted in /proc";
    assert!(refused.contains(words), "{refused}");
    home.must(format!("apply -f {}", home.file("b.yaml", at("all", "/proc"))));
    home.until_waiting("all", "CreateContainerConfigError");
    let said = home.text("pod all", "/status/containerStatuses/0/state/waiting/message");
    assert!(
        said.starts_with("/proc is in /proc, where nothing can be mounted: "),
        "{said}"
    );
}

#[test]
fn a_link_in_one_volume_leads_no_other_one_into_proc() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    let mut crooked = with_volume(&shell, "crooked", json!({"emptyDir": {}}), "echo it runs");
    let spec = &mut crooked.0["spec"];
    spec["restartPolicy"] = json!("Never");
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]);
    let mut first = spec["containers"][0].clone();
    first["name"] = json!("first");
    first["command"] = json!(["sh", "-c", "busybox ln -s /proc /v/l"]);
    spec["initContainers"] = json!([first]);
    spec["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v/l/sys"}]);
    home.must(format!("apply -f {}", home.file("a.yaml", crooked)));
    let end = "/status/containerStatuses/0/state/terminated";
    home.until("it has ended", || home.field("pod crooked", end).is_object());
    let end = home.field("pod crooked", end);
    assert_eq!(end["reason"], "StartError", "{end}");
    assert!(end["message"].to_string().contains("/proc/sys"), "{end}");
    assert_eq!(home.run("logs crooked").stdout, "");
}

#[test]
fn what_is_mounted_behind_a_link_to_nowhere_is_made_where_that_leads() {
    for runtime in ["embedded", "crun"] {
        let home = Home::new().with_settings(&format!("runtime: {runtime}\n"));
        let lab = tempfile::tempdir().expect("a directory");
        let root = lab.path().join("root");
        std::fs::create_dir_all(root.join("etc")).expect("made");
        std::fs::create_dir_all(root.join("bin")).expect("made");
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is there");
        for (target, link) in [
            ("busybox", "bin/sh"),
            ("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf"),
            ("/run", "var-run"),
        ] {
            std::os::unix::fs::symlink(target, root.join(link)).expect("made");
        }
        let archive = lab.path().join("root.tar");
        let packed = std::process::Command::new("tar")
            .args(["-C"])
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(packed.is_ok_and(|status| status.success()));
        home.must(format!("image import {} linked", archive.display()));
        let script = "busybox cat /run/systemd/resolve/stub-resolv.conf; echo x > /run/here/f && echo written";
        let shell = pod("shell", "")
            .with("/spec/containers/0/image", json!("linked"))
            .with("/spec/containers/0/imagePullPolicy", json!("Never"));
        let mut linked = with_volume(&shell, "linked", json!({"emptyDir": {}}), script);
        linked.0["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/var-run/here"}]);
        home.must(format!("apply -f {}", home.file("a.yaml", linked)));
        let end = "/status/containerStatuses/0/state/terminated";
        home.until("it has ended", || home.field("pod linked", end).is_object());
        let said = home.must("logs linked");
        assert!(
            said.contains("nameserver 10.96.0.10") && said.ends_with("written\n"),
            "{runtime}: {said}"
        );
    }
}

#[test]
fn a_working_directory_that_is_none_is_told_in_a_sentence() {
    let home = Home::new();
    let lost = pod("lost", "serve").with("/spec/containers/0/workingDir", json!("/kubelocal/x"));
    home.must(format!("apply -f {}", home.file("a.yaml", lost)));
    home.until_waiting("lost", "CreateContainerConfigError");
    assert_eq!(
        home.text("pod lost", "/status/containerStatuses/0/state/waiting/message"),
        "workingDir \"/kubelocal/x\" is, or leads through, what is not a directory"
    );
}
