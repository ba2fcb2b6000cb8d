//! The state of one build: its objects, the schema in force, what was read and what was said.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::Options;
use super::cache::Cache;
use super::error::{Error, Result};
use super::fs::{FileSystem, Resolved};
use super::graph::Graph;
use super::openapi::{self, Schema};
use super::paths;
use super::read::read_resources;
use super::remote::RepoSpec;
use super::replay::Trace;
use super::resource::{Resource, Source};
use super::tools::{HelmRun, Tools};
use super::yaml::{self, FileId, Pos};

/// A file that was read.
#[derive(Debug, Clone)]
pub struct File {
    /// Its number, for places.
    pub id: FileId,
    /// What is in it.
    pub bytes: Arc<[u8]>,
}

/// How many kustomizations one build may read, those that are read again counted again: bases that name two others each
/// multiply with every level. The largest overlays known have hundreds.
const MAX_KUSTOMIZATIONS: usize = 4_000;

/// How many objects kustomizations may hand to those that name them, over all levels.
const MAX_HANDED_UP: usize = 1_000_000;

/// The state of one build.
pub struct World<'a> {
    /// Its objects.
    pub graph: Graph,
    /// The schema that merges follow.
    pub schema: Arc<Schema>,
    /// Whether a kustomization chose the schema.
    schema_is_set: bool,
    files: &'a dyn FileSystem,
    tools: &'a dyn Tools,
    /// What the user allowed.
    pub options: &'a Options,
    /// What is to be said on standard error.
    pub warnings: Vec<String>,
    /// Names of files by number; the first is no file.
    names: Vec<String>,
    ids: HashMap<String, FileId>,
    /// All paths whose content or absence the result depends on.
    pub looked_at: BTreeSet<String>,
    /// Directories of which it matters what is in them.
    pub listed: BTreeSet<String>,
    /// What the builds before left.
    pub cache: Option<&'a mut Cache>,
    /// What is noted for the builds after.
    pub trace: Option<Trace>,
    /// How many kustomizations were read.
    kustomizations: usize,
    /// How many objects they handed up.
    handed_up: usize,
}

impl<'a> World<'a> {
    /// The state before anything was read.
    pub fn new(
        files: &'a dyn FileSystem,
        tools: &'a dyn Tools,
        options: &'a Options,
        cache: Option<&'a mut Cache>,
    ) -> Self {
        Self {
            graph: Graph::new(),
            schema: Schema::builtin(),
            schema_is_set: false,
            files,
            tools,
            options,
            warnings: Vec::new(),
            names: vec![String::new()],
            ids: HashMap::new(),
            looked_at: BTreeSet::new(),
            listed: BTreeSet::new(),
            cache,
            trace: None,
            kustomizations: 0,
            handed_up: 0,
        }
    }

    /// Counts a kustomization.
    ///
    /// # Errors
    /// If there were too many.
    pub fn count_kustomization(&mut self) -> Result<()> {
        self.kustomizations += 1;
        match self.kustomizations > MAX_KUSTOMIZATIONS {
            true => Err(Error::limit(format!(
                "more than {MAX_KUSTOMIZATIONS} kustomizations in one build, counting each as often as it is named"
            ))),
            false => Ok(()),
        }
    }

    /// Counts objects that a kustomization hands to the one that names it.
    ///
    /// # Errors
    /// If there were too many.
    pub fn count_handed_up(&mut self, objects: usize) -> Result<()> {
        self.handed_up += objects;
        match self.handed_up > MAX_HANDED_UP {
            true => Err(Error::limit(format!(
                "kustomizations hand up more than {MAX_HANDED_UP} objects in one build"
            ))),
            false => Ok(()),
        }
    }

    /// The objects of a file. One that is as it was in the build before is not parsed again.
    ///
    /// # Errors
    /// If it holds no objects.
    pub fn read_objects(&mut self, file: &File) -> Result<Vec<Resource>> {
        let name = &self.names[file.id.0 as usize];
        if let Some(trace) = &mut self.trace {
            trace.read_objects(name);
        }
        let known = match &mut self.cache {
            Some(cache) => cache.reuse(&mut self.graph, name, file)?,
            None => None,
        };
        let mut objects = match known {
            Some(known) => known,
            None => self.parse_objects(file)?,
        };
        for (object, index) in objects.iter_mut().zip(0..) {
            object.source = Some(Source { file: file.id, index });
        }
        Ok(objects)
    }

    fn parse_objects(&mut self, file: &File) -> Result<Vec<Resource>> {
        let first = self.graph.count();
        let text = yaml::decode(&file.bytes, file.id)?;
        let read = read_resources(&mut self.graph, &text, file.id)?;
        if let Some(cache) = &mut self.cache {
            cache.keep(&self.graph, first, &self.names[file.id.0 as usize], file, &read);
        }
        Ok(read)
    }

    /// The objects of a file that changed, if their types and metadata are what they were.
    pub fn read_again(&mut self, file: &File) -> Option<Vec<Resource>> {
        let name = self.names[file.id.0 as usize].clone();
        let kept = |world: &Self| world.cache.as_ref().and_then(|cache| cache.kept(&name));
        let before = kept(self)?;
        let objects = self.read_objects(file).ok()?;
        before.has_heads_of(kept(self)?.as_ref()).then_some(objects)
    }

    /// Gives files the numbers that they had.
    pub fn name_files(&mut self, names: &[String]) {
        self.names = names.to_vec();
        let ids = self.names.iter().cloned().zip((0..).map(FileId));
        self.ids = ids.skip(1).collect();
    }

    /// What comes from elsewhere than files may be something else the next time.
    fn is_from_elsewhere(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.give_up();
        }
    }

    /// A number for places in a text of this name.
    pub fn name_file(&mut self, name: &str) -> FileId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = FileId(u32::try_from(self.names.len()).expect("files are limited by the nodes in them"));
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    /// The names of files by number.
    pub fn file_names(&self) -> &[String] {
        &self.names
    }

    /// Notes that all that is in a directory is read by someone else. Links are not followed into other directories, and
    /// what is far larger than any chart is not looked through.
    pub fn depend_on_all_in(&mut self, directory: &str) {
        const MAX: usize = 10_000;
        let mut left = vec![directory.to_owned()];
        while let Some(directory) = left.pop() {
            for (name, is_directory) in self.files.list(&directory) {
                let path = paths::join(&directory, &name);
                match is_directory {
                    true => left.push(path),
                    false => _ = self.looked_at.insert(path),
                }
            }
            self.listed.insert(directory);
            if self.looked_at.len() + self.listed.len() > MAX {
                return;
            }
        }
    }

    /// Follows links.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn resolve(&mut self, path: &str) -> Result<Resolved> {
        self.looked_at.insert(path.to_owned());
        let found = self.files.resolve(path);
        if let Some(trace) = &mut self.trace {
            trace.resolved(path, found.as_ref().ok());
        }
        found.map_err(|why| Error::read(format!("evalsymlink failure on '{path}' : {why}")))
    }

    /// Whether there is something at a path.
    pub fn exists(&mut self, path: &str) -> bool {
        self.resolve(path).is_ok()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(&mut self, path: &str) -> Result<File> {
        self.looked_at.insert(path.to_owned());
        let read = self.files.read(path).map(|bytes| File {
            id: self.name_file(path),
            bytes,
        });
        if let Some(trace) = &mut self.trace {
            trace.read(path, read.as_ref().ok());
        }
        read.map_err(Error::read)
    }

    /// Reads a file from the network.
    ///
    /// # Errors
    /// If that is not allowed or fails.
    pub fn download(&mut self, url: &str) -> Result<File> {
        self.is_from_elsewhere();
        let bytes = self.tools.download(url).map_err(Error::forbidden)?;
        Ok(File {
            id: self.name_file(url),
            bytes: bytes.into(),
        })
    }

    /// Fetches a repository; returns its directory.
    ///
    /// # Errors
    /// If that is not allowed or fails.
    pub fn repository(&mut self, repository: &RepoSpec) -> Result<String> {
        self.is_from_elsewhere();
        self.tools.repository(repository).map_err(Error::forbidden)
    }

    /// Runs Helm.
    ///
    /// # Errors
    /// If that is not allowed or fails.
    pub fn helm(&mut self, run: &HelmRun, home: &str) -> Result<String> {
        self.is_from_elsewhere();
        self.tools.helm(run, home).map_err(Error::forbidden)
    }

    /// Follows a kustomization's choice of a schema; the first one counts.
    ///
    /// # Errors
    /// If there is no such schema, or the file with it holds none.
    pub fn choose_schema(&mut self, version: Option<&str>, file: Option<&File>, pos: Pos) -> Result<()> {
        if self.schema_is_set {
            return Ok(());
        }
        if let Some(file) = file {
            if version.is_some() {
                let why = "builtin version and custom schema provided, cannot use both";
                return Err(Error::kustomization(why).at(pos));
            }
            let text = yaml::decode(&file.bytes, file.id)?;
            let root = yaml::parse_document(&text, file.id)?.map(|document| document.root);
            let value = match root {
                Some(root) => {
                    let root = self.graph.import(root)?;
                    self.graph.to_legacy_json(root)?
                }
                None => Value::Null,
            };
            let schema = openapi::read_definitions(&value)?;
            self.graph.set_scopes(schema.scopes.clone());
            self.schema = Arc::new(schema);
            self.schema_is_set = true;
            return Ok(());
        }
        match version {
            None | Some("") => Ok(()),
            Some(openapi::BUILTIN_VERSION) => {
                self.schema_is_set = true;
                Ok(())
            }
            Some(_) => Err(Error::kustomization("the specified OpenAPI version is not built in").at(pos)),
        }
    }
}
