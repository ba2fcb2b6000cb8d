//! What of a log is wanted (`k8s.io/kubernetes/pkg/apis/core/validation`, `ValidatePodLogOptions`). Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::error::ApiError;
use crate::api::request::Query;

/// What of a log is wanted (`v1.PodLogOptions`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::api) struct LogOptions {
    pub(in crate::api) container: String,
    pub(in crate::api) follow: bool,
    pub(in crate::api) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail: Option<usize>,
    pub(super) since: Option<Timestamp>,
    pub(super) limit: Option<u64>,
    /// The one stream that is wanted, as lines name it.
    stream: Option<&'static str>,
}

impl LogOptions {
    /// Refuses what excludes each other or means nothing (`ValidatePodLogOptions`).
    fn check(query: &Query, seconds: Option<i64>) -> Result<(), ApiError> {
        let refuse =
            |field, reason, message: &str| Err(ApiError::invalid_part("", "PodLogOptions", field, reason, message));
        for (field, number) in [("sinceSeconds", seconds), ("limitBytes", query.number("limitBytes")?)] {
            if let Some(number) = number.filter(|number| *number < 1) {
                let message = format!("Invalid value: {number}: must be greater than 0");
                return refuse(field, "FieldValueInvalid", &message);
            }
        }
        if let Some(lines) = query.number::<i64>("tailLines")?.filter(|lines| *lines < 0) {
            let message = format!("Invalid value: {lines}: must be greater than or equal to 0");
            return refuse("tailLines", "FieldValueInvalid", &message);
        }
        if seconds.is_some() && !query.text("sinceTime").is_empty() {
            let message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return refuse("sinceSeconds", "FieldValueForbidden", message);
        }
        match query.text("stream") {
            "" | "All" => Ok(()),
            // Upstream counts the last lines of both streams, and has not said yet what the last of one are.
            "Stdout" | "Stderr" if !query.text("tailLines").is_empty() => {
                let message = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now";
                refuse("", "FieldValueForbidden", message)
            }
            "Stdout" | "Stderr" => Ok(()),
            other => {
                let message =
                    format!("Unsupported value: {other:?}: supported values: \"All\", \"Stderr\", \"Stdout\"");
                refuse("stream", "FieldValueNotSupported", &message)
            }
        }
    }

    /// Whether lines of this stream are wanted.
    pub(super) fn wants(&self, stream: &[u8]) -> bool {
        self.stream.is_none_or(|wanted| wanted.as_bytes() == stream)
    }

    pub(in crate::api) fn parse(query: &Query, now: Timestamp) -> Result<Self, ApiError> {
        let seconds = query.number::<i64>("sinceSeconds")?;
        Self::check(query, seconds)?;
        let since = match (seconds, query.text("sinceTime")) {
            (Some(seconds), _) => Some(
                now.saturating_sub(SignedDuration::from_secs(seconds))
                    .expect("no calendar units"),
            ),
            (None, "") => None,
            (None, time) => Some(
                time.parse()
                    .map_err(|_| ApiError::bad_request(format!("sinceTime: {time:?} is no time")))?,
            ),
        };
        Ok(Self {
            container: query.text("container").to_owned(),
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail: query.number("tailLines")?,
            since,
            limit: query.number("limitBytes")?,
            stream: match query.text("stream") {
                "Stdout" => Some("stdout"),
                "Stderr" => Some("stderr"),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_each_other_is_refused() {
        let told = |query: &str| {
            let options = LogOptions::parse(&Query::parse(query), Timestamp::UNIX_EPOCH);
            options.map(drop).map_err(|error| error.message)
        };
        for (query, why) in [
            ("stream=Stdout&tailLines=1", "mutually exclusive"),
            ("stream=Foo", "Unsupported value: \"Foo\""),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "at most one of"),
            ("limitBytes=0", "must be greater than 0"),
            ("tailLines=-1", "must be greater than or equal to 0"),
        ] {
            let said = told(query).expect_err(query);
            assert!(said.contains(why), "{query}: {said}");
        }
        for query in ["", "stream=All&tailLines=1", "stream=Stderr&follow=true"] {
            assert_eq!(told(query), Ok(()), "{query}");
        }
    }
}
