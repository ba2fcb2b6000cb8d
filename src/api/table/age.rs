//! Lengths of time for people (`k8s.io/apimachinery/pkg/util/duration`).

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// How long ago `then` was: `37s`, `4m2s`, `3d4h`; `<unknown>` when it never was.
#[must_use]
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(
        || "<unknown>".to_owned(),
        |then| human_duration(now.as_second() - then.as_second()),
    )
}

/// The age since a timestamp as objects write it; `<unknown>` when it is empty or unreadable.
#[must_use]
pub fn age_of(then: &str, now: Timestamp) -> String {
    age(then.parse().ok(), now)
}

/// `HumanDuration`: two units where the second still tells something, else one.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, big_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    let (minutes, hours, days) = (seconds / MINUTE, seconds / HOUR, seconds / DAY);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        // Clocks that differ by a second are no news.
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => pair(minutes, 'm', s % MINUTE, 's'),
        s if s < 3 * HOUR => format!("{minutes}m"),
        s if s < 8 * HOUR => pair(hours, 'h', minutes % 60, 'm'),
        s if s < 48 * HOUR => format!("{hours}h"),
        s if s < 8 * DAY => pair(days, 'd', hours % 24, 'h'),
        s if s < 2 * YEAR => format!("{days}d"),
        s if s < 8 * YEAR => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_round_as_kubernetes_rounds_them() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR + 59 * MINUTE, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (51 * HOUR, "2d3h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + 9 * DAY, "2y9d"),
            (8 * YEAR + 9 * DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn what_never_was_has_no_age() {
        assert_eq!(age_of("", Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
