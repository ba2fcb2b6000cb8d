//! Images from archives, root file systems and the store.

use std::fs;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, job, pod};

const BUSYBOX: &str = "/bin/busybox";

/// A root file system of busybox and its links.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).unwrap_or_else(|e| panic!("{BUSYBOX}: {e}: apt-get install busybox-static"));
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    for dir in ["bin/", "tmp/", "etc/"] {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if dir == "tmp/" { 0o1777 } else { 0o755 });
        header.set_size(0);
        archive
            .append_data(&mut header, dir, std::io::empty())
            .expect("to memory");
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    archive
        .append_data(&mut header, "bin/busybox", busybox.as_slice())
        .expect("to memory");
    header.set_size(0);
    for applet in [
        "sh", "cat", "echo", "sleep", "true", "test", "tar", "stty", "ls", "mkdir", "rm", "kill", "trap", "seq",
    ] {
        header.set_entry_type(tar::EntryType::Symlink);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .expect("to memory");
    }
    archive.into_inner().expect("to memory")
}

/// Imports busybox and returns a pod `shell` that runs this command in it.
pub fn load_busybox(home: &Home, command: &str) -> Manifest {
    let imported = home.run_with(busybox_layer(), "image import - test/busybox:1");
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    of_image(pod("shell", ""), "test/busybox:1", command)
}

fn of_image(pod: Manifest, image: &str, command: &str) -> Manifest {
    let words: Vec<&str> = command.split_whitespace().collect();
    pod.with("/spec/containers/0/image", json!(image))
        .with("/spec/containers/0/command", json!(words))
        .with("/spec/containers/0/imagePullPolicy", json!("Never"))
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, content.as_slice())
            .expect("to memory");
    }
    archive.into_inner().expect("to memory")
}

/// The configuration of an image of one layer whose entry point prints `said` and its own argument.
fn config(layer: &[u8], said: &str) -> Vec<u8> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c", "echo $SAID $0; trap 'echo stopped; exit 0' USR1; while :; do sleep 0.1; done"],
            "Cmd": ["by-default"],
            "Env": ["PATH=/bin", format!("SAID={said}")],
            "StopSignal": "SIGUSR1",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
    });
    config.to_string().into_bytes()
}

fn oci_archive(name: &str) -> Vec<u8> {
    let layer = busybox_layer();
    let config = config(&layer, "oci");
    let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", sha256(bytes)), bytes.to_vec());
    archive(&[
        (
            "oci-layout".into(),
            json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes(),
        ),
        ("index.json".into(), index.to_string().into_bytes()),
        blob(&manifest),
        blob(&config),
        blob(&layer),
    ])
}

fn docker_archive(name: &str) -> Vec<u8> {
    let layer = busybox_layer();
    let config = config(&layer, "docker");
    let file = format!("{}.json", sha256(&config));
    let manifest = json!([{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]);
    archive(&[
        ("layer.tar".into(), layer),
        (file, config),
        ("manifest.json".into(), manifest.to_string().into_bytes()),
    ])
}

#[test]
fn an_oci_archive_is_loaded_and_its_configuration_holds() {
    let home = Home::new();
    fs::create_dir_all(home.path("../files")).expect("a directory");
    let file = home.path("../files/oci.tar");
    fs::write(&file, oci_archive("docker.io/test/oci:1")).expect("writes");
    let said = home.must(format!("image load {}", file.display()));
    assert_eq!(said, "Loaded image: docker.io/test/oci:1\n");
    let inherits = Manifest(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "terminationGracePeriodSeconds": 60,
            "containers": [{"name": "main", "image": "test/oci:1", "imagePullPolicy": "Never"}],
        }}),
    );
    home.start(inherits);
    home.until_logged("web", "oci by-default\n");
    let follow = home.spawn(&mut home.command("logs -f web"));
    // SIGTERM would not end it; its own stop signal does, long before the grace is over.
    home.must("delete pod web");
    let log = follow.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&log.stdout).ends_with("stopped\n"), "{log:?}");
}

#[test]
fn a_docker_archive_is_loaded_from_standard_input() {
    let home = Home::new();
    let loaded = home.run_with(docker_archive("test/docker:1"), "image load -");
    assert_eq!(
        loaded.stdout, "Loaded image: docker.io/test/docker:1\n",
        "{}",
        loaded.stderr
    );
    let manifest = of_image(job("web", ""), "test/docker:1", "echo of the archive");
    home.must(format!("watch --once {}", home.file("a.yaml", manifest)));
    assert_eq!(home.must("logs web"), "of the archive\n");
}

#[test]
fn an_image_of_dockers_is_what_docker_saves_or_dockers_own_words() {
    let home = Home::new();
    fs::create_dir_all(home.path("../files")).expect("a directory");
    let archive = home.path("../files/docker.tar");
    fs::write(&archive, docker_archive("test/docker:1")).expect("writes");
    let docker = format!(
        "#!/bin/sh\n[ \"$*\" = 'save test/docker:1' ] && exec cat {}\necho 'No such image' >&2; exit 1\n",
        archive.display()
    );
    let path = home.programs(&[("docker", &docker)]);
    let load = |name: &str| {
        let mut command = home.command(format!("image load --from docker:{name}"));
        let output = command.env("PATH", &path).output().expect("the program runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(load("test/docker:1"), "Loaded image: docker.io/test/docker:1\n");
    let refused = load("test/other:1");
    assert!(
        refused.contains("No such image") && refused.contains("docker save test/other:1"),
        "{refused}"
    );
    assert!(!home.must("image ls").contains("test/other"));
}

#[test]
fn a_saved_image_can_be_loaded_again() {
    let home = Home::new();
    load_busybox(&home, "true");
    let id = || {
        let images: Value = serde_json::from_str(&home.must("image ls -o json")).expect("is JSON");
        let images = images["images"].as_array().cloned().unwrap_or_default();
        let image = images
            .into_iter()
            .find(|image| image["references"].to_string().contains("test/busybox"));
        image.map(|image| image["id"].clone())
    };
    let before = id().expect("it is listed");
    fs::create_dir_all(home.path("../files")).expect("a directory");
    let file = home.path("../files/saved.tar").display().to_string();
    home.must(format!("image save test/busybox:1 -o {file}"));
    read_by_skopeo(&file);
    let removed = home.must("image rm test/busybox:1");
    assert!(
        removed.starts_with("Untagged: docker.io/test/busybox:1\nDeleted: "),
        "{removed}"
    );
    assert_eq!(id(), None);
    home.must(format!("image load {file}"));
    assert_eq!(id(), Some(before));
    let inspected: Value = serde_json::from_str(&home.must("image inspect test/busybox:1")).expect("is JSON");
    assert!(inspected.is_object(), "{inspected}");
    let manifest = of_image(job("again", ""), "test/busybox:1", "echo again");
    home.must(format!("watch --once {}", home.file("a.yaml", manifest)));
    assert_eq!(home.must("logs again"), "again\n");
}

#[test]
fn an_image_in_use_is_not_removed() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    home.start(shell);
    let said = home.fails("image rm test/busybox:1");
    assert!(said.contains("in use by a container"), "{said}");
    home.must(["exec", "shell", "--", "true"]);
    home.must("delete pod shell");
    home.must("image rm test/busybox:1");
    assert!(home.fails("image rm test/busybox:1").contains("test/busybox:1"));
}

#[test]
fn a_missing_or_misnamed_image_is_told_in_the_status() {
    let home = Home::new();
    let missing = pod("missing", "serve")
        .with("/spec/containers/0/image", json!("nowhere.example/at/all:1"))
        .with("/spec/containers/0/imagePullPolicy", json!("Never"));
    let misnamed = pod("misnamed", "serve").with("/spec/containers/0/image", json!("nowhere.example/Upper:1"));
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", crate::manifest::documents([missing, misnamed]))
    ));
    home.until_waiting("missing", "ErrImageNeverPull");
    home.until_waiting("misnamed", "InvalidImageName");
    let table = home.must("get pods --no-headers");
    assert!(
        table.contains("ErrImageNeverPull") && table.contains("InvalidImageName"),
        "{table}"
    );
}

#[test]
fn what_is_no_archive_is_refused() {
    let home = Home::new();
    let refused = home.run_with("this is no archive", "image load -");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("archive"), "{}", refused.stderr);
    let cut = oci_archive("test/cut:1");
    let refused = home.run_with(&cut[..cut.len() / 2], "image load -");
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(!home.must("image ls").contains("cut"));
}

/// Other programs read what is saved, as an unprivileged user too.
fn read_by_skopeo(archive: &str) {
    let ran = std::process::Command::new("skopeo")
        .args(["inspect", "--format", "{{.Architecture}}"])
        .arg(format!("oci-archive:{archive}"))
        .output();
    match ran {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("SKIPPED: skopeo can't be run ({error}): whether it reads the archive is not known"),
    }
}
