//! `kustomize build`: an overlay's documents, as `kubectl kustomize` prints them.

use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::context::write;
use super::error::{CliError, Result};
use crate::kustomize::{Build, Disk, Options, Programs, RepoSpec, build};
use crate::model::Paths;

/// Build overlays
#[derive(Debug, Subcommand)]
pub enum KustomizeVerb {
    /// Print the documents that an overlay stands for
    Build(BuildArgs),
}

/// Arguments of `kustomize build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The overlay's directory
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Render charts with an installed helm
    #[arg(long)]
    enable_helm: bool,
    /// The helm to use
    #[arg(long, default_value = "helm", value_name = "PROGRAM")]
    helm_command: PathBuf,
    /// Whether files outside of a kustomization's directory may be used
    #[arg(long, value_enum, default_value_t = LoadRestrictor::LoadRestrictionsRootOnly)]
    load_restrictor: LoadRestrictor,
    /// Fetch repositories that are named as bases, with git, once
    #[arg(long)]
    remote_bases: bool,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What may be loaded, in Kustomize's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum LoadRestrictor {
    /// Only files in or below the kustomization's directory
    LoadRestrictionsRootOnly,
    /// Any file
    LoadRestrictionsNone,
}

/// Runs `kustomize`.
///
/// # Errors
/// When the overlay can't be built, or the output can't be written.
pub fn run(verb: &KustomizeVerb) -> Result {
    let KustomizeVerb::Build(args) = verb;
    let programs = Programs {
        helm: args.enable_helm.then(|| args.helm_command.clone()),
        repositories: args
            .remote_bases
            .then(|| Ok::<_, std::io::Error>(Paths::discover()?.home.join("cache/repositories")))
            .transpose()?,
    };
    let options = Options {
        restrict_to_root: args.load_restrictor == LoadRestrictor::LoadRestrictionsRootOnly,
        enable_helm: args.enable_helm,
    };
    let built = build_at(&args.directory, &programs, &options)?;
    match &args.output {
        None => write(&built.text()),
        Some(file) => std::fs::write(file, built.text())
            .map_err(|error| CliError::local(format_args!("{}: {error}", file.display()))),
    }
}

/// Builds the overlay in a directory, or in a repository; warnings go to standard error.
///
/// # Errors
/// When it can't be built, at file:line where that is known.
pub fn build_at(directory: &Path, programs: &Programs, options: &Options) -> Result<Build> {
    let named = directory
        .to_str()
        .ok_or_else(|| CliError::usage("the directory's name is no text"))?;
    let absolute = match RepoSpec::parse(named) {
        Some(_) if !directory.exists() => named.to_owned(),
        _ => absolute(directory)?,
    };
    match build(&Disk::default(), programs, &absolute, options) {
        Ok(built) => {
            built.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Ok(built)
        }
        Err(failure) => {
            failure.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Err(CliError::local(failure))
        }
    }
}

fn absolute(directory: &Path) -> Result<String> {
    let found = std::fs::canonicalize(directory).map_err(|error| match error.kind() {
        Io::NotFound => CliError::usage(format_args!("the directory {directory:?} does not exist")),
        _ => CliError::local(format_args!("{}: {error}", directory.display())),
    })?;
    found
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| CliError::usage("the directory's name is no text"))
}
