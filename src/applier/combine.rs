//! A source of several paths, as one listing. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admit::{Problem, Severity};
use crate::model::Key;
use crate::source::{Listing, Noticing, SourceId, SourcedObject};

/// Joins the listings of a source's paths. An object that two of them name is taken from the first, and the second is told.
pub(super) fn combine(source: SourceId, listings: &[Arc<Listing>]) -> Listing {
    let mut whole = Listing {
        complete: true,
        ..Listing::unread(source)
    };
    let mut named: BTreeMap<Key, Arc<SourcedObject>> = BTreeMap::new();
    for listing in listings {
        whole.complete &= listing.complete;
        whole.files_read += listing.files_read;
        whole.generation += listing.generation;
        whole.unsettled.extend(listing.unsettled.iter().cloned());
        whole.leaving.extend(listing.leaving.iter().cloned());
        whole.problems.extend(listing.problems.iter().cloned());
        whole.last_good.extend(listing.last_good.iter().cloned());
        // Polling is worth telling, whichever path needs it.
        if !matches!(whole.noticing, Noticing::Polling(_)) {
            whole.noticing = listing.noticing.clone();
        }
        for object in &listing.objects {
            match named.get(&object.key) {
                Some(first) => whole.problems.push(named_twice(object, first)),
                None => {
                    named.insert(object.key.clone(), object.clone());
                    whole.objects.push(object.clone());
                }
            }
        }
    }
    whole
}

fn named_twice(object: &SourcedObject, first: &SourcedObject) -> Problem {
    let message = format!("{} is already given at {}", object.key, first.location);
    problem(object, Severity::Error, message)
}

/// Something wrong with an object, where it begins.
pub(super) fn problem(object: &SourcedObject, severity: Severity, message: String) -> Problem {
    Problem {
        location: object.location.clone(),
        severity,
        message,
        source_line: String::new(),
    }
}
