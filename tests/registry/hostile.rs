//! Registries that break, lie and stall: each is refused in words that say why, and nothing is left half done.

use std::io::Write;

use kubelocal::image::{Pull, PullRequest};

use crate::forms::noise;
use crate::image::{Image, Layer, OCI_MANIFEST, digest, tar};
use crate::pulls::Ground;
use crate::scripted::{Answer, Request, Scripted};

/// Pulls from a registry that behaves so, which must fail with these words and leave nothing.
async fn refused(
    image: &Image,
    words: &str,
    script: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
) {
    let registry = Scripted::answering(&[("1", image)], script);
    let ground = Ground::new();
    let said = ground.pull(&registry.name("app:1")).await.expect_err(words);
    assert!(said.contains(words), "wanted {words:?}, got {said:?}");
    ground.assert_empty();
}

fn at_blob(request: &Request, image: &Image) -> bool {
    request.path.ends_with(&image.layers[0].packed_digest())
}

fn at_manifest(request: &Request) -> bool {
    request.path.ends_with("/manifests/1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_another_is_refused() {
    let image = Image::small("right");
    let other = Image::small("wrong").layers[0].packed.clone();
    let seen = image.clone();
    refused(&image, "expected sha256:", move |request, _| {
        at_blob(request, &seen).then(|| Answer::new(200, other.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_too_short_or_too_long_is_refused() {
    let image = Image::small("right");
    let packed = image.layers[0].packed.clone();
    let seen = image.clone();
    let short = packed[..packed.len() - 5].to_vec();
    refused(&image, "ended after", move |request, _| {
        at_blob(request, &seen).then(|| Answer::new(200, short.clone()))
    })
    .await;
    let seen = image.clone();
    let long = [packed, noise(1, 100_000)].concat();
    refused(&image, "over the limit", move |request, _| {
        at_blob(request, &seen).then(|| Answer::new(200, long.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_is_not_downloaded_beyond_what_is_refused() {
    let rest = noise(1, 8 << 20);
    let refused_first = tar(&[("file", b""), ("file/below", b""), ("rest", &rest)]);
    for layer in [Layer::plain(refused_first.clone()), Layer::gzip(&refused_first)] {
        let image = Image::new(vec![layer]);
        let (seen, packed) = (image.clone(), image.layers[0].packed.clone());
        // Whoever wants more than this finds that nothing comes.
        refused(&image, "a parent is a file", move |request, _| {
            at_blob(request, &seen).then(|| Answer {
                stall_after: Some(6 << 20),
                ..Answer::new(200, packed.clone())
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let mut layer = Layer::gzip(&tar(&[("file", b"x")]));
    layer.diff_id = digest(b"something else");
    refused(&Image::new(vec![layer]), "unpacked: digest is", |_, _| None).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(b"this is no archive, however long it is read")
        .expect("memory");
    let packed = encoder.finish().expect("memory");
    let layer = Layer {
        packed,
        ..Layer::gzip(b"x")
    };
    refused(&Image::new(vec![layer]), "the archive is truncated", |_, _| None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_another_or_too_long_is_refused() {
    let image = Image::small("right");
    let other = Image::small("wrong").manifest;
    let promised = image.manifest_digest();
    refused(&image, "digest is", move |request, _| {
        let lie = Answer::new(200, other.clone()).with("Docker-Content-Digest", &promised);
        at_manifest(request).then_some(lie)
    })
    .await;
    refused(&image, "more than", |request, _| {
        at_manifest(request).then(|| Answer::new(200, vec![b' '; 5 << 20]))
    })
    .await;
    // Without a length it is counted while it comes.
    refused(&image, "more than", |request, _| {
        let mut body = format!("{:x}\r\n", 5 << 20).into_bytes();
        body.extend(vec![b' '; 5 << 20]);
        body.extend(b"\r\n0\r\n\r\n");
        let chunked = Answer::new(200, body)
            .with("Transfer-Encoding", "chunked")
            .with("Content-Length", "");
        let headers = chunked
            .headers
            .into_iter()
            .filter(|(name, _)| name != "Content-Length")
            .collect();
        at_manifest(request).then_some(Answer {
            headers,
            ..Answer::new(200, chunked.body)
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_by_digest_must_have_that_digest() {
    let image = Image::small("right");
    let other = Image::small("wrong").manifest;
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        request
            .path
            .contains("/manifests/")
            .then(|| Answer::new(200, other.clone()))
    });
    let ground = Ground::new();
    let name = format!("{}@{}", registry.name("app"), image.manifest_digest());
    let said = ground.pull(&name).await.expect_err("a lie");
    assert!(said.contains("digest is"), "{said}");
    ground.assert_empty();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_1_is_refused_by_name() {
    let image = Image::small("x");
    let schema_1 = r#"{"schemaVersion": 1, "name": "test/app", "tag": "1", "fsLayers": [], "history": []}"#;
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
    ] {
        refused(&image, "schema 1", move |request, _| {
            at_manifest(request).then(|| Answer::new(200, schema_1).with("Content-Type", media_type))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_followed_a_few_times_and_never_in_a_circle() {
    let image = Image::small("x");
    refused(&image, "leads elsewhere more than", |request, before| {
        let on = Answer::new(307, "").with("Location", format!("{}?{before}", request.path));
        request.path.contains("/blobs/").then_some(on)
    })
    .await;
    let registry = Scripted::answering(&[("1", &image)], |request, _| {
        let (path, is_moved) = (request.path.clone(), request.path.starts_with("/v2/"));
        (is_moved && path.contains("/blobs/")).then(|| Answer::new(307, "").with("Location", format!("/storage{path}")))
    });
    Ground::new()
        .pull(&registry.name("app:1"))
        .await
        .expect("one step is what storage services take");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_stalls_is_given_up() {
    let image = Image::small("x");
    refused(&image, "stalls", |request, _| {
        let silent = Answer {
            stall_after: Some(0),
            ..Answer::new(200, "{}")
        };
        at_manifest(request).then_some(silent)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_sends_a_byte_at_a_time_is_given_up() {
    let image = Image::small("x");
    let blob = image.layers[0].packed.clone();
    // Each connection brings one byte more and breaks.
    refused(&image, "end of file", move |request, _| {
        let wanted = Answer {
            break_after: Some(1),
            ..crate::scripted::blob(request, &blob)
        };
        let is_layer = request.path.ends_with(&crate::image::digest(&blob));
        is_layer.then_some(wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_one_registry_do_not_wait_for_another() {
    let three = |seed: u8| {
        (0..3)
            .map(|at| Layer::plain(tar(&[("f", &noise(seed + at, 1 << 16))])))
            .collect()
    };
    let (stuck, free) = (Image::new(three(1)), Image::new(three(5)));
    let layers: Vec<String> = stuck.layers.iter().map(Layer::packed_digest).collect();
    let slow = Scripted::answering(&[("1", &stuck)], move |request, _| {
        let is_layer = layers.iter().any(|digest| request.path.ends_with(digest));
        let answer = Answer {
            stall_after: Some(10),
            ..Answer::new(200, vec![0; 1 << 16])
        };
        is_layer.then_some(answer)
    });
    let fast = Scripted::answering(&[("1", &free)], |_, _| None);
    let ground = std::sync::Arc::new(Ground::new());
    let pulling = tokio::spawn({
        let (ground, name) = (ground.clone(), slow.name("app:1"));
        async move { ground.pull(&name).await }
    });
    while slow.asked("/blobs/").len() < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    ground.pull(&fast.name("app:1")).await.expect("nobody is in its way");
    assert!(!pulling.is_finished(), "the other registry should still be asked");
    pulling.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_speaks_for_itself_when_it_refuses() {
    let image = Image::small("x");
    for (status, body, words) in [
        (
            500,
            r#"{"errors":[{"code":"UNKNOWN","message":"disk on fire"}]}"#,
            "UNKNOWN: disk on fire",
        ),
        (
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#,
            "pull rate limit",
        ),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
            "denies access without credentials: DENIED",
        ),
        (404, "<html>nginx</html>", "404 Not Found"),
    ] {
        refused(&image, words, move |request, _| {
            at_manifest(request).then(|| Answer::new(status, body))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again() {
    let image = Image::small("x");
    let registry = Scripted::answering(&[("1", &image)], |request, before| {
        (before == 0 && request.path.len() > 5).then(|| Answer::new(503, "").with("Retry-After", 0))
    });
    Ground::new()
        .pull(&registry.name("app:1"))
        .await
        .expect("the second try is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_nest_for_ever_are_refused() {
    let image = Image::small("x");
    // Each index leads to the next, made as it is asked for: the digest of what does not exist yet can't be known, so
    // a chain is made backwards.
    let mut chain = vec![image.manifest.clone()];
    for _ in 0..6 {
        let last = chain.last().expect("is never empty");
        let media_type = if chain.len() == 1 {
            OCI_MANIFEST
        } else {
            crate::image::OCI_INDEX
        };
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"mediaType": media_type, "digest": digest(last), "size": last.len()},
        ]});
        chain.push(index.to_string().into_bytes());
    }
    let names: Vec<String> = (1..chain.len()).map(|depth| format!("d{depth}")).collect();
    let indexes: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(String::as_str)
        .zip(chain.into_iter().skip(1))
        .collect();
    let registry = Scripted::with_index(&[("1", &image)], &indexes, |_, _| None);
    let ground = Ground::new();
    let said = ground.pull(&registry.name("app:d6")).await.expect_err("too deep");
    assert!(said.contains("nest too deep"), "{said}");
    ground
        .pull(&registry.name("app:d2"))
        .await
        .expect("two are what the wild has");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_layer_ends_the_others() {
    let mut layers: Vec<Layer> = (0..8)
        .map(|n| Layer::gzip(&tar(&[("data", &noise(n, 200_000))])))
        .collect();
    layers[1].diff_id = digest(b"something else");
    let image = Image::new(layers);
    let registry = Scripted::serving(&[("1", &image)]);
    let ground = Ground::new();
    let said = ground.pull(&registry.name("app:1")).await.expect_err("one is bad");
    assert!(said.contains("unpacked: digest is"), "its own error is told: {said}");
    assert_eq!(ground.entries("records"), [""; 0]);
    assert_eq!(ground.entries("tmp"), [""; 0]);
    // Layers that were whole wait for the next try, and go with the next sweep.
    assert!(ground.entries("layers").len() < 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_can_not_fit_is_refused_before_it_comes() {
    let image = Image::small("x");
    let size = image.layers[0].packed.len();
    let text = String::from_utf8(image.manifest.clone()).expect("is JSON");
    let huge = text.replace(&format!("\"size\":{size}"), "\"size\":200000000000");
    assert_ne!(text, huge);
    refused(&image, "the disk has", move |request, _| {
        let answer = Answer::new(200, huge.clone()).with("Content-Type", OCI_MANIFEST);
        at_manifest(request).then_some(answer)
    })
    .await;
}

/// A registry that begins every layer of these images and never goes on, and pulls of them that have come so far that so many
/// layers have begun.
async fn stuck(ground: &Ground, images: &[Image], begun: usize) -> (Scripted, Vec<Pull>) {
    let tags: Vec<String> = (0..images.len()).map(|n| n.to_string()).collect();
    let tagged: Vec<(&str, &Image)> = tags.iter().map(String::as_str).zip(images).collect();
    let layers: Vec<Layer> = images.iter().flat_map(|image| image.layers.clone()).collect();
    let digests: Vec<String> = layers.iter().map(Layer::packed_digest).collect();
    let of = digests.clone();
    let registry = Scripted::answering(&tagged, move |request, _| {
        let at = of.iter().position(|digest| request.path.ends_with(digest))?;
        let packed = &layers[at].packed;
        let stalled = Answer {
            stall_after: Some(packed.len() / 2),
            ..Answer::new(200, packed.clone())
        };
        Some(stalled)
    });
    let request = |tag| PullRequest {
        name: registry.name(&format!("app:{tag}")),
        ..PullRequest::default()
    };
    let pulls: Vec<Pull> = tags.iter().map(|tag| ground.puller.pull(request(tag))).collect();
    let is_begun = || {
        let asked = registry.asked("/blobs/");
        let layers = asked
            .iter()
            .filter(|request| digests.iter().any(|digest| request.path.ends_with(digest)));
        layers.count() >= begun
    };
    let wait = async {
        while !is_begun() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait)
        .await
        .expect("they begin");
    (registry, pulls)
}

fn assert_stuck(pulls: &[Pull]) {
    let ended = pulls.iter().filter(|pull| pull.outcome().is_some()).count();
    assert_eq!(ended, 0, "the others had to wait for them");
}

/// An image of layers that others don't have.
fn of_noise(seeds: std::ops::Range<u8>) -> Image {
    let layer = |seed| Layer::zstd(&tar(&[("data", &noise(seed, 1 << 20))]));
    Image::new(seeds.map(layer).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_a_stuck_registry_keep_nobody_from_another_one() {
    let ground = Ground::new();
    let images = [of_noise(1..4), of_noise(4..7), of_noise(7..10), of_noise(10..13)];
    let (_registry, pulls) = stuck(&ground, &images, 6).await;
    let other = Scripted::serving(&[("1", &of_noise(20..24))]);
    ground.pull(&other.name("app:1")).await.expect("comes");
    assert_stuck(&pulls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_to_have_a_layer_and_never_sends_it_keeps_nobody_from_it() {
    let ground = Ground::new();
    let tar = tar(&[("data", &noise(1, 1 << 20))]);
    let healthy = Image::new(vec![Layer::gzip(&tar)]);
    // The very same layer, and the same tar packed otherwise.
    let (_first, first) = stuck(&ground, std::slice::from_ref(&healthy), 1).await;
    let (_second, second) = stuck(&ground, &[Image::new(vec![Layer::zstd(&tar)])], 1).await;
    let other = Scripted::serving(&[("1", &healthy)]);
    ground.pull(&other.name("app:1")).await.expect("comes");
    assert_stuck(&[first, second].concat());
}
