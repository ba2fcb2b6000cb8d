//! Transformers: what changes objects that are there. One file each.

mod affix;
mod hash;
mod image;
mod json_patch;
mod namespace;
mod order;
mod patch;
mod references;
mod replacement;
mod replicas;
mod texts;
mod value_add;
mod vars;

pub use self::affix::{Affix, AffixTransformer};
pub use self::hash::add_hashes;
pub use self::image::ImageTransformer;
pub use self::namespace::{NamespaceTransformer, Subjects};
pub use self::order::sort;
pub use self::patch::{JsonPatchTransformer, PatchTransformer, StrategicMergeTransformer};
pub use self::references::{Candidates, fix_references};
pub use self::replacement::ReplacementTransformer;
pub use self::replicas::ReplicaTransformer;
pub use self::texts::{Texts, TextsTransformer};
pub use self::value_add::ValueAddTransformer;
pub use self::vars::resolve_vars;
use super::error::Result;
use super::graph::Graph;
use super::resmap::ResMap;
use super::world::{File, World};
use super::yaml::FileId;

/// What changes objects.
pub trait Transform: std::fmt::Debug + Send {
    /// Changes them.
    ///
    /// # Errors
    /// If an object has not the shape that this needs, or what is meant is not there.
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()>;

    /// Whether it does to an object alone what it does to it among others.
    fn is_local(&self) -> bool {
        false
    }

    /// Does to some objects what [`Transform::transform`] would do to them among all. Returns whether that can be told from
    /// these alone: it can't where what becomes of one object depends on another.
    ///
    /// # Errors
    /// As [`Transform::transform`].
    fn again(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<bool> {
        if self.is_local() {
            self.transform(world, map)?;
        }
        Ok(self.is_local())
    }

    /// The file that it was made from, if [`Transform::reload`] can follow its changes.
    fn file(&self) -> Option<FileId> {
        None
    }

    /// Which of the objects that it is about to run on it is for, as far as it follows its file: their places in the list.
    fn aims_at(&self, _graph: &Graph, _map: &ResMap) -> Vec<usize> {
        Vec::new()
    }

    /// The same transformer, made from its file's new text, if that is for the same objects.
    ///
    /// # Errors
    /// If the text is wrong.
    fn reload(&self, _world: &mut World<'_>, _file: &File) -> Result<Option<Box<dyn Transform>>> {
        Ok(None)
    }
}
