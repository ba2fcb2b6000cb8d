//! Bars of how far something is.

use super::human_size;

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
