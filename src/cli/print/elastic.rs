//! Elastic tab stops, as Go's tabwriter lays out what `kubectl describe` prints: a cell that a tab ends is as wide as the
//! widest of its column in the lines next to it that have this column too.

/// Blanks after the widest cell.
const PADDING: usize = 2;

/// Text with tabs as text with blanks.
#[must_use]
pub fn elastic(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let block = lines[start..]
                .iter()
                .take_while(|cells| cells.len() > column + 1)
                .count();
            let cells = lines[start..start + block]
                .iter()
                .map(|cells| cells[column].chars().count());
            let width = cells.max().unwrap_or(0) + PADDING;
            widths[start..start + block]
                .iter_mut()
                .for_each(|widths| widths[column] = width);
            start += block.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (place, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            let width = widths.get(place).copied().unwrap_or(0);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_neighbours_need() {
        let text = "Name:\tweb\nNamespace:\tdefault\nPlain\nA:\tb\n  Type\tStatus\n  Ready\tTrue\n";
        assert_eq!(
            elastic(text),
            "Name:       web\nNamespace:  default\nPlain\nA:       b\n  Type   Status\n  Ready  True\n"
        );
    }
}
