//! What users do to the store by hand: load, import, tag, remove; and save.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::PoisonError;

use super::look::names_of;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::import::import;
use crate::image::lease::Lease;
use crate::image::load::load;
use crate::image::partial::KEPT;
use crate::image::record::{self, Name};
use crate::image::save::save;
use crate::image::source::Files;
use crate::image::{BUILTIN_IMAGE, Image, ImageStore, LoadSource, Removed};

impl ImageStore {
    /// Loads every image of the source that is for this machine. `name` takes the place of the names in the source,
    /// which then must hold one image. Of the images' names those are told that were loaded, if any were.
    ///
    /// # Errors
    /// If the source is no image, damaged, hostile or for other machines only. Images before the failing one stay.
    pub fn load(&self, source: LoadSource, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let name = name.map(|name| self.reference(name)).transpose()?;
        let (loaded, named) = self.ingest(|ingest| {
            let files = Files::open(source, ingest.disk(), ingest.limits())?;
            let loaded = load(ingest, &files, name.as_ref())?;
            Ok((
                loaded,
                std::mem::take(ingest.named.get_mut().unwrap_or_else(PoisonError::into_inner)),
            ))
        })?;
        let each: BTreeMap<Digest, Lease> = loaded.into_iter().map(|lease| (lease.id().clone(), lease)).collect();
        let image = |lease| Ok(self.image(lease)?.with_names(|name| named.contains(name)));
        each.into_values().map(image).collect()
    }

    /// Makes an image of one layer from a tar of a root file system, which may be compressed.
    ///
    /// # Errors
    /// As [`ImageStore::load`].
    pub fn import(&self, rootfs: impl Read + Send, name: &str) -> Result<Image, ImageError> {
        let name = self.reference(name)?.store_name();
        let lease = self.ingest(|ingest| import(ingest, rootfs, &name))?;
        Ok(self.image(lease)?.with_names(|given| given == name))
    }

    /// Takes a name away, and with the last name the image. By id, all its names and the image. `in_use` is asked with
    /// the image's id before it goes; an image that is held does not go whatever it says.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there, [`ImageError::InUse`] or [`ImageError::BuiltIn`] if it may not go.
    pub fn remove(&self, reference: &str, in_use: &dyn Fn(&str) -> bool) -> Result<Removed, ImageError> {
        let removed = self.forget(reference, in_use)?;
        if removed.deleted.is_some() {
            self.sweep(KEPT)?;
        }
        Ok(removed)
    }

    /// What [`ImageStore::remove`] does, but that what the image was made of stays until the next sweep.
    pub(in crate::image) fn forget(
        &self,
        reference: &str,
        in_use: &dyn Fn(&str) -> bool,
    ) -> Result<Removed, ImageError> {
        let record = self.find(reference)?;
        let record = record.ok_or_else(|| ImageError::NotFound(reference.to_owned()))?;
        let edit = self.disk().edit()?;
        let names: Vec<Name> = record::names(self.disk())?
            .into_iter()
            .filter(|name| name.id == record.id)
            .collect();
        let asked = self.reference(reference).ok().map(|reference| reference.store_name());
        let (gone, is_last) = plan_removal(&names, asked.as_deref());
        if gone.iter().any(|name| name == BUILTIN_IMAGE) {
            return Err(ImageError::BuiltIn(reference.to_owned()));
        }
        if is_last && in_use(&record.id.to_string()) {
            return Err(ImageError::InUse(reference.to_owned()));
        }
        let unpoint = || {
            gone.iter()
                .try_for_each(|name| record::unpoint(self.disk(), name, &edit))
        };
        let delete = || unpoint().and_then(|()| record::delete(self.disk(), &record.id, &edit));
        match is_last {
            true => {
                let deleted = self.leases().unless_held(&record.id, delete);
                deleted.ok_or_else(|| ImageError::InUse(reference.to_owned()))??;
            }
            false => unpoint()?,
        }
        self.inner.changed.send_modify(|changed| *changed += 1);
        Ok(Removed {
            untagged: gone,
            deleted: is_last.then(|| record.id.to_string()),
        })
    }

    /// Gives an image another name; a name that another image had moves.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there.
    pub fn tag(&self, source: &str, name: &str) -> Result<Image, ImageError> {
        let reference = self.reference(name)?;
        if reference.digest().is_some() {
            let why = "a name by digest cannot be given";
            return Err(ImageError::InvalidImageName {
                name: name.to_owned(),
                why,
            });
        }
        let (lease, record) = self.require(source)?;
        let name = Name {
            name: reference.store_name(),
            id: record.id.clone(),
            is_pulled: false,
        };
        record::point(self.disk(), &name, &self.disk().edit()?)?;
        self.image_of(lease, record)
    }

    /// Writes an image as an OCI archive that podman, skopeo and docker load: under the name that it is asked for by, or, by id,
    /// under all its names.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there; else it cannot be read or written.
    pub fn save(&self, reference: &str, out: impl Write) -> Result<(), ImageError> {
        // Held so that no sweep takes away what is being read.
        let _work = self.disk().work()?;
        let (_held, record) = self.require(reference)?;
        let asked = self.reference(reference).ok().map(|reference| reference.store_name());
        let mut names = names_of(&record::names(self.disk())?, &record.id).1;
        names.sort();
        let names = match asked.filter(|asked| names.contains(asked)) {
            Some(asked) => vec![asked],
            None => names,
        };
        save(self.disk(), &record, &names, out)
    }
}

/// Which of an image's names go, and whether the image goes with them. A repository's names by digest go with its last
/// tag, as Docker has it.
fn plan_removal(names: &[Name], asked: Option<&str>) -> (Vec<String>, bool) {
    let Some(asked) = names.iter().find(|name| Some(name.name.as_str()) == asked) else {
        return (names.iter().map(|name| name.name.clone()).collect(), true);
    };
    let of_repository = |name: &&Name| name.repository() == asked.repository();
    let is_last_tag = !names
        .iter()
        .filter(of_repository)
        .any(|name| !name.is_digest() && name.name != asked.name);
    let goes = |name: &&Name| name.name == asked.name || (is_last_tag && name.is_digest() && of_repository(name));
    let gone: Vec<String> = names.iter().filter(goes).map(|name| name.name.clone()).collect();
    let is_last = gone.len() == names.len();
    (gone, is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repositorys_digests_go_with_its_last_tag_and_the_image_with_its_last_name() {
        let name = |name: &str| Name {
            name: name.to_owned(),
            id: Digest::of(b"x"),
            is_pulled: false,
        };
        let digest = format!("r.io/a@{}", Digest::of(b"m"));
        let (one, two, other) = (name("r.io/a:1"), name("r.io/a:2"), name("r.io/b:1"));
        let by_digest = name(&digest);
        for (names, reference, gone, is_last) in [
            (
                vec![one.clone(), two.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1"],
                false,
            ),
            (
                vec![one.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1", &digest],
                true,
            ),
            (
                vec![one.clone(), other.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1", &digest],
                false,
            ),
            (
                vec![one.clone(), two.clone()],
                "deadbeef",
                vec!["r.io/a:1", "r.io/a:2"],
                true,
            ),
            (vec![by_digest.clone()], &digest, vec![&digest], true),
            (vec![], "deadbeef", vec![], true),
        ] {
            assert_eq!(
                plan_removal(&names, Some(reference)),
                (gone.iter().map(ToString::to_string).collect(), is_last)
            );
        }
    }
}
