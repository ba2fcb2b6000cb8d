//! `meta.k8s.io/v1 Table` as text (`k8s.io/cli-runtime/pkg/printers`).

use serde_json::Value;

use crate::model::Kind;

/// Lays cells out in columns as Go's tabwriter does with kubectl's settings: at least six wide, three blanks between, the
/// last cell as long as it is. Widths are remembered, so that the rows of a watch stand below those before them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    widths: Vec<usize>,
}

const MIN_WIDTH: usize = 6;
const PADDING: usize = 3;

impl Layout {
    /// The rows as lines, each with its newline.
    pub fn lay_out(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), MIN_WIDTH);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count() + PADDING);
            }
        }
        let mut text = String::new();
        for row in rows {
            for (place, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
                let is_last = place + 1 == row.len();
                text.push_str(cell);
                if !is_last {
                    text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
                }
            }
            text.push('\n');
        }
        text
    }
}

/// What of a Table is shown.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// Columns of low priority too.
    pub wide: bool,
    /// No heading.
    pub no_headers: bool,
    /// A NAMESPACE column first.
    pub with_namespace: bool,
    /// Names with this kind before them: `pod/web`.
    pub with_kind: Option<&'static Kind>,
    /// A column for each of these labels.
    pub label_columns: Vec<String>,
    /// A column with all labels.
    pub show_labels: bool,
    /// A column with what happened (`ADDED` …), for watches.
    pub with_events: bool,
}

/// Prints the Tables of one list and of the watch that follows it.
#[derive(Debug, Clone)]
pub struct TablePrinter {
    options: TableOptions,
    layout: Layout,
    /// The columns shown: their place among the cells, and whether they hold the name. From the first Table; later ones of a
    /// watch come without.
    columns: Vec<(usize, bool)>,
    headings: Vec<String>,
    has_headings_printed: bool,
}

impl TablePrinter {
    /// A printer that has printed nothing yet.
    #[must_use]
    pub fn new(options: TableOptions) -> Self {
        Self {
            options,
            layout: Layout::default(),
            columns: Vec::new(),
            headings: Vec::new(),
            has_headings_printed: false,
        }
    }

    /// The rows of a Table as text; before the first ones, the headings.
    pub fn print(&mut self, table: &Value) -> String {
        self.print_event(table, "")
    }

    /// The same, with what happened to the rows.
    pub fn print_event(&mut self, table: &Value, event: &str) -> String {
        self.learn_columns(table);
        let rows = table
            .get("rows")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if rows.is_empty() {
            return String::new();
        }
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if !self.has_headings_printed && !self.options.no_headers {
            lines.push(self.headings.clone());
        }
        self.has_headings_printed = true;
        lines.extend(rows.iter().map(|row| self.line(row, event)));
        self.layout.lay_out(&lines)
    }

    fn learn_columns(&mut self, table: &Value) {
        let Some(definitions) = table
            .get("columnDefinitions")
            .and_then(Value::as_array)
            .filter(|d| !d.is_empty())
        else {
            return;
        };
        let is_shown = |definition: &Value| {
            self.options.wide || definition.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0
        };
        let shown: Vec<(usize, &Value)> = definitions
            .iter()
            .enumerate()
            .filter(|(_, definition)| is_shown(definition))
            .collect();
        let is_name = |definition: &Value| definition.get("format").and_then(Value::as_str) == Some("name");
        self.columns = shown
            .iter()
            .map(|(place, definition)| (*place, is_name(definition)))
            .collect();
        let heading = |definition: &Value| text(definition.get("name")).to_uppercase();
        let options = &self.options;
        let before = [
            options.with_events.then_some("EVENT"),
            options.with_namespace.then_some("NAMESPACE"),
        ];
        self.headings = before.into_iter().flatten().map(str::to_owned).collect();
        self.headings
            .extend(shown.iter().map(|(_, definition)| heading(definition)));
        let last_word = |label: &String| label.rsplit('/').next().unwrap_or_default().to_uppercase();
        self.headings.extend(options.label_columns.iter().map(last_word));
        self.headings.extend(options.show_labels.then(|| "LABELS".to_owned()));
    }

    fn line(&self, row: &Value, event: &str) -> Vec<String> {
        let options = &self.options;
        let metadata = |field: &str| row.pointer(&format!("/object/metadata/{field}"));
        let mut line = Vec::with_capacity(self.headings.len());
        if options.with_events {
            line.push(event.to_owned());
        }
        if options.with_namespace {
            line.push(text(metadata("namespace")).to_owned());
        }
        for (place, is_name) in &self.columns {
            let cell = cell_text(row.pointer(&format!("/cells/{place}")));
            line.push(match options.with_kind {
                Some(kind) if *is_name => super::full_name(kind, &cell),
                _ => cell,
            });
        }
        let labels = metadata("labels").and_then(Value::as_object);
        for wanted in &options.label_columns {
            let value = labels.and_then(|labels| labels.get(wanted)).and_then(Value::as_str);
            line.push(value.unwrap_or_default().to_owned());
        }
        if options.show_labels {
            let pairs = labels
                .into_iter()
                .flatten()
                .map(|(label, value)| format!("{label}={}", text(Some(value))));
            let all = pairs.collect::<Vec<_>>().join(",");
            line.push(if all.is_empty() { "<none>".to_owned() } else { all });
        }
        line
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// A cell on one line; what follows a line break is left out, and control characters can't reach the terminal.
fn cell_text(cell: Option<&Value>) -> String {
    match cell {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => {
            let line = text.split(['\n', '\r', '\u{c}']).next().unwrap_or_default();
            let cut = if line.len() < text.len() { "..." } else { "" };
            let visible = line.chars().map(|c| if c.is_control() { '?' } else { c });
            visible.chain(cut.chars()).collect()
        }
        Some(other) => other.to_string(),
    }
}
