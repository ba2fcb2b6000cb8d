//! `completion`: what a shell must know to complete our words.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::context::write;
use super::error::{CliError, Result};

/// Print completions for a shell: `source <(kubelocal completion bash)`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    #[arg(value_enum)]
    shell: Known,
}

/// Shells that people have.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Runs `completion`.
///
/// # Errors
/// When nobody reads.
pub fn run(args: &CompletionArgs, command: &mut Command) -> Result {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "kubelocal", &mut script);
    write(&String::from_utf8(script).map_err(CliError::local)?)
}
