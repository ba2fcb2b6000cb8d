//! The live view: a table that is drawn again in place on a terminal, a line for each change on a pipe.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::waiting::Progress;
use super::world::{Line, World};
use crate::api::own::PullState;
use crate::cli::context::write;
use crate::cli::error::Result;
use crate::cli::print::{Layout, progress_line};
use crate::cli::terminal;
use crate::model::{Problem, Severity};

/// Shows a [`World`] as it changes.
#[derive(Debug)]
pub enum View {
    /// On a terminal.
    Screen {
        /// What is watched.
        title: String,
        /// How many lines stand there from the last drawing.
        drawn: usize,
    },
    /// On a pipe.
    Lines {
        /// What was told last of each object, by namespace and name.
        told: BTreeMap<(String, String), String>,
        /// The problems that were told.
        problems: Vec<String>,
    },
}

impl View {
    /// The view that standard output can show.
    #[must_use]
    pub fn for_output(title: String) -> Self {
        if rustix::termios::isatty(std::io::stdout()) {
            Self::Screen { title, drawn: 0 }
        } else {
            Self::Lines {
                told: BTreeMap::new(),
                problems: Vec::new(),
            }
        }
    }

    /// Whether ages have to move though nothing happens.
    #[must_use]
    pub fn is_ticking(&self) -> bool {
        matches!(self, Self::Screen { .. })
    }

    /// Shows the world as it is now.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn show(&mut self, world: &World, now: Timestamp) -> Result {
        match self {
            Self::Screen { title, drawn } => {
                let size =
                    terminal::size().map_or((80, 24), |size| (usize::from(size.width), usize::from(size.height)));
                let lines = screen(title, &world.problems(), &world.lines(now), &world.pulls(), size);
                let back = if *drawn > 0 {
                    format!("\x1b[{drawn}A")
                } else {
                    String::new()
                };
                *drawn = lines.len();
                // Up to where the last drawing began, erase from there, draw: no flicker, and what scrolled by stays.
                write(&format!("{back}\r\x1b[J{}\n", lines.join("\n")))
            }
            Self::Lines { told, problems } => {
                write(&changed_lines(told, problems, &world.problems(), &world.lines(now)))
            }
        }
    }
}

/// The lines of the screen, none longer or more than fit.
fn screen(
    title: &str,
    problems: &[Problem],
    lines: &[Line],
    pulls: &[&PullState],
    (width, height): (usize, usize),
) -> Vec<String> {
    let mut screen = vec![title.to_owned()];
    screen.extend(problems.iter().flat_map(|problem| problem_lines(problem, true)));
    if lines.is_empty() {
        screen.push("no pods or workloads yet".to_owned());
    } else {
        screen.extend(table(lines));
    }
    screen.extend(pulls.iter().map(|pull| printable(&progress_line("pulling", pull))));
    // The last line of the terminal is where the cursor stands.
    let room = height.saturating_sub(1).max(3);
    if screen.len() > room {
        let left_out = screen.len() - room + 1;
        screen.truncate(room - 1);
        screen.push(format!("… {left_out} more lines"));
    }
    screen.into_iter().map(|line| fit(&line, width)).collect()
}

fn table(lines: &[Line]) -> Vec<String> {
    let has_namespaces = lines.iter().any(|line| line.namespace != lines[0].namespace);
    let mut rows = vec![
        ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "WAITING FOR"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(lines.iter().map(|line| {
        let row = &line.row;
        let cells = [
            &line.namespace,
            &line.name,
            &row.ready,
            &row.status,
            &row.restarts,
            &row.age,
            &row.waiting_for,
        ];
        cells.map(|cell| printable(cell)).to_vec()
    }));
    if !has_namespaces {
        for row in &mut rows {
            row.remove(0);
        }
    }
    let text = Layout::default().lay_out(&rows);
    let colour = |(line, known): (&str, Option<&Line>)| match known.map(|known| known.row.progress) {
        Some(Progress::Ready) => format!("\x1b[32m{line}\x1b[0m"),
        Some(Progress::Failed) => format!("\x1b[31m{line}\x1b[0m"),
        Some(Progress::Waiting) => format!("\x1b[33m{line}\x1b[0m"),
        None => line.to_owned(),
    };
    let known = std::iter::once(None).chain(lines.iter().map(Some));
    text.lines().map(str::trim_end).zip(known).map(colour).collect()
}

fn problem_lines(problem: &Problem, is_coloured: bool) -> Vec<String> {
    let (word, colour) = match problem.severity {
        Severity::Error => ("error", "\x1b[31m"),
        Severity::Warning => ("warning", "\x1b[33m"),
    };
    let text = printable(&problem.to_string());
    let mut lines = vec![if is_coloured {
        format!("{colour}{word}:\x1b[0m {text}")
    } else {
        format!("{word}: {text}")
    }];
    if !problem.excerpt.is_empty() {
        lines.push(format!("    {}", printable(problem.excerpt.trim_end())));
    }
    lines
}

/// What containers and files say can't drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Cuts a line at the width; our own colour codes take no room and are kept whole.
fn fit(line: &str, width: usize) -> String {
    let (mut fitted, mut room, mut chars) = (String::new(), width, line.chars());
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            fitted.push(c);
            for code in chars.by_ref() {
                fitted.push(code);
                if code == 'm' {
                    break;
                }
            }
        } else if room > 0 {
            fitted.push(c);
            room -= 1;
        }
    }
    fitted
}

/// A line for each object of which something else is to be told than before, ages apart.
fn changed_lines(
    told: &mut BTreeMap<(String, String), String>,
    told_problems: &mut Vec<String>,
    problems: &[Problem],
    lines: &[Line],
) -> String {
    let mut text = String::new();
    let now_wrong: Vec<String> = problems
        .iter()
        .map(|problem| problem_lines(problem, false).join("\n"))
        .collect();
    for problem in now_wrong.iter().filter(|problem| !told_problems.contains(problem)) {
        text.push_str(&format!("{problem}\n"));
    }
    if now_wrong.is_empty() && !told_problems.is_empty() {
        text.push_str("all problems are gone\n");
    }
    *told_problems = now_wrong;
    let mut there = BTreeMap::new();
    for line in lines {
        let row = &line.row;
        let waiting_for = if row.waiting_for.is_empty() {
            String::new()
        } else {
            format!(" waiting for {}", row.waiting_for)
        };
        let words = printable(&format!("{} {} {}{waiting_for}", line.name, row.ready, row.status));
        let key = (line.namespace.clone(), line.name.clone());
        if told.get(&key) != Some(&words) {
            text.push_str(&format!("{words}\n"));
        }
        there.insert(key, words);
    }
    for (_, name) in told.keys().filter(|key| !there.contains_key(*key)) {
        text.push_str(&format!("{name} gone\n"));
    }
    *told = there;
    text
}

#[cfg(test)]
mod tests {
    use super::super::waiting::Row;
    use super::*;
    use crate::api::own::{LayerPhase, LayerState};

    fn line(name: &str, status: &str, waiting_for: &str) -> Line {
        let progress = if waiting_for.is_empty() {
            Progress::Ready
        } else {
            Progress::Waiting
        };
        let row = Row {
            ready: "0/1".into(),
            status: status.into(),
            restarts: "0".into(),
            age: "3s".into(),
            waiting_for: waiting_for.into(),
            progress,
        };
        Line {
            name: name.into(),
            namespace: "default".into(),
            row,
        }
    }

    fn plain(lines: &[String]) -> Vec<String> {
        let strip = |line: &String| {
            ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"]
                .iter()
                .fold(line.clone(), |l, code| l.replace(code, ""))
        };
        lines.iter().map(strip).collect()
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_change() {
        let (mut told, mut problems) = (BTreeMap::new(), Vec::new());
        let mut show = |wrong: &[Problem], lines: &[Line]| changed_lines(&mut told, &mut problems, wrong, lines);
        let pending = line("pod/web", "Pending", "the node to begin");
        assert_eq!(
            show(&[], std::slice::from_ref(&pending)),
            "pod/web 0/1 Pending waiting for the node to begin\n"
        );
        assert_eq!(show(&[], &[pending]), "", "nothing changed");
        let wrong = Problem {
            file: "a.yaml".into(),
            line: 2,
            message: "bad".into(),
            excerpt: "x: 1".into(),
            ..Problem::default()
        };
        assert_eq!(
            show(&[wrong], &[line("pod/web", "Running", "")]),
            "error: a.yaml:2: bad\n    x: 1\npod/web 0/1 Running\n"
        );
        assert_eq!(show(&[], &[]), "all problems are gone\npod/web gone\n");
    }

    #[test]
    fn the_screen_fits_the_terminal() {
        let lines: Vec<Line> = (0..20)
            .map(|n| line(&format!("pod/web-{n}"), "Pending", "a very long reason to wait for"))
            .collect();
        let screen = screen("Watching x", &[], &lines, &[], (40, 10));
        let shown = plain(&screen);
        assert_eq!(shown.len(), 9);
        assert!(shown.iter().all(|line| line.chars().count() <= 40), "{shown:?}");
        assert_eq!(shown[8], "… 14 more lines");
        assert_eq!(shown[1].trim_end(), "NAME         READY   STATUS    RESTARTS");
    }

    #[test]
    fn an_image_that_comes_has_a_bar() {
        let layer = LayerState {
            digest: "sha256:x".into(),
            size: 1000,
            received: 500,
            phase: LayerPhase::Pulling,
        };
        let mut pull = PullState {
            name: "nginx".into(),
            layers: vec![layer],
        };
        let waiting = line("pod/web", "ContainerCreating", "app");
        let last = |pull: &PullState| screen("t", &[], std::slice::from_ref(&waiting), &[pull], (80, 24)).pop();
        assert_eq!(
            last(&pull).as_deref(),
            Some("pulling nginx [============>           ] 500B/1.0kB")
        );
        pull.layers.clear();
        assert_eq!(last(&pull).as_deref(), Some("pulling nginx"));
    }

    #[test]
    fn what_a_container_says_can_not_drive_the_terminal() {
        let shown = plain(&screen("t", &[], &[line("pod/web", "\x1b[2Jx", "")], &[], (80, 24)));
        assert!(!shown.join("").contains('\x1b'), "{shown:?}");
    }
}
