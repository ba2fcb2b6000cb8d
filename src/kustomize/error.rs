//! What can go wrong in a build, and where.

use std::fmt;

use super::yaml::{FileId, Pos, YamlError};

/// A result of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Which step refused. The texts are Kustomize's own words where a user may know them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A file or directory can't be read.
    #[error("{0}")]
    Read(String),
    /// A path leaves the overlay's root, is a cycle, or is of a kind that is not allowed.
    #[error("{0}")]
    Load(String),
    /// A file is no YAML, or not what Kubernetes calls an object.
    #[error("{0}")]
    Yaml(String),
    /// A kustomization, or a configuration that it names, says something that it can't.
    #[error("{0}")]
    Kustomization(String),
    /// An object has not the shape that a transformer needs.
    #[error("{0}")]
    Object(String),
    /// Two objects are one, or an object that is meant is not there.
    #[error("{0}")]
    Resources(String),
    /// What is asked for needs another program or the network, and is not allowed here.
    #[error("{0}")]
    Forbidden(String),
    /// The input is larger than any real one.
    #[error("{0}")]
    Limit(String),
}

/// Why a build failed: the step that refused, what it was part of, and the place in a file where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The step and its reason.
    pub why: Why,
    /// What the step was part of, innermost first.
    pub context: Vec<String>,
    /// The place; the innermost one that was known.
    pub pos: Option<Pos>,
}

impl Error {
    /// An error without context or place.
    pub fn new(why: Why) -> Self {
        Self {
            why,
            context: Vec::new(),
            pos: None,
        }
    }

    /// See [`Why::Read`].
    pub fn read(why: impl Into<String>) -> Self {
        Self::new(Why::Read(why.into()))
    }

    /// See [`Why::Load`].
    pub fn load(why: impl Into<String>) -> Self {
        Self::new(Why::Load(why.into()))
    }

    /// See [`Why::Yaml`].
    pub fn yaml(why: impl Into<String>) -> Self {
        Self::new(Why::Yaml(why.into()))
    }

    /// See [`Why::Kustomization`].
    pub fn kustomization(why: impl Into<String>) -> Self {
        Self::new(Why::Kustomization(why.into()))
    }

    /// See [`Why::Object`].
    pub fn object(why: impl Into<String>) -> Self {
        Self::new(Why::Object(why.into()))
    }

    /// See [`Why::Resources`].
    pub fn resources(why: impl Into<String>) -> Self {
        Self::new(Why::Resources(why.into()))
    }

    /// See [`Why::Forbidden`].
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(Why::Forbidden(why.into()))
    }

    /// See [`Why::Limit`].
    pub fn limit(why: impl Into<String>) -> Self {
        Self::new(Why::Limit(why.into()))
    }

    /// The same error at a place, unless a place nearer to the cause is known already.
    #[must_use]
    pub fn at(mut self, pos: Pos) -> Self {
        // File zero is a text inside a text, which the user knows by what it is in.
        if self.pos.is_none() && pos.is_known() && pos.file != FileId::default() {
            self.pos = Some(pos);
        }
        self
    }

    /// The same error as part of something.
    #[must_use]
    pub fn within(mut self, context: impl Into<String>) -> Self {
        self.context.push(context.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        self.why.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<YamlError> for Error {
    fn from(error: YamlError) -> Self {
        Self::yaml(error.problem.to_string()).at(error.pos)
    }
}

/// Adds to results what can be added to errors.
pub trait Context<T> {
    /// The error as part of something.
    ///
    /// # Errors
    /// The same as before.
    fn within(self, context: impl FnOnce() -> String) -> Result<T>;

    /// The error at a place, unless a nearer one is known.
    ///
    /// # Errors
    /// The same as before.
    fn at(self, pos: Pos) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn within(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.within(context()))
    }

    fn at(self, pos: Pos) -> Result<T> {
        self.map_err(|error| error.at(pos))
    }
}
