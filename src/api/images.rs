//! `/kubelocal/v1/images`: what the image store can do, over HTTP. Everything there blocks, so it runs on threads of its own.

use std::io::Read;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::body::{self, Answer};
use super::error::ApiError;
use super::own::{Adopted, ImageInfo, ImageList, ImageRemoved, TagRequest};
use super::request::Query;
use super::{Api, write};
use crate::image::{Image, ImageError, ImageStore, ImageSummary, LoadSource, Reference};
use crate::pod;

impl Api {
    pub(super) async fn list_images(&self) -> Answer {
        let images = self.with_images(|images| images.list()).await?;
        let images = images.into_iter().map(summary).collect();
        answer(&ImageList { images })
    }

    pub(super) async fn inspect_image(&self, query: &Query) -> Answer {
        let name = query.text("name").to_owned();
        let found = self.with_images(move |images| images.inspect(&name)).await?;
        Ok(body::json(StatusCode::OK, &found))
    }

    pub(super) async fn load_images(&self, query: &Query, request: Request<Incoming>) -> Answer {
        let name = Some(query.text("name").to_owned()).filter(|name| !name.is_empty());
        let reader = reader(request);
        let load = move |images: &ImageStore| images.load(LoadSource::Reader(Box::new(reader)), name.as_deref());
        let loaded = self.with_images(load).await?;
        self.bells.images_changed();
        answer(&ImageList {
            images: loaded.into_iter().map(info).collect(),
        })
    }

    pub(super) async fn adopt_image(&self, query: &Query) -> Answer {
        let name = query.text("name").to_owned();
        let adopted = self.with_images(move |images| images.adopt_built(&name)).await?;
        if adopted.is_some() {
            self.bells.images_changed();
        }
        answer(&Adopted {
            image: adopted.map(info),
        })
    }

    pub(super) async fn import_image(&self, query: &Query, request: Request<Incoming>) -> Answer {
        let (name, reader) = (query.text("name").to_owned(), reader(request));
        let asked = name.clone();
        let mut made = self.with_images(move |images| images.import(reader, &name)).await?;
        self.bells.images_changed();
        // The same files may be known by other names, of which nobody asked.
        if let Ok(asked) = Reference::parse(&asked) {
            made.names.retain(|known| *known == asked.store_name());
        }
        answer(&ImageList {
            images: vec![info(made)],
        })
    }

    pub(super) async fn tag_image(&self, request: Request<Incoming>) -> Answer {
        let TagRequest { source, target } = write::read_json(request).await?;
        self.with_images(move |images| images.tag(&source, &target)).await?;
        self.bells.images_changed();
        Ok(body::json(StatusCode::OK, &json!({})))
    }

    pub(super) async fn remove_image(&self, query: &Query) -> Answer {
        let (name, used) = (query.text("name").to_owned(), pod::images_in_use(&self.store));
        let is_used = move |id: &str| used.contains(id);
        let removed = self.with_images(move |images| images.remove(&name, &is_used)).await?;
        answer(&ImageRemoved {
            untagged: removed.untagged,
            deleted: removed.deleted.into_iter().collect(),
        })
    }

    pub(super) async fn save_image(&self, query: &Query) -> Answer {
        let name = query.text("name").to_owned();
        let wanted = name.clone();
        self.with_images(move |images| images.check_packed(&wanted)).await?;
        let (sender, receiver) = mpsc::channel(4);
        let images = self.images.clone();
        tokio::task::spawn_blocking(move || {
            let mut out = ChannelWriter(sender);
            if let Err(error) = images.save(&name, &mut out) {
                // The headers are out: a broken flow is how the client learns it.
                out.fail(&error);
            }
        });
        let parts = futures::stream::unfold(receiver, |mut parts| async {
            parts.recv().await.map(|part| (part, parts))
        });
        Ok(body::typed(StatusCode::OK, "application/x-tar", body::flowing(parts)))
    }

    pub(super) async fn with_images<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&ImageStore) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let images = self.images.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&images)).await;
        asked
            .map_err(|e| ApiError::internal(e.to_string()))?
            .map_err(ApiError::from)
    }
}

pub(super) fn answer<T: serde::Serialize>(value: &T) -> Answer {
    Ok(body::json(
        StatusCode::OK,
        &serde_json::to_value(value).expect("field names are text"),
    ))
}

fn platform(architecture: &str) -> String {
    if architecture.is_empty() {
        String::new()
    } else {
        format!("linux/{architecture}")
    }
}

pub(super) fn info(image: Image) -> ImageInfo {
    let platform = platform(&image.architecture);
    ImageInfo {
        id: image.id,
        references: image.names,
        size: image.size,
        created: image.created.map(Time),
        platform,
    }
}

fn summary(image: ImageSummary) -> ImageInfo {
    let platform = platform(&image.architecture);
    ImageInfo {
        id: image.id,
        references: image.names,
        size: image.size,
        created: image.created.map(Time),
        platform,
    }
}

/// A request's body for code that blocks.
fn reader(request: Request<Incoming>) -> impl Read + Send {
    let parts = request.into_body().into_data_stream().map_err(std::io::Error::other);
    SyncIoBridge::new(StreamReader::new(parts.boxed()))
}

/// Hands what blocking code writes to a flow; a client that reads slowly slows the writer down.
struct ChannelWriter(mpsc::Sender<std::io::Result<Bytes>>);

impl ChannelWriter {
    fn fail(&self, error: &ImageError) {
        // No receiver means that the client went.
        let _ = self.0.blocking_send(Err(std::io::Error::other(error.to_string())));
    }
}

impl std::io::Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let part = Bytes::copy_from_slice(data);
        let sent = self.0.blocking_send(Ok(part));
        sent.map(|()| data.len())
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
