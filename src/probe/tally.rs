//! When checks in a row become a result (kubelet `prober.worker`). Pure.

/// Counts checks of one probe of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    row: u32,
}

impl Tally {
    /// So many checks in a row have to agree; at least one.
    pub fn new(success_threshold: u32, failure_threshold: u32) -> Self {
        Self {
            success_threshold: success_threshold.max(1),
            failure_threshold: failure_threshold.max(1),
            last: None,
            row: 0,
        }
    }

    /// Counts one more check. The result, once as many in a row agree as the threshold asks for; until then the former one holds.
    pub fn take(&mut self, passed: bool) -> Option<bool> {
        self.row = if self.last == Some(passed) {
            self.row.saturating_add(1)
        } else {
            1
        };
        self.last = Some(passed);
        let threshold = if passed {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        (self.row >= threshold).then_some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_needs_its_threshold_of_checks_in_a_row() {
        for (success, failure, checks, expected) in [
            (1, 3, "+", "+"),
            (1, 3, "--", ".."),
            (1, 3, "---", "..-"),
            (1, 3, "--+--", "..+.."),
            (2, 1, "+-++", ".-.+"),
            (0, 0, "+-", "+-"),
            (3, 3, "+++-++", "..+..."),
        ] {
            let mut tally = Tally::new(success, failure);
            let said: String = checks
                .chars()
                .map(|check| match tally.take(check == '+') {
                    Some(true) => '+',
                    Some(false) => '-',
                    None => '.',
                })
                .collect();
            assert_eq!(said, expected, "{checks} with {success} and {failure}");
        }
    }
}
