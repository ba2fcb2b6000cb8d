//! `image pull`: a bar for every layer on a terminal, a line for what matters on a pipe.

use std::path::PathBuf;

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};

use crate::api::own::{LayerPhase, LayerState, PullImage, PullState, PullUpdate, path};
use crate::cli::client::Node;
use crate::cli::context::{Failures, write};
use crate::cli::error::{CliError, Result};
use crate::cli::print::{bar, human_size, progress_line, short_id};
use crate::cli::terminal;

/// Arguments of `image pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Names of images
    #[arg(required = true)]
    names: Vec<String>,
    /// A file of credentials, in place of those that podman and docker use
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    authfile: Option<PathBuf>,
    /// Bring the packed layers too, where only the unpacked ones are here: to save or push what another store gave
    #[arg(long)]
    packed: bool,
    /// Say nothing but the ids of the images
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `image pull`.
pub(super) async fn pull(node: &Node, args: &PullArgs) -> Result {
    let auth_file = args.authfile.as_ref().map(std::path::absolute).transpose()?;
    let mut failures = Failures::default();
    for name in &args.names {
        let request = PullImage {
            name: name.clone(),
            auth_file: auth_file.clone(),
            packed: args.packed,
        };
        let mut view = View::for_output("pulling", args.quiet);
        match follow(node, &request, &mut view).await {
            Ok(told) => write(&told)?,
            Err(error) => failures.add(error),
        }
    }
    failures.into_result()
}

async fn follow(node: &Node, request: &PullImage, view: &mut View) -> Result<String> {
    let mut lines = node.updates(path::IMAGES_PULL, request).await?.lines();
    while let Some(line) = lines.try_next().await? {
        match serde_json::from_str(&line)? {
            PullUpdate::Progress(state) => write(&view.show(&state))?,
            PullUpdate::Failed { message } => {
                write(&view.clear())?;
                return Err(CliError::local(format_args!("{}: {message}", request.name)));
            }
            PullUpdate::Pulled { image, was_here, notes } => {
                let cleared = view.clear();
                // To whom it may concern: also where the output is only ids for a script.
                for note in notes {
                    eprintln!("warning: {}: {note}", request.name);
                }
                if matches!(view, View::Quiet) {
                    return Ok(format!("{}\n", image.id));
                }
                let word = if was_here { "Up to date" } else { "Pulled" };
                let id = short_id(&image.id);
                return Ok(format!(
                    "{cleared}{word}: {} ({id}, {})\n",
                    request.name,
                    human_size(image.size)
                ));
            }
        }
    }
    Err(CliError::local(format_args!(
        "{}: the node ended the connection",
        request.name
    )))
}

/// How a pull or a push is shown.
#[derive(Debug)]
pub(super) enum View {
    /// Bars that are drawn again in place; so many lines stand there.
    Bars {
        verb: &'static str,
        drawn: usize,
    },
    /// A line for the image when its layers are known.
    Lines {
        verb: &'static str,
        is_told: bool,
    },
    Quiet,
}

impl View {
    pub(super) fn for_output(verb: &'static str, is_quiet: bool) -> View {
        if is_quiet {
            View::Quiet
        } else if rustix::termios::isatty(std::io::stdout()) {
            View::Bars { verb, drawn: 0 }
        } else {
            View::Lines { verb, is_told: false }
        }
    }

    pub(super) fn show(&mut self, state: &PullState) -> String {
        match self {
            View::Bars { verb, drawn } => {
                let size = terminal::size().map_or((80, 24), |size| (size.width.into(), size.height.into()));
                let lines = bars(verb, state, size);
                let back = erase(*drawn);
                *drawn = lines.len();
                format!("{back}{}\n", lines.join("\n"))
            }
            View::Lines { verb, is_told } => {
                if *is_told || state.layers.is_empty() {
                    return String::new();
                }
                *is_told = true;
                let size = state.layers.iter().map(|layer| layer.size).sum();
                format!(
                    "{verb} {}: {} layers, {}\n",
                    state.name,
                    state.layers.len(),
                    human_size(size)
                )
            }
            View::Quiet => String::new(),
        }
    }

    /// Takes the bars away: what remains is one line that says how it ended.
    pub(super) fn clear(&mut self) -> String {
        match self {
            View::Bars { drawn, .. } => erase(std::mem::take(drawn)),
            View::Lines { .. } | View::Quiet => String::new(),
        }
    }
}

fn erase(lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\r\x1b[J"),
    }
}

/// A line for the image and one for each layer that is not here yet, as many as fit.
fn bars(verb: &str, state: &PullState, (width, height): (usize, usize)) -> Vec<String> {
    let mut lines = vec![progress_line(verb, state)];
    let pulling = state.layers.iter().filter(|layer| layer.phase == LayerPhase::Pulling);
    // The last line of the terminal is where the cursor stands.
    lines.extend(pulling.take(height.saturating_sub(2)).map(layer_line));
    lines
        .into_iter()
        .map(|line| line.chars().take(width).collect())
        .collect()
}

fn layer_line(layer: &LayerState) -> String {
    let id = short_id(&layer.digest);
    format!("  {id} {}", bar(layer.received, layer.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(received: u64, phase: LayerPhase) -> LayerState {
        LayerState {
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 1000,
            received,
            phase,
        }
    }

    #[test]
    fn a_terminal_shows_the_layers_that_come() {
        let state = PullState {
            name: "nginx".into(),
            layers: vec![
                layer(1000, LayerPhase::Here),
                layer(250, LayerPhase::Pulling),
                layer(0, LayerPhase::Waiting),
            ],
        };
        assert_eq!(
            bars("pulling", &state, (80, 24)),
            [
                "pulling nginx [==========>             ] 1.2kB/3.0kB",
                "  abababababab [======>                 ] 250B/1.0kB",
            ]
        );
        assert_eq!(bars("pulling", &state, (10, 2)), ["pulling ng"]);
    }

    #[test]
    fn a_pipe_gets_one_line_when_the_layers_are_known() {
        let mut view = View::Lines {
            verb: "pulling",
            is_told: false,
        };
        let mut state = PullState {
            name: "nginx".into(),
            layers: Vec::new(),
        };
        assert_eq!(view.show(&state), "");
        state.layers = vec![layer(0, LayerPhase::Waiting)];
        assert_eq!(view.show(&state), "pulling nginx: 1 layers, 1.0kB\n");
        assert_eq!(view.show(&state), "");
    }
}
