//! Bars of how far something is.

use super::human_size;
use crate::api::own::{LayerState, PullState};

/// Columns of a bar between its brackets.
const WIDTH: usize = 24;

/// `[=======>        ] 12.3MB/40.1MB`. What has no size yet has no bar.
#[must_use]
pub fn bar(done: u64, total: u64) -> String {
    let filled = match total {
        0 => WIDTH,
        total => usize::try_from(u128::from(done.min(total)) * WIDTH as u128 / u128::from(total)).unwrap_or(WIDTH),
    };
    let (head, rest) = match WIDTH - filled {
        0 => ("", 0),
        rest => (">", rest - 1),
    };
    let sizes = format!("{}/{}", human_size(done), human_size(total));
    format!("[{}{head}{}] {sizes}", "=".repeat(filled), " ".repeat(rest))
}

/// `pulling nginx [====>   ] 12.3MB/40.1MB`.
#[must_use]
pub fn progress_line(verb: &str, state: &PullState) -> String {
    match sums(&state.layers) {
        _ if state.layers.is_empty() => format!("{verb} {}", state.name),
        (done, total) => format!("{verb} {} {}", state.name, bar(done, total)),
    }
}

/// Bytes that are here and bytes in all.
fn sums(layers: &[LayerState]) -> (u64, u64) {
    let add =
        |sum: (u64, u64), layer: &LayerState| (sum.0.saturating_add(layer.received), sum.1.saturating_add(layer.size));
    layers.iter().fold((0, 0), add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_it_goes() {
        assert_eq!(bar(0, 1000), "[>                       ] 0B/1.0kB");
        assert_eq!(bar(500, 1000), "[============>           ] 500B/1.0kB");
        assert_eq!(bar(1000, 1000), "[========================] 1.0kB/1.0kB");
        assert_eq!(bar(9, 0), "[========================] 9B/0B");
        assert_eq!(bar(u64::MAX, u64::MAX), bar(u64::MAX, u64::MAX));
    }
}
