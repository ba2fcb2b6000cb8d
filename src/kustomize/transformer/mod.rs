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
use super::resmap::ResMap;
use super::world::World;

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
}
