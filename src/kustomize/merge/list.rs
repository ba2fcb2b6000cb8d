//! Lists whose items are told apart by keys.

use super::directive::Directive;
use super::{Kept, Merge};
use crate::kustomize::error::Result;
use crate::kustomize::graph::{Cell, ElementKeys, Id, Put};
use crate::kustomize::openapi::{Place, Schema};
use crate::kustomize::yaml::{Kind, Tag};

/// An item's values of the keys, in the keys' order; empty where it has none.
type Values = Vec<String>;

impl Merge<'_> {
    pub(super) fn walk_list(&mut self, place: &Place, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Kept>> {
        let Some(dest) = self.visit_list(dest, origin)? else {
            return Ok(None);
        };
        let keys = match place {
            Place::List(field) => field.merge_keys.clone().unwrap_or_default(),
            Place::Unknown | Place::Leaf | Place::Type(_) => Vec::new(),
        };
        // New items come first, so the patch's are looked at first.
        let sources = [origin, Some(dest)];
        let (keys, values) = match keys.is_empty() {
            true => (vec![String::new()], self.texts_of(sources)),
            false => {
                let values = self.values_of(sources, &keys);
                (keys, values)
            }
        };
        self.set_items(place, keys, values, dest, origin)
    }

    fn visit_list(&mut self, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Id>> {
        self.take_presentation(dest, origin);
        let Some(there) = dest.filter(|dest| !self.graph.is_null(*dest)) else {
            return Ok(origin);
        };
        let Some(origin) = origin else {
            return Ok(Some(there));
        };
        if self.graph.is_null(origin) {
            return Ok(None);
        }
        Ok(match self.directive(origin)? {
            Directive::Delete => None,
            Directive::Replace => Some(origin),
            Directive::Merge => Some(there),
        })
    }

    fn texts_of(&self, sources: [Option<Id>; 2]) -> Vec<Values> {
        let mut found: Vec<Values> = Vec::new();
        for list in sources.into_iter().flatten() {
            for item in self.graph.content(list) {
                let values = vec![self.graph.text(*item).to_owned()];
                if !found.contains(&values) {
                    found.push(values);
                }
            }
        }
        found
    }

    fn values_of(&self, sources: [Option<Id>; 2], keys: &[String]) -> Vec<Values> {
        let mut found: Vec<Values> = Vec::new();
        for list in sources
            .into_iter()
            .flatten()
            .filter(|list| self.graph.is_sequence(*list))
        {
            for item in self.graph.content(list) {
                let value = |key: &String| {
                    let field = self.graph.get(*item, key).filter(|field| !self.graph.is_hollow(*field));
                    field.map(|field| self.graph.text(field).to_owned()).unwrap_or_default()
                };
                let values: Values = keys.iter().map(value).collect();
                if !found.contains(&values) {
                    found.push(values);
                }
            }
        }
        found
    }

    fn set_items(
        &mut self,
        place: &Place,
        keys: Vec<String>,
        mut all: Vec<Values>,
        mut dest: Id,
        origin: Option<Id>,
    ) -> Result<Option<Kept>> {
        if keys.len() > 1 {
            unify(&mut all);
        }
        let merged = self.graph.add(Cell::new(Kind::Sequence));
        let items = Schema::items(place);
        let mut valid_keys = Vec::new();
        for values in &all {
            let (in_use, values) = used_keys(&all, values, &keys);
            self.set_item(&items, &in_use, &values, dest, origin, merged)?;
            valid_keys = in_use;
        }
        if !all.is_empty() {
            self.append_list(merged, dest, &valid_keys)?;
            dest = merged;
        }
        Ok((!self.graph.is_null(dest)).then(|| dest.into()))
    }

    fn set_item(
        &mut self,
        items: &Place,
        keys: &[String],
        values: &[String],
        dest: Id,
        origin: Option<Id>,
        merged: Id,
    ) -> Result<()> {
        let (own_keys, own_values) = used_keys(&[values.to_vec()], values, keys);
        let find = |graph: &crate::kustomize::graph::Graph, list: Option<Id>| {
            let list = list.filter(|list| graph.is_sequence(*list))?;
            (own_keys.len() == own_values.len())
                .then(|| graph.find_item(list, &own_keys, &own_values).ok().flatten())?
        };
        let (ours, theirs) = (find(self.graph, Some(dest)), find(self.graph, origin));
        let item = self.walk(items.clone(), ours, theirs)?.map(|kept| kept.id);
        let keys_of_item = ElementKeys { keys, values };
        let Some(item) = item.filter(|item| !self.graph.is_empty_map(*item)) else {
            return self.graph.put_item(dest, keys_of_item, None);
        };
        for (key, value) in keys.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            if self.graph.get(item, key).is_none() {
                let made = self.graph.add_scalar(value, Tag::None);
                match key.is_empty() {
                    true => self.graph.set_scalar(item, made)?,
                    false => self.graph.set_field(item, key, Some(made), Put::default())?,
                }
            }
        }
        self.graph.put_item(merged, keys_of_item, Some(item))
    }

    /// Appends what was there to what was merged, except for what was merged.
    fn append_list(&mut self, merged: Id, dest: Id, keys: &[String]) -> Result<()> {
        for item in self.graph.content(dest).to_vec() {
            if keys.first().is_some_and(String::is_empty) {
                let values = [self.graph.text(item).to_owned()];
                let keys = ElementKeys { keys, values: &values };
                self.graph.put_item(merged, keys, Some(item))?;
                continue;
            }
            let mut values = Vec::new();
            for key in keys {
                match self.graph.find(item, key)? {
                    Some(field) => values.push(self.graph.text(field).to_owned()),
                    None => self.graph.append(merged, item)?,
                }
            }
            let keys_of_item = ElementKeys { keys, values: &values };
            if keys.len() > 1 {
                self.graph.put_item(merged, keys_of_item, None)?;
            }
            self.graph.put_item(merged, keys_of_item, Some(item))?;
        }
        Ok(())
    }
}

/// The keys that some item has, and an item's values of them; all keys if none has any.
fn used_keys(all: &[Values], values: &[String], keys: &[String]) -> (Vec<String>, Values) {
    let is_used = |key: &String| {
        let at = |values: &Values| {
            keys.iter()
                .zip(values)
                .any(|(other, value)| other == key && !value.is_empty())
        };
        all.iter().any(at)
    };
    let used: Vec<String> = keys.iter().filter(|key| is_used(key)).cloned().collect();
    if used.is_empty() {
        return (keys.to_vec(), values.to_vec());
    }
    let own = keys
        .iter()
        .zip(values)
        .filter(|(key, value)| !value.is_empty() || used.contains(key));
    (used.clone(), own.map(|(_, value)| value.clone()).collect())
}

/// Items that agree in some keys and contradict each other in none are one: each gets what the other says.
fn unify(all: &mut [Values]) {
    for i in 0..all.len() {
        for j in 0..all.len() {
            if let Some(values) = unified(&all[i], &all[j]) {
                all[i].clone_from(&values);
                all[j] = values;
            }
        }
    }
}

fn unified(a: &Values, b: &Values) -> Option<Values> {
    let contradicts = |(a, b): (&String, &String)| a != b && !a.is_empty() && !b.is_empty();
    if a.len() != b.len() || a.iter().zip(b).any(contradicts) || !a.iter().zip(b).any(|(a, b)| a == b) {
        return None;
    }
    Some(
        a.iter()
            .zip(b)
            .map(|(a, b)| if a.is_empty() { b.clone() } else { a.clone() })
            .collect(),
    )
}
