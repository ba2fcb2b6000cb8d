//! How much of the disk images may take.

use serde::Deserialize;

use crate::image::{Mark, Marks};

/// How much of the disk images may take: `25%` of the file system, or `30Gi`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ImageSettings {
    /// From here on unused images go,
    pub high_mark: Option<String>,
    /// until no more is taken than this.
    pub low_mark: Option<String>,
    /// Whether images that podman and buildah have are found too; yes if nothing is said.
    pub share: Option<bool>,
}

impl ImageSettings {
    pub(super) fn marks(&self) -> Result<Marks, String> {
        let mark = |name: &str, text: &Option<String>, default: Mark| match text {
            None => Ok(default),
            Some(text) => Mark::parse(text)
                .ok_or_else(|| format!("images: {name}: {text:?} is neither a percentage nor a quantity as in 30Gi")),
        };
        let default = Marks::default();
        let high = mark("highMark", &self.high_mark, default.high)?;
        let low = match (&self.low_mark, high) {
            // Without a word of its own the low mark keeps its distance.
            (None, Mark::Percent(high)) => Mark::Percent(high - high.div_ceil(5)),
            (None, Mark::Bytes(high)) => Mark::Bytes(high / 5 * 4),
            (Some(_), _) => mark("lowMark", &self.low_mark, default.low)?,
        };
        let is_upside_down = match (low, high) {
            (Mark::Percent(low), Mark::Percent(high)) => low > high,
            (Mark::Bytes(low), Mark::Bytes(high)) => low > high,
            // Which is more depends on the disk.
            _ => false,
        };
        match is_upside_down {
            true => Err("images: lowMark is above highMark".to_owned()),
            false => Ok(Marks { high, low }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> Result<Marks, String> {
        let read: Option<ImageSettings> = serde_yaml::from_str(text).expect("reads");
        read.unwrap_or_default().marks()
    }

    #[test]
    fn the_low_mark_follows_the_high_one() {
        for (text, high, low) in [
            ("", Mark::Percent(25), Mark::Percent(20)),
            ("{highMark: 50%}", Mark::Percent(50), Mark::Percent(40)),
            ("{highMark: 10Gi, lowMark: 5%}", Mark::Bytes(10 << 30), Mark::Percent(5)),
        ] {
            assert_eq!(marks(text), Ok(Marks { high, low }), "{text}");
        }
        let error = marks("{highMark: much}").expect_err("is no mark");
        assert!(error.contains("highMark") && error.contains("much"), "{error}");
    }
}
