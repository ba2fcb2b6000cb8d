//! The order of the output.

use std::cmp::Ordering;

use crate::kustomize::error::{Error, Result};
use crate::kustomize::kustomization::SortOptions;
use crate::kustomize::resid::{Gvk, ResId};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;

/// Puts objects in order: as they were loaded, or by kind.
///
/// # Errors
/// If the order is not known, or kinds are said for one that does not look at them.
pub fn sort(world: &World<'_>, map: &mut ResMap, options: &SortOptions) -> Result<()> {
    match options.order.as_str() {
        "fifo" if options.legacy.is_some() => Err(Error::kustomization(
            "the field 'sortOptions.legacySortOptions' is set but the selected sort order is 'fifo', not 'legacy'",
        )
        .at(options.pos)),
        "fifo" => Ok(()),
        "legacy" => {
            let (first, last) = options.kinds();
            let graph = &world.graph;
            let rank = |kind: &str| {
                let of = |kinds: &[String]| kinds.iter().rposition(|there| there == kind);
                match (of(&last), of(&first)) {
                    (Some(at), _) => (2, at),
                    (None, Some(at)) => (0, at),
                    (None, None) => (1, 0),
                }
            };
            let mut list = std::mem::take(map.list_mut());
            list.sort_by_cached_key(|resource| {
                resource
                    .root
                    .map(|root| Key::new(graph.cur_id(root), rank(graph.kind_name(root))))
            });
            *map.list_mut() = list;
            Ok(())
        }
        _ => Err(Error::kustomization("the field 'sortOptions.order' must be one of [fifo, legacy]").at(options.pos)),
    }
}

/// What an object is sorted by.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    rank: (u8, usize),
    gvk: Gvk,
    gvk_text: String,
    text: String,
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

impl Key {
    fn new(id: ResId, rank: (u8, usize)) -> Self {
        let gvk_text = format!(
            "{}_{}_{}",
            or(&id.gvk.group, "~G"),
            or(&id.gvk.version, "~V"),
            or(&id.gvk.kind, "~K")
        );
        let text = format!("{}|{}|{}", id.gvk, or(&id.namespace, "~X"), or(&id.name, "~N"));
        Self {
            rank,
            gvk: id.gvk,
            gvk_text,
            text,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.gvk == other.gvk {
            return self.text.cmp(&other.text);
        }
        let by_text = self.gvk_text.cmp(&other.gvk_text);
        // Namespaces of the core come after others that are called so.
        let are_namespaces = self.gvk.kind == "Namespace" && other.gvk.kind == "Namespace";
        let has_core = self.gvk.group.is_empty() || other.gvk.group.is_empty();
        let by_type = if are_namespaces && has_core {
            by_text.reverse()
        } else {
            by_text
        };
        self.rank.cmp(&other.rank).then(by_type)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
