//! `image history`: how an image was made, the last step first.

use clap::Args;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use crate::api::own::path;
use crate::api::table::age::age;
use crate::cli::client::Node;
use crate::cli::context::write;
use crate::cli::error::Result;
use crate::cli::print::{Layout, human_size, short_id};

/// Characters of a step that are shown, unless all are wanted.
const SHOWN: usize = 60;

/// Arguments of `image history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Name or id
    name: String,
    /// Whole steps
    #[arg(long)]
    no_trunc: bool,
    /// Leave out the headings
    #[arg(long)]
    no_headers: bool,
}

/// Runs `image history`.
pub(super) async fn history(node: &Node, args: &HistoryArgs) -> Result {
    let query = [("name", args.name.clone())];
    let image: Value = node.own(Method::GET, path::IMAGES_INSPECT, &query, None::<&()>).await?;
    let mut rows = rows(&image, args.no_trunc, Timestamp::now());
    if !args.no_headers {
        rows.insert(
            0,
            ["LAYER", "CREATED", "SIZE", "CREATED BY"].map(str::to_owned).to_vec(),
        );
    }
    write(&Layout::default().lay_out(&rows))
}

/// Layers and steps side by side: each step that is not empty has made the next layer. Images without a history have layers
/// all the same.
fn rows(image: &Value, is_whole: bool, now: Timestamp) -> Vec<Vec<String>> {
    let list = |pointer: &str| {
        image
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut layers = list("/Layers").into_iter();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for step in list("/History") {
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let layer = if is_empty { None } else { layers.next() };
        rows.push(row(layer.as_ref(), &step, is_whole, now));
    }
    rows.extend(layers.map(|layer| row(Some(&layer), &Value::Null, is_whole, now)));
    rows.reverse();
    rows
}

fn row(layer: Option<&Value>, step: &Value, is_whole: bool, now: Timestamp) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = text(layer.and_then(|layer| layer.get("DiffID")));
    let id = short_id(&id);
    let created = text(step.get("created")).parse::<Timestamp>();
    let size = layer.and_then(|layer| layer.get("Size")?.as_u64()).unwrap_or(0);
    let by = text(step.get("created_by"));
    // Whoever made the image wrote it; no terminal has to obey it.
    let by = by.replace(char::is_control, " ");
    let by = by.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = by.chars().take(SHOWN).collect();
    let by = match short.len() < by.len() && !is_whole {
        true => format!("{short}…"),
        false => by,
    };
    vec![
        if id.is_empty() { "<none>".to_owned() } else { id },
        created.map_or_else(|_| "<unknown>".to_owned(), |time| age(Some(time), now)),
        human_size(size),
        if by.is_empty() { "<unknown>".to_owned() } else { by },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_stand_beside_the_layers_that_they_made() {
        let image = json!({
            "Layers": [{"DiffID": "sha256:aaaaaaaaaaaabb", "Size": 1500}, {"DiffID": "sha256:cc", "Size": 0}, {"DiffID": "sha256:dd", "Size": 7}],
            "History": [
                {"created": "1970-01-01T00:00:00Z", "created_by": "ADD\u{1b}file:x \tin /"},
                {"created_by": "CMD [\"sh\"]", "empty_layer": true},
                {"created_by": format!("RUN {}", "x".repeat(100))},
            ],
        });
        let found = rows(&image, false, "1970-01-01T00:01:00Z".parse().expect("a time"));
        let seen: Vec<String> = found.iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            seen,
            [
                "dd | <unknown> | 7B | <unknown>".to_owned(),
                format!("cc | <unknown> | 0B | RUN {}…", "x".repeat(56)),
                "<none> | <unknown> | 0B | CMD [\"sh\"]".to_owned(),
                "aaaaaaaaaaaa | 60s | 1.5kB | ADD file:x in /".to_owned(),
            ]
        );
    }
}
