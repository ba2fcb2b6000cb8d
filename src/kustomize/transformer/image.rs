//! Images: their names, tags and digests.

use super::Transform;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::fieldspec::{FieldSpec, visit};
use crate::kustomize::gopattern::Pattern;
use crate::kustomize::graph::{Cell, Graph, Id};
use crate::kustomize::kustomization::Image;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Tag};

/// Changes an image wherever it is used.
#[derive(Debug, Clone)]
pub struct ImageTransformer {
    /// The image and what becomes of it.
    pub image: Image,
    /// Fields with images, besides those of containers anywhere.
    pub specs: Vec<FieldSpec>,
}

impl Transform for ImageTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        let graph = &mut world.graph;
        let change = Change {
            image: &self.image,
            pattern: Pattern::new(&format!(
                "^{}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$",
                self.image.name
            )),
        };
        // First containers anywhere, then the fields that specs name; most are seen twice, as in the reference.
        let mut roots = map.roots();
        roots.retain(|root| graph.kind_name(*root) != "CustomResourceDefinition");
        for root in &roots {
            change.in_containers(graph, *root).at(self.image.pos)?;
        }
        for root in roots {
            for spec in &self.specs {
                visit(graph, root, spec, None, |graph, at| change.set(graph, at)).at(self.image.pos)?;
            }
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// One change, with its pattern or why it has none.
struct Change<'a> {
    image: &'a Image,
    pattern: Result<Pattern>,
}

impl Change<'_> {
    fn in_containers(&self, graph: &mut Graph, at: Id) -> Result<()> {
        match graph.kind(at) {
            Kind::Sequence => {
                let items = graph.content(at).to_vec();
                items.into_iter().try_for_each(|item| self.in_containers(graph, item))
            }
            Kind::Mapping => {
                let fields: Vec<_> = graph.fields(at).collect();
                for (key, value) in fields {
                    self.in_containers(graph, value)?;
                    let is_list =
                        matches!(graph.text(key), "containers" | "initContainers") && graph.is_sequence(value);
                    if is_list {
                        self.in_list(graph, value)?;
                    }
                }
                Ok(())
            }
            Kind::Scalar | Kind::Alias => Ok(()),
        }
    }

    fn in_list(&self, graph: &mut Graph, list: Id) -> Result<()> {
        for container in graph.content(list).to_vec() {
            if let Some(image) = graph.find(container, "image")? {
                self.set(graph, image)?;
            }
        }
        Ok(())
    }

    fn set(&self, graph: &mut Graph, at: Id) -> Result<()> {
        graph.expect_kind(at, Kind::Scalar)?;
        let pattern = self.pattern.as_ref().map_err(Error::clone)?;
        let Some(changed) = pattern
            .is_in(graph.text(at))
            .then(|| changed(graph.text(at), self.image))
        else {
            return Ok(());
        };
        let value = graph.add(Cell::scalar(&changed, Tag::None).at(self.image.pos));
        graph.set_scalar(at, value)
    }
}

/// An image's name, tag and digest.
fn split(image: &str) -> (&str, &str, &str) {
    let after_host = image.find('/').filter(|slash| *slash > 0).unwrap_or(0);
    let rest = &image[after_host..];
    let (at, colon) = (rest.find('@'), rest.find(':'));
    let end = |at: usize| &image[..after_host + at];
    match (at, colon) {
        (None, None) => (image, "", ""),
        (Some(at), None) => (end(at), "", &rest[at + 1..]),
        (Some(at), Some(colon)) if at < colon => (end(at), "", &rest[at + 1..]),
        (Some(at), Some(colon)) => (end(colon), &rest[colon + 1..at], &rest[at + 1..]),
        (None, Some(colon)) => (end(colon), &rest[colon + 1..], ""),
    }
}

/// What becomes of an image.
fn changed(from: &str, to: &Image) -> String {
    let (name, tag, digest) = split(from);
    let name = if to.new_name.is_empty() { name } else { &to.new_name };
    let (tag, digest) = match (to.new_tag.is_empty(), to.digest.is_empty()) {
        (false, false) => (to.new_tag.clone(), to.digest.as_str()),
        (false, true) => (to.new_tag.clone(), ""),
        (true, false) => (String::new(), to.digest.as_str()),
        (true, true) if !to.tag_suffix.is_empty() => (format!("{tag}{}", to.tag_suffix), ""),
        (true, true) => (tag.to_owned(), digest),
    };
    let mut image = name.to_owned();
    if !tag.is_empty() {
        image.push(':');
        image.push_str(&tag);
    }
    if !digest.is_empty() {
        image.push('@');
        image.push_str(digest);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_name_tag_and_digest() {
        for (image, parts) in [
            ("nginx", ("nginx", "", "")),
            ("nginx:1.25", ("nginx", "1.25", "")),
            ("nginx@sha256:abc", ("nginx", "", "sha256:abc")),
            ("nginx:1.25@sha256:abc", ("nginx", "1.25", "sha256:abc")),
            ("host:5000/team/app:v1", ("host:5000/team/app", "v1", "")),
            ("host:5000/team/app", ("host:5000/team/app", "", "")),
        ] {
            assert_eq!(split(image), parts);
        }
    }

    #[test]
    fn what_is_not_said_of_an_image_stays() {
        let to = |new_name: &str, new_tag: &str, digest: &str| Image {
            new_name: new_name.to_owned(),
            new_tag: new_tag.to_owned(),
            digest: digest.to_owned(),
            ..Image::default()
        };
        assert_eq!(changed("a:1@sha256:d", &to("b", "", "")), "b:1@sha256:d");
        assert_eq!(changed("a:1@sha256:d", &to("", "2", "")), "a:2");
        assert_eq!(changed("a:1", &to("", "", "sha256:e")), "a@sha256:e");
        assert_eq!(changed("a", &to("", "2", "sha256:e")), "a:2@sha256:e");
    }
}
