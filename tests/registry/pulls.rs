//! What a pull brings, and what it does not bring twice.

use std::fs;
use std::time::Duration;

use kubelocal::image::{ImageStore, LoginFiles, PullRequest, Pulled, Puller, RegistrySettings, StoreOptions};
use serde_json::json;
use tempfile::TempDir;

use crate::forms::noise;
use crate::image::{ARCHITECTURE, Image, Layer, tar};
use crate::scripted::{Answer, Scripted, blob};

/// Short enough for tests of stalls, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// A store of its own and what pulls into it.
pub struct Ground {
    pub dir: TempDir,
    pub puller: Puller,
}

impl Ground {
    pub fn new() -> Ground {
        Ground::with(RegistrySettings::default(), LoginFiles::default())
    }

    pub fn with(registries: RegistrySettings, logins: LoginFiles) -> Ground {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            registries,
            ..StoreOptions::default()
        };
        let store = ImageStore::open_with(&dir.path().join("images"), options).expect("a store");
        Ground {
            puller: Puller::with_patience(store, logins, PATIENCE),
            dir,
        }
    }

    pub async fn pull(&self, name: &str) -> Result<Pulled, String> {
        let request = PullRequest {
            name: name.to_owned(),
            ..PullRequest::default()
        };
        self.puller
            .pull(request)
            .done()
            .await
            .map_err(|error| error.to_string())
    }

    /// Names of what lies in a directory of the store.
    pub fn entries(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("images").join(dir)).expect("readable");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Nothing of a pull is left: no layers, no blobs, no names, nothing half made, no beginning of a download.
    pub fn assert_empty(&self) {
        assert_eq!(self.entries("partial"), [""; 0]);
        self.assert_no_image();
    }

    /// The same, but that what came of a download that broke off may be there.
    pub fn assert_no_image(&self) {
        assert_eq!(self.entries("tmp"), [""; 0]);
        assert_eq!(self.entries("layers"), ["empty"]);
        assert_eq!(self.entries("records"), [""; 0]);
        assert_eq!(self.entries("names"), [""; 0]);
        assert_eq!(self.entries("blobs/sha256"), [""; 0]);
    }
}

fn content(pulled: &Pulled, layer: usize, path: &str) -> String {
    fs::read_to_string(pulled.image.layers[layer].join(path)).expect("a file")
}

/// A layer that takes several chunks on its way.
fn large(seed: u8) -> (Layer, Vec<u8>) {
    let data = noise(seed, 3 << 20);
    (Layer::gzip(&tar(&[("data", &data)])), data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_can_be_saved_stays_so_when_it_comes_again_packed_otherwise() {
    let tar = tar(&[("file", b"content")]);
    let (gzip, zstd) = (Image::new(vec![Layer::gzip(&tar)]), Image::new(vec![Layer::zstd(&tar)]));
    assert_eq!(gzip.config, zstd.config);
    let registry = Scripted::answering(&[("gzip", &gzip), ("zstd", &zstd)], |_, _| None);
    let ground = Ground::new();
    for tag in ["gzip", "zstd"] {
        ground.pull(&registry.name(&format!("app:{tag}"))).await.expect(tag);
    }
    for tag in ["gzip", "zstd"] {
        let name = registry.name(&format!("app:{tag}"));
        ground.puller.images().save(&name, Vec::new()).expect(tag);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_comes_in_every_form_that_images_have() {
    let files: [(&str, &[u8]); 1] = [("file", b"content")];
    let forms = [
        Layer::plain(tar(&files)),
        Layer::gzip(&tar(&files)),
        Layer::gzip_in_members(&tar(&files)),
        Layer::zstd(&tar(&files)),
        Layer::zstd_chunked(&tar(&files)),
    ];
    for layer in forms {
        let kind = layer.media_type.clone();
        let image = Image::new(vec![layer]);
        let registry = Scripted::serving(&[("1", &image)]);
        let ground = Ground::new();
        let pulled = ground.pull(&registry.name("app:1")).await.expect(&kind);
        assert_eq!(content(&pulled, 0, "file"), "content", "{kind}");
        assert_eq!(pulled.image.id, image.config);
        let by_digest = format!("{}@{}", registry.name("app"), image.manifest_digest());
        assert_eq!(pulled.image.digest, Some(by_digest));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_is_asked_for_and_not_sent_again() {
    let (one, two) = (Image::small("one"), Image::small("two"));
    let registry = Scripted::serving(&[("1", &one), ("2", &two)]);
    let ground = Ground::new();
    assert!(!ground.pull(&registry.name("app:1")).await.expect("pulls").was_here);
    let again = ground.pull(&registry.name("app:1")).await.expect("pulls");
    assert!(again.was_here);
    assert_eq!(
        registry
            .asked("/manifests/1")
            .iter()
            .filter(|r| r.method == "GET")
            .count(),
        1
    );
    assert_eq!(registry.asked("/blobs/").len(), 2);
    let by_digest = format!("{}@{}", registry.name("app"), one.manifest_digest());
    assert!(ground.pull(&by_digest).await.expect("is here").was_here);
    assert_eq!(
        registry.asked("/manifests/sha256").len(),
        0,
        "what a digest means can't change"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moved_brings_the_new_image_and_only_what_is_new_of_it() {
    let base = Layer::gzip(&tar(&[("base", b"base")]));
    let above = |text: &str| Layer::gzip(&tar(&[("above", text.as_bytes())]));
    let one = Image::new(vec![base.clone(), above("one")]);
    let two = Image::new(vec![base, above("two")]);
    let old = Scripted::serving(&[("1", &one)]);
    let ground = Ground::new();
    ground.pull(&old.name("app:1")).await.expect("pulls");
    // The same name at the same place, but another image by now.
    let (manifest, digest) = (two.manifest.clone(), two.manifest_digest());
    let new = Scripted::answering(&[("2", &two)], move |request, _| {
        let answer = Answer::new(200, manifest.clone()).with("Docker-Content-Digest", &digest);
        request.path.ends_with("/manifests/1").then_some(answer)
    });
    let settings = mirrored(&old.host, &new.host);
    let options = StoreOptions {
        registries: settings,
        ..StoreOptions::default()
    };
    let store = ImageStore::open_with(&ground.dir.path().join("images"), options).expect("a store");
    let puller = Puller::with_patience(store, LoginFiles::default(), PATIENCE);
    let request = PullRequest {
        name: old.name("app:1"),
        ..PullRequest::default()
    };
    let pulled = puller.pull(request).done().await.expect("pulls");
    assert_eq!(content(&pulled, 1, "above"), "two");
    assert_eq!(new.asked("/blobs/").len(), 2, "the config and the new layer");
}

/// What is asked of one registry is asked of another first.
pub fn mirrored(host: &str, mirror: &str) -> RegistrySettings {
    let settings = kubelocal::image::HostSettings {
        mirrors: vec![mirror.to_owned()],
        ..Default::default()
    };
    RegistrySettings {
        hosts: [(host.to_owned(), settings)].into(),
        ..RegistrySettings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_of_an_index_is_the_one_for_this_machine() {
    let (own, other) = (Image::small("own"), Image::small("other"));
    let index = json!({"schemaVersion": 2, "manifests": [
        other.entry("s390x", ""), own.entry(ARCHITECTURE, ""), other.entry("unknown", ""),
    ]});
    let index = index.to_string().into_bytes();
    let nested = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": crate::image::OCI_INDEX, "digest": crate::image::digest(&index), "size": index.len()},
    ]});
    let indexes = [("1", index.clone()), ("nested", nested.to_string().into_bytes())];
    let registry = Scripted::with_index(&[("own", &own), ("other", &other)], &indexes, |_, _| None);
    let ground = Ground::new();
    for tag in ["1", "nested"] {
        let pulled = ground.pull(&registry.name(&format!("app:{tag}"))).await.expect("pulls");
        assert_eq!(content(&pulled, 0, "file"), "own");
    }
    assert!(ground.pull(&registry.name("app:1")).await.expect("pulls").was_here);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_layer_is_sent_once_whoever_asks_for_it() {
    let (shared, _) = large(1);
    let own = |text: &str| Layer::gzip(&tar(&[("own", text.as_bytes())]));
    let images: Vec<Image> = ["a", "b", "c"]
        .iter()
        .map(|text| Image::new(vec![shared.clone(), own(text)]))
        .collect();
    let registry = Scripted::serving(&[("a", &images[0]), ("b", &images[1]), ("c", &images[2])]);
    let ground = Ground::new();
    let names: Vec<String> = ["a", "a", "b", "b", "c"]
        .iter()
        .map(|tag| registry.name(&format!("app:{tag}")))
        .collect();
    let pulled = futures::future::join_all(names.iter().map(|name| ground.pull(name))).await;
    assert!(pulled.iter().all(Result::is_ok), "{pulled:?}");
    let blob = crate::image::digest(&shared.packed);
    assert_eq!(registry.asked(&blob).len(), 1);
    assert_eq!(
        registry.asked(&images[0].config).len(),
        1,
        "the same pull is shared as a whole"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    let (layer, data) = large(2);
    let (packed, path) = (layer.packed.clone(), crate::image::digest(&layer.packed));
    let image = Image::new(vec![layer]);
    let registry = Scripted::answering(&[("1", &image)], move |request, before| {
        let broken = Answer {
            break_after: Some(1 << 20),
            ..blob(request, &packed)
        };
        (request.path.ends_with(&path) && before < 2).then_some(broken)
    });
    let ground = Ground::new();
    let pulled = ground.pull(&registry.name("app:1")).await.expect("pulls");
    assert_eq!(fs::read(pulled.image.layers[0].join("data")).expect("a file"), data);
    let asked = registry.asked(&image.layers[0].packed_digest());
    let ranges: Vec<Option<&String>> = asked.iter().map(|request| request.headers.get("range")).collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!((ranges[0], ranges[1]), (None, Some(&"bytes=1048576-".to_owned())));
    assert_eq!(ranges[2], Some(&"bytes=2097152-".to_owned()));
    assert_eq!(ground.entries("partial"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_pull_left_is_not_sent_again() {
    let (layer, data) = large(3);
    let (packed, path) = (layer.packed.clone(), crate::image::digest(&layer.packed));
    let image = Image::new(vec![layer]);
    // Broken for as long as the first pull tries, then whole.
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let is_first = !request.headers.contains_key("range");
        let nothing = Answer::new(404, "");
        let half = Answer {
            break_after: Some(packed.len() / 2),
            ..blob(request, &packed)
        };
        match (request.path.ends_with(&path), is_first) {
            (false, _) => None,
            (true, true) => Some(half),
            (true, false) => Some(nothing),
        }
    });
    let ground = Ground::new();
    let said = ground.pull(&registry.name("app:1")).await.expect_err("breaks");
    assert!(said.contains("404"), "{said}");
    ground.assert_no_image();
    assert_eq!(ground.entries("partial").len(), 1);
    let whole = Scripted::serving(&[("1", &image)]);
    let pulled = ground.pull(&whole.name("app:1")).await.expect("pulls");
    assert_eq!(fs::read(pulled.image.layers[0].join("data")).expect("a file"), data);
    let asked = whole.asked(&image.layers[0].packed_digest());
    let range = asked[0]
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from: usize = range.and_then(|from| from.parse().ok()).expect("a range");
    let half = image.layers[0].packed.len() / 2;
    assert!(
        from <= half && from + (128 << 10) > half,
        "{from} of {half}: what was written is kept, a chunk may be lost"
    );
    assert_eq!(ground.entries("partial"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_that_is_not_the_blobs_is_thrown_away() {
    let (layer, data) = large(4);
    let image = Image::new(vec![layer]);
    let registry = Scripted::serving(&[("1", &image)]);
    let ground = Ground::new();
    let blob = image.layers[0].packed_digest();
    // As a power cut leaves a file: long enough, and zeros.
    let partial = ground
        .dir
        .path()
        .join("images/partial")
        .join(blob.trim_start_matches("sha256:"));
    fs::write(&partial, vec![0; 1 << 20]).expect("writes");
    let pulled = ground.pull(&registry.name("app:1")).await.expect("pulls");
    assert_eq!(fs::read(pulled.image.layers[0].join("data")).expect("a file"), data);
    assert_eq!(registry.asked(&blob).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_nobody_waits_for_is_given_up() {
    let (layer, _) = large(5);
    let (packed, path) = (layer.packed.clone(), crate::image::digest(&layer.packed));
    let image = Image::new(vec![layer]);
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let stalled = Answer {
            stall_after: Some(1 << 20),
            ..blob(request, &packed)
        };
        request.path.ends_with(&path).then_some(stalled)
    });
    let ground = Ground::new();
    let request = PullRequest {
        name: registry.name("app:1"),
        ..PullRequest::default()
    };
    let pull = ground.puller.pull(request);
    let has_begun = || pull.state().layers.iter().any(|layer| layer.received > 0);
    wait_until("bytes come", has_begun).await;
    assert_eq!(ground.puller.active().len(), 1);
    drop(pull);
    wait_until("what was half made is gone", || ground.entries("tmp").is_empty()).await;
    assert_eq!(ground.puller.active(), []);
    ground.assert_no_image();
}

/// Waits on a condition; the deadline is for a machine that is busy.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "this did not come: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_neither_mirror_nor_registry_has_an_image_both_say_why() {
    let refusal = r#"{"errors":[{"code":"DENIED","message":"not through this mirror"}]}"#;
    let mirror = Scripted::answering(&[], move |_, _| Some(Answer::new(403, refusal)));
    let own = Scripted::serving(&[]);
    let ground = Ground::with(mirrored(&own.host, &mirror.host), LoginFiles::default());
    let said = ground.pull(&own.name("app:1")).await.expect_err("is nowhere");
    let (at, mirrors) = (said.find(&mirror.host), said.find("not through this mirror"));
    assert!(said.contains(&own.host) && at.is_some() && at < mirrors, "{said}");
    ground.assert_empty();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_for_another_machine_comes_with_a_note() {
    let layer = Layer::gzip(&tar(&[("file", b"content")]));
    let config =
        json!({"architecture": "s390x", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}});
    let image = Image::with_config(vec![layer], &config);
    let registry = Scripted::serving(&[("1", &image), ("2", &Image::small("ours"))]);
    let ground = Ground::new();
    let notes = ground.pull(&registry.name("app:1")).await.expect("pulls").image.notes;
    let told = format!("it is for linux/s390x, and this machine is linux/{ARCHITECTURE}");
    assert_eq!(notes, [told]);
    let notes = ground.pull(&registry.name("app:2")).await.expect("pulls").image.notes;
    assert_eq!(notes, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_asked_first_and_the_registry_when_it_has_nothing() {
    let (one, two) = (Image::small("one"), Image::small("two"));
    let mirror = Scripted::serving(&[("1", &one)]);
    let own = Scripted::serving(&[("2", &two)]);
    let ground = Ground::with(mirrored(&own.host, &mirror.host), LoginFiles::default());
    let pulled = ground.pull(&own.name("app:1")).await.expect("pulls");
    assert_eq!(pulled.image.names, [own.name("app:1")], "its name is not the mirror's");
    assert_eq!(own.asked("").len(), 0);
    ground.pull(&own.name("app:2")).await.expect("pulls");
    assert!(!mirror.asked("/manifests/2").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_name_is_pulled_from_where_the_user_says() {
    let image = Image::small("short");
    let registry = Scripted::serving(&[("1", &image)]);
    let settings = RegistrySettings {
        short_names: [("app".to_owned(), registry.name("app"))].into(),
        ..RegistrySettings::default()
    };
    let ground = Ground::with(settings, LoginFiles::default());
    let pulled = ground.pull("app:1").await.expect("pulls");
    assert_eq!(pulled.image.names, [registry.name("app:1")]);
    assert!(ground.puller.images().resolve("app:1").expect("readable").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insecure_registry_may_speak_plain_http() {
    let registry = Scripted::serving(&[("1", &Image::small("x"))]);
    let settings = kubelocal::image::HostSettings {
        insecure: true,
        ..Default::default()
    };
    let settings = RegistrySettings {
        hosts: [(registry.host.clone(), settings)].into(),
        ..RegistrySettings::default()
    };
    let ground = Ground::with(settings, LoginFiles::default());
    ground
        .pull(&registry.name("app:1"))
        .await
        .expect("pulls, after TLS was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_this_machine_says_where_it_would_come_from() {
    let said = Ground::new()
        .pull("localhost/app:1")
        .await
        .expect_err("was never built");
    assert!(said.contains("built on this machine"), "{said}");
}
