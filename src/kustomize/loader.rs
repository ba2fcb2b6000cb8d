//! Where a kustomization may load from: below its own directory, and other kustomizations from anywhere but above.

use super::error::{Error, Result};
use super::fs::Resolved;
use super::paths;
use super::remote::{self, RepoSpec};
use super::world::{File, World};

/// How many levels of bases there may be. Overlays have three or four; a build recurses into each.
const MAX_BASES: usize = 64;

/// The view of one kustomization.
#[derive(Debug, Clone)]
pub struct Loader {
    root: String,
    /// Directories of the kustomizations that led here.
    visited: Vec<String>,
    /// The repository that this one came from, if it came from one: the directory that it is in now.
    repository: Option<String>,
    /// URLs that led here.
    urls: Vec<String>,
    /// How many kustomizations led here.
    depth: usize,
}

impl Loader {
    /// The view of the kustomization that is built.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn new(world: &mut World<'_>, root: &str) -> Result<Self> {
        if let Some(spec) = RepoSpec::parse(root) {
            return Self::of_repository(world, root, &spec, None);
        }
        Ok(Self {
            root: directory(world, root)?,
            visited: Vec::new(),
            repository: None,
            urls: Vec::new(),
            depth: 0,
        })
    }

    /// The kustomization's directory.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The view of a kustomization that this one names.
    ///
    /// # Errors
    /// If the path is no directory, absolute, or one that led here or contains it.
    pub fn below(&self, world: &mut World<'_>, path: &str) -> Result<Self> {
        if path.is_empty() {
            return Err(Error::load("new root cannot be empty"));
        }
        if self.depth == MAX_BASES {
            return Err(Error::limit(format!(
                "more than {MAX_BASES} levels of bases that name bases"
            )));
        }
        if let Some(spec) = RepoSpec::parse(path) {
            if let Some(url) = self.urls.iter().find(|url| url.starts_with(path)) {
                return Err(Error::load(format!(
                    "cycle detected: URI '{path}' referenced by previous URI '{url}'"
                )));
            }
            return Self::of_repository(world, path, &spec, Some(self));
        }
        if path.starts_with('/') {
            return Err(Error::load(format!("new root '{path}' cannot be absolute")));
        }
        let root = directory(world, &paths::join(&self.root, path))?;
        if let Some(repository) = self
            .repository
            .as_ref()
            .filter(|repository| !paths::is_in(&root, repository))
        {
            return Err(Error::load(format!(
                "security; bases in kustomizations found in cloned git repos must be within the repo, \
                 but base '{root}' is outside '{repository}'"
            )));
        }
        let mut visited = self.visited.clone();
        visited.push(self.root.clone());
        if let Some(above) = visited.iter().rev().find(|above| paths::is_in(above, &root)) {
            return Err(Error::load(format!(
                "cycle detected: candidate root '{root}' contains visited root '{above}'"
            )));
        }
        Ok(Self {
            root,
            visited,
            repository: self.repository.clone(),
            urls: self.urls.clone(),
            depth: self.depth + 1,
        })
    }

    fn of_repository(world: &mut World<'_>, url: &str, spec: &RepoSpec, from: Option<&Self>) -> Result<Self> {
        let repository = world.repository(spec)?;
        let root = directory(world, &paths::join(&repository, &spec.directory))?;
        if !paths::is_in(&root, &repository) {
            return Err(Error::load(format!(
                "{root:?} refers to directory outside of repo {repository:?}"
            )));
        }
        let mut urls = from.map(|from| from.urls.clone()).unwrap_or_default();
        urls.push(url.to_owned());
        Ok(Self {
            root,
            visited: Vec::new(),
            repository: Some(repository),
            urls,
            depth: from.map_or(0, |from| from.depth + 1),
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, or outside of the root and that is not allowed.
    pub fn load(&self, world: &mut World<'_>, path: &str) -> Result<File> {
        if remote::is_file(path) {
            return world.download(path);
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            paths::join(&self.root, path)
        };
        if !world.options.restrict_to_root && self.repository.is_none() {
            return world.read(&path);
        }
        match world.resolve(&path)? {
            Resolved::Directory(_) => Err(Error::load(format!("'{path}' must resolve to a file"))),
            Resolved::File(directory, name) if paths::is_in(&directory, &self.root) => {
                world.read(&paths::join(&directory, &name))
            }
            Resolved::File(..) => Err(Error::load(format!(
                "security; file '{path}' is not in or below '{}'",
                self.root
            ))),
        }
    }
}

fn directory(world: &mut World<'_>, path: &str) -> Result<String> {
    let wrong = |why: String| Error::load(format!("must build at directory: {why}"));
    match world
        .resolve(path)
        .map_err(|error| wrong(format!("not a valid directory: {error}")))?
    {
        Resolved::Directory(directory) => Ok(directory),
        Resolved::File(..) => Err(wrong(format!("not a valid directory: '{path}' is a file"))),
    }
}
