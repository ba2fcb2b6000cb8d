//! What is sent to a registry, and what becomes of it when the way is slow or breaks.

use std::time::Duration;

use kubelocal::image::PushRequest;

use crate::forms::noise;
use crate::image::{Image, Layer, tar};
use crate::pulls::Ground;
use crate::scripted::{Answer, Reading, Request, Scripted};

const BROKEN: Reading = slow(0, Duration::ZERO);

const fn slow(piece: u64, pause: Duration) -> Reading {
    Reading { piece, pause }
}

/// A registry that has an image and takes others, by uploads that it numbers.
fn taking(image: &Image, reading: impl Fn(&Request) -> Reading + Send + Sync + 'static) -> Scripted {
    Scripted::answering(&[("1", image)], move |request, before| {
        let is_blob = request.path.contains("/blobs/");
        match request.method.as_str() {
            "HEAD" if is_blob => Some(Answer::new(404, "")),
            "POST" => Some(Answer::new(202, "").with("Location", format!("/upload/{before}"))),
            "PUT" => Some(Answer {
                reading: reading(request),
                ..Answer::new(201, "")
            }),
            _ => None,
        }
    })
}

async fn push(ground: &Ground, registry: &Scripted) -> Result<(), String> {
    ground.pull(&registry.name("app:1")).await.expect("pulls");
    let request = PushRequest {
        name: registry.name("app:1"),
        target: Some(registry.name("copy:2")),
        logins: None,
    };
    let pushed = ground.puller.push(request).run().await;
    pushed.map(drop).map_err(|error| error.to_string())
}

fn uploads(registry: &Scripted) -> Vec<String> {
    let puts = registry.asked("/upload/").into_iter();
    puts.map(|request| request.path.split('?').next().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_begins_anew_at_a_place_of_its_own() {
    let image = Image::small("x");
    let registry = taking(&image, |request| match request.path.starts_with("/upload/0?") {
        true => BROKEN,
        false => Reading::default(),
    });
    push(&Ground::new(), &registry).await.expect("the second try is taken");
    assert_eq!(uploads(&registry), ["/upload/0", "/upload/1", "/upload/2"]);
    let last = registry.asked("/upload/2").pop().expect("was asked");
    let config = image.config.trim_start_matches("sha256:");
    assert!(
        last.path.contains(config),
        "the config comes after the layers: {}",
        last.path
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_may_take_as_long_as_it_moves() {
    // More than what sockets hold, so that the sender notices how slow the registry is: ten pauses are longer than
    // the time after which what stalls is given up.
    let data = noise(3, 24 << 20);
    let image = Image::new(vec![Layer::plain(tar(&[("data", &data)]))]);
    let registry = taking(&image, |request| match request.path.starts_with("/upload/0?") {
        true => slow(5 << 19, Duration::from_millis(450)),
        false => Reading::default(),
    });
    push(&Ground::new(), &registry).await.expect("it moves");
    assert_eq!(uploads(&registry), ["/upload/0", "/upload/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_nobody_reads_is_given_up() {
    let data = noise(4, 24 << 20);
    let image = Image::new(vec![Layer::plain(tar(&[("data", &data)]))]);
    let registry = taking(&image, |_| slow(1, Duration::from_secs(3600)));
    let said = push(&Ground::new(), &registry).await.expect_err("nobody reads");
    assert!(said.contains("stalls") && said.contains("bytes sent"), "{said}");
}
