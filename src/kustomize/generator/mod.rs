//! Generators: objects made from files, literals and charts.

mod config;
mod data;
mod helm;
mod iam;

pub use self::config::{ConfigGenerator, ConfigKind};
pub use self::data::merge_data;
pub use self::helm::HelmGenerator;
pub use self::iam::IamPolicyGenerator;
use super::error::Result;
use super::loader::Loader;
use super::resource::Resource;
use super::world::World;

/// What makes objects.
pub trait Generate {
    /// Makes them.
    ///
    /// # Errors
    /// If a file can't be read or what is asked for contradicts itself.
    fn generate(&self, world: &mut World<'_>, loader: &Loader) -> Result<Vec<Resource>>;

    /// What the reference calls it.
    fn kind(&self) -> &'static str;
}
