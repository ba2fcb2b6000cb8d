//! What does not work at the moment, as a sentence each, from whoever finds out to whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The sentences, by what they are about. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Complaints(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Complaints {
    /// Says what is wrong with something, instead of what was said of it before; nothing if all is well.
    pub fn set(&self, about: &'static str, sentence: Option<String>) {
        let mut said = self.0.lock().expect("nothing panics while it holds the sentences");
        match sentence {
            Some(sentence) => drop(said.insert(about, sentence)),
            None => drop(said.remove(about)),
        }
    }

    /// What is wrong now.
    pub fn list(&self) -> Vec<String> {
        let said = self.0.lock().expect("nothing panics while it holds the sentences");
        said.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_again_is_not_complained_of() {
        let complaints = Complaints::default();
        let other = complaints.clone();
        other.set("names", Some("no names".to_owned()));
        other.set("names", Some("still no names".to_owned()));
        other.set("rules", Some("no rules".to_owned()));
        assert_eq!(complaints.list(), ["still no names", "no rules"]);
        other.set("names", None);
        assert_eq!(complaints.list(), ["no rules"]);
    }
}
