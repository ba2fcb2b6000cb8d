//! Pods whose images come from a registry on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use serde_json::json;

use crate::debian::{Debian, is_missing};
use crate::home::Home;
use crate::image::{ARCHITECTURE, Image, Layer};
use crate::images::busybox_layer;
use crate::manifest::{Manifest, documents};
use crate::scripted::{Answer, Scripted, blob};

/// An image of busybox that sleeps.
fn busybox() -> Image {
    let layer = Layer::gzip(&busybox_layer());
    let config = json!({
        "architecture": ARCHITECTURE, "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo pulled and run; trap 'exit 0' TERM; while :; do sleep 0.1; done"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    });
    Image::with_config(vec![layer], &config)
}

/// A pod of this image, everything else as Kubernetes has it by default.
fn pod(name: &str, image: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "main", "image": image}]},
    }))
}

fn events(home: &Home) -> String {
    home.must("events -A")
}

#[test]
fn a_pod_pulls_its_image_from_a_registry_and_runs() {
    if is_missing(&["docker-registry", "skopeo"]) {
        return;
    }
    let (home, registry) = (Home::new(), Debian::plain());
    let image = busybox();
    registry.push(&image, "app:1", None);
    let name = registry.name("app:1");
    home.start(pod("web", &name));
    home.until_logged("web", "pulled and run\n");
    let told = events(&home);
    for words in [
        format!("Pulling image {name:?}"),
        format!("Successfully pulled image {name:?} in "),
        "including waiting). Image size: ".to_owned(),
    ] {
        assert!(told.contains(&words), "{words}: {told}");
    }
    let image_id = home.text("pod web", "/status/containerStatuses/0/imageID");
    assert!(image_id.ends_with(&image.config), "{image_id}");
    // The second pod finds it here, and so does the command line.
    home.start(pod("again", &name));
    assert!(events(&home).contains(&format!("Container image {name:?} already present on machine")));
    assert!(home.must(format!("image pull {name}")).starts_with("Up to date: "));
    let said = home.fails(format!("image pull {}", registry.name("app:2")));
    assert!(said.contains("MANIFEST_UNKNOWN"), "{said}");
}

#[test]
fn a_pod_that_waits_for_its_image_can_be_deleted_at_once() {
    let (image, home) = (busybox(), Home::new());
    let (packed, path) = (image.layers[0].packed.clone(), image.layers[0].packed_digest());
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let stalled = Answer {
            stall_after: Some(1000),
            ..blob(request, &packed)
        };
        request.path.ends_with(&path).then_some(stalled)
    });
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", pod("web", &registry.name("app:1")))
    ));
    home.until("the layer is asked for", || {
        !registry.asked(&image.layers[0].packed_digest()).is_empty()
    });
    assert_eq!(
        home.text("pod web", "/status/containerStatuses/0/state/waiting/reason"),
        "ContainerCreating"
    );
    // It returns when the pod is gone; a pull that held it up would do so for as long as the registry stalls.
    home.must("delete pod web --timeout=20s");
    home.until_gone("pod web");
}

#[test]
fn an_image_that_can_not_be_had_is_told_and_tried_again_when_a_credential_comes() {
    let (image, home) = (busybox(), Home::new());
    let right = base64::engine::general_purpose::STANDARD.encode("ann:secret");
    let expected = format!("Basic {right}");
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let is_right = request.headers.get("authorization") == Some(&expected);
        let challenge = Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#)
            .with("WWW-Authenticate", "Basic realm=\"x\"");
        (!is_right && request.path != "/v2/").then_some(challenge)
    });
    let name = registry.name("app:1");
    let web = pod("web", &name).with("/spec/imagePullSecrets", json!([{"name": "login"}]));
    home.must(format!("apply -f {}", home.file("a.yaml", web)));
    home.until_waiting("web", "ErrImagePull");
    home.until_waiting("web", "ImagePullBackOff");
    let message = home.text("pod web", "/status/containerStatuses/0/state/waiting/message");
    let beginning = format!("Back-off pulling image {name:?}: ErrImagePull: ");
    assert!(
        message.starts_with(&beginning) && message.contains("denies access"),
        "{message}"
    );
    let told = events(&home);
    for words in [
        "Unable to retrieve some image pull secrets (login); attempting to pull the image may not succeed.",
        &format!("Failed to pull image {name:?}: "),
        "Error: ErrImagePull",
        &format!("Back-off pulling image {name:?}"),
        "Error: ImagePullBackOff",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let config = json!({"auths": {&registry.host: {"auth": right}}}).to_string();
    let secret = Manifest(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config},
    }));
    home.must(format!("apply -f {}", home.file("secret.yaml", secret)));
    home.until_ready("web");
}

#[test]
fn always_asks_the_registry_and_takes_what_the_tag_means_today() {
    let (home, old) = (Home::new(), busybox());
    let layers = vec![
        Layer::gzip(&busybox_layer()),
        Layer::gzip(&crate::image::tar(&[("new", b"new")])),
    ];
    let diff_ids: Vec<&String> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": ARCHITECTURE, "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo the new one; sleep 1000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let new = Image::with_config(layers.clone(), &config);
    let has_moved = Arc::new(AtomicBool::new(false));
    let (moved, manifest, digest) = (has_moved.clone(), new.manifest.clone(), new.manifest_digest());
    let registry = Scripted::answering(&[("latest", &old), ("new", &new)], move |request, _| {
        let is_asked = request.path.ends_with("/manifests/latest") && moved.load(Ordering::Relaxed);
        is_asked.then(|| Answer::new(200, manifest.clone()).with("Docker-Content-Digest", &digest))
    });
    // Without a tag the policy is Always.
    let name = registry.name("app");
    home.start(pod("old", &name));
    home.until_logged("old", "pulled and run\n");
    has_moved.store(true, Ordering::Relaxed);
    home.start(documents([
        pod("new", &name),
        pod("settled", &name).with("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
    ]));
    home.until_logged("new", "the new one\n");
    assert!(registry.asked("/manifests/latest").len() >= 2);
}

#[test]
fn what_was_made_here_is_run_though_no_registry_knows_it() {
    let home = Home::new();
    let imported = home.run_with(busybox_layer(), "image import - nowhere.invalid/made/here");
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    let command = json!(["/bin/sh", "-c", "echo made here; sleep 1000"]);
    home.start(pod("web", "nowhere.invalid/made/here").with("/spec/containers/0/command", command));
    home.until_logged("web", "made here\n");
}

#[test]
fn a_credential_helper_runs_as_the_user() {
    let (image, home) = (
        Image::with_config(
            busybox().layers,
            &json!({"rootfs": {"diff_ids": [busybox().layers[0].diff_id]}}),
        ),
        Home::new(),
    );
    let uid = rustix::process::getuid().as_raw();
    let right = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("uid-{uid}:secret"))
    );
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let is_right = request.headers.get("authorization") == Some(&right);
        let challenge = Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"");
        (!is_right && request.path != "/v2/").then_some(challenge)
    });
    let helper = "#!/bin/sh\necho \"{\\\"Username\\\": \\\"uid-$(id -u)\\\", \\\"Secret\\\": \\\"secret\\\"}\"\n";
    let path = home.programs(&[("docker-credential-test", helper)]);
    let config = home.file("config.json", json!({"credsStore": "test"}));
    let mut pull = home.command(format!("image pull --authfile {config} {}", registry.name("app:1")));
    let pulled = pull.env("PATH", path).output().expect("the program runs");
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
}

#[test]
fn a_directory_with_a_containerfile_is_built_and_run() {
    if is_missing(&["buildah"]) {
        return;
    }
    let home = Home::new();
    home.file("app/Containerfile", "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\", \"sh\", \"-c\", \"echo built; exec /bin/busybox sleep 1000\"]\n");
    let context = home.file("app/busybox", "");
    std::fs::copy("/bin/busybox", &context).expect("busybox-static is installed");
    let file = home.file("web.yaml", pod("web", "app"));
    let mut watch = home.command(["watch", "--build", "--once", &file]);
    // A store of their own, in the form that can be shared.
    let data = home.path("../data");
    watch
        .env("XDG_DATA_HOME", &data)
        .env("STORAGE_DRIVER", "overlay")
        .env("BUILDAH_ISOLATION", "chroot");
    let watched = watch.output().expect("the program runs");
    let said = String::from_utf8_lossy(&watched.stderr);
    assert!(
        watched.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&watched.stdout)
    );
    home.until_logged("web", "built\n");
    let events = events(&home);
    assert!(
        events.contains("Container image \"app\" already present on machine"),
        "{events}"
    );
    // What is shared is the same file: one inode, two names.
    let layers = home.path("images/layers");
    let linked = crate::home::files_below(&layers).into_iter().any(|file| {
        file.ends_with("bin/busybox")
            && std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(&file).expect("there")) == 2
    });
    assert!(linked, "no file of {} is shared", layers.display());
}
