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
use super::read::read_resources;
use super::remote::RepoSpec;
use super::resource::Resource;
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
    /// What the builds before left.
    pub cache: Option<&'a mut Cache>,
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
            cache,
        }
    }

    /// The objects of a file. One that is as it was in the build before is not parsed again.
    ///
    /// # Errors
    /// If it holds no objects.
    pub fn read_objects(&mut self, file: &File) -> Result<Vec<Resource>> {
        let name = &self.names[file.id.0 as usize];
        if let Some(roots) = self
            .cache
            .as_mut()
            .and_then(|cache| cache.reuse(&mut self.graph, name, file))
        {
            return Ok(roots);
        }
        let first = self.graph.count();
        let text = yaml::decode(&file.bytes, file.id)?;
        let read = read_resources(&mut self.graph, &text, file.id)?;
        if let Some(cache) = &mut self.cache {
            cache.keep(&self.graph, first, name, file, &read);
        }
        Ok(read)
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

    /// Follows links.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn resolve(&mut self, path: &str) -> Result<Resolved> {
        self.looked_at.insert(path.to_owned());
        self.files
            .resolve(path)
            .map_err(|why| Error::read(format!("evalsymlink failure on '{path}' : {why}")))
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
        let bytes = self.files.read(path).map_err(Error::read)?;
        Ok(File {
            id: self.name_file(path),
            bytes,
        })
    }

    /// Reads a file from the network.
    ///
    /// # Errors
    /// If that is not allowed or fails.
    pub fn download(&mut self, url: &str) -> Result<File> {
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
        self.tools.repository(repository).map_err(Error::forbidden)
    }

    /// Runs Helm.
    ///
    /// # Errors
    /// If that is not allowed or fails.
    pub fn helm(&mut self, run: &HelmRun, home: &str) -> Result<String> {
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
