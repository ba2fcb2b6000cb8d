//! One layer from wherever its bytes are to a tree in a temporary directory, measured on the way.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::digest::{Digest, Hasher};
use super::disk::Temporary;
use super::document::{Descriptor, OCI_LAYER};
use super::error::ImageError;
use super::ingest::{Ingest, WantedLayer};
use super::partial::Partial;
use super::registry::RegistryError;
use super::unpack::{
    Keep, Measured, Memory, Need, Source, Streamed, UnpackError, Unpacked, extract, open_root, stream,
};

/// What comes of unpacking: the packed form if it is kept, then the tar's digest and the tree.
pub(super) type Kept = (Option<Descriptor>, (Measured, Unpacked));

/// How unpacking went.
enum Attempt {
    Done(Temporary, Box<Kept>),
    /// The packed form is kept, and can be unpacked when there is memory.
    Later(Need, Digest),
}

/// Where packed bytes come from, and the file that takes them meanwhile.
type Fed<'w> = (Source<Box<dyn Read + Send + 'w>>, Option<KeptAs>);

/// The packed form while it is not known to be right.
enum KeptAs {
    Temporary(Temporary),
    Partial(Partial),
}

impl KeptAs {
    fn move_to(self, place: &Path) -> io::Result<()> {
        match self {
            KeptAs::Temporary(temporary) => temporary.move_to(place),
            KeptAs::Partial(partial) => partial.move_to(place),
        }
    }
}

impl Ingest<'_> {
    /// Keeps a packed layer whose tree is there already.
    pub(super) fn keep_blob(&self, wanted: &WantedLayer<'_>, blob: &Descriptor) -> Result<(), ImageError> {
        let mut reader = (wanted.open)(0)?.take(blob.size.saturating_add(1));
        let (mut file, temporary) = self.disk().temporary_file()?;
        let (mut hasher, mut size, mut buffer) = (Hasher::default(), 0u64, vec![0; 128 << 10]);
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unpack_error(wanted)(error.into())),
            };
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read])
                .map_err(ImageError::io(temporary.path()))?;
            size += read as u64;
        }
        check_blob(
            &wanted.what,
            blob,
            &Measured {
                digest: hasher.finish(),
                size,
            },
        )?;
        let place = self.disk().blob(&blob.digest);
        // A record may name it already, so that no commit waits for it.
        file.sync_data().map_err(ImageError::io(temporary.path()))?;
        temporary.move_to(&place).map_err(ImageError::io(&place))
    }

    /// Unpacks into a fresh directory. If what an earlier pull left turns out to be something else, it begins anew; if there is
    /// no memory for it while it comes, it is unpacked when it is here.
    pub(super) fn unpack_anew(&self, wanted: &WantedLayer<'_>) -> Result<(Temporary, Kept), ImageError> {
        let (mut need, mut packed) = (Need::Spare, wanted.blob.as_ref().map(|blob| blob.digest.clone()));
        loop {
            let fed = self.source(wanted, packed.as_ref())?;
            let is_resumed = fed.0.keep.as_ref().is_some_and(|keep| keep.already > 0);
            match self.unpack(wanted, fed, need) {
                Err(ImageError::WrongDigest { .. } | ImageError::WrongSize { .. }) if is_resumed => {}
                // Of an entry that is refused nobody knows whether it is the layer's, as long as its beginning came from elsewhere.
                Err(ImageError::Unpack {
                    source: UnpackError::Refused { .. } | UnpackError::OverLimit { .. },
                    ..
                }) if is_resumed => {}
                Ok(Attempt::Later(more, digest)) => (need, packed) = (more, Some(digest)),
                Ok(Attempt::Done(temporary, kept)) => return Ok((temporary, *kept)),
                Err(error) => return Err(error),
            }
        }
    }

    fn unpack(&self, wanted: &WantedLayer<'_>, fed: Fed<'_>, need: Need) -> Result<Attempt, ImageError> {
        let (source, kept_as) = fed;
        let memory = Memory {
            windows: self.windows(),
            need,
            is_given_up: &*self.is_given_up,
        };
        let temporary = self.disk().temporary_dir()?;
        let tree = temporary.path().join("fs");
        fs::create_dir(&tree).map_err(ImageError::io(&tree))?;
        let root = open_root(&tree).map_err(ImageError::errno(&tree))?;
        rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755)).map_err(ImageError::errno(&tree))?;
        let streamed = stream(source, &memory, self.limits(), |data| {
            extract(data, root, (self.owners(), self.space()), self.limits())
        });
        let streamed = match streamed {
            Ok(streamed) => streamed,
            Err(error) => {
                // What came before the connection broke is right as far as anyone knows; on a full disk it must go all the same.
                if let Some(KeptAs::Partial(partial)) = kept_as
                    && matches!(&error, UnpackError::Read(error) if error.kind() != io::ErrorKind::StorageFull)
                {
                    partial.leave();
                }
                return Err(unpack_error(wanted)(error));
            }
        };
        let blob = check(wanted, &streamed)?;
        let unpacked = match streamed.unpacked {
            Err(UnpackError::Postponed(_)) if (self.is_given_up)() => return Err(RegistryError::Cancelled.into()),
            Err(UnpackError::Postponed(more)) => Err(more),
            unpacked => Ok(unpacked.map_err(unpack_error(wanted))?),
        };
        if let Some(kept_as) = kept_as {
            let place = self.disk().blob(&blob.digest);
            kept_as.move_to(&place).map_err(ImageError::io(&place))?;
        }
        Ok(match unpacked {
            Ok(unpacked) => Attempt::Done(temporary, Box::new((wanted.keeps_blob.then_some(blob), unpacked))),
            Err(more) => Attempt::Later(more, blob.digest),
        })
    }

    /// Where the packed bytes come from, and the file that takes them meanwhile. They may be here under their digest.
    fn source<'w>(&self, wanted: &'w WantedLayer<'_>, packed: Option<&Digest>) -> Result<Fed<'w>, ImageError> {
        let max_size = wanted.blob.as_ref().map_or(self.limits().unpacked, |blob| blob.size);
        let source = |reader: Box<dyn Read + Send + 'w>, keep| Source { reader, max_size, keep };
        let blob = wanted.blob.as_ref();
        if let Some(place) = packed
            .map(|digest| self.disk().blob(digest))
            .filter(|place| place.exists())
        {
            let file = File::open(&place).map_err(ImageError::io(&place))?;
            return Ok((source(Box::new(file), None), None));
        }
        if let Some(blob) = blob.filter(|_| wanted.progress.is_some())
            && let Some(partial) = self.disk().partial(&blob.digest)?
        {
            let (before, already) = partial.read(blob.size)?;
            if let Some(progress) = &wanted.progress {
                progress.begin(already);
            }
            let reader: Box<dyn Read + Send + 'w> = match already == blob.size {
                true => Box::new(before),
                false => Box::new(before.chain((wanted.open)(already)?)),
            };
            let file = partial.append(already)?;
            return Ok((
                source(reader, Some(Keep { file, already })),
                Some(KeptAs::Partial(partial)),
            ));
        }
        if let Some(progress) = &wanted.progress {
            progress.begin(0);
        }
        let reader = (wanted.open)(0)?;
        if !wanted.keeps_blob {
            return Ok((source(reader, None), None));
        }
        let (file, temporary) = self.disk().temporary_file()?;
        let keep = Keep { file, already: 0 };
        Ok((source(reader, Some(keep)), Some(KeptAs::Temporary(temporary))))
    }
}

fn unpack_error(wanted: &WantedLayer<'_>) -> impl FnOnce(super::unpack::UnpackError) -> ImageError + use<> {
    let layer = wanted.what.clone();
    move |source| ImageError::Unpack { layer, source }
}

/// Holds what was measured against what was promised: the packed bytes first, because wrong ones explain whatever
/// went wrong with unpacking them.
fn check(wanted: &WantedLayer<'_>, streamed: &Streamed<Unpacked>) -> Result<Descriptor, ImageError> {
    if let Some(blob) = &wanted.blob {
        check_blob(&wanted.what, blob, &streamed.packed)?;
    }
    if let Ok((measured, unpacked)) = &streamed.unpacked {
        if let Some(diff_id) = wanted.diff_id.as_ref().filter(|diff_id| **diff_id != measured.digest) {
            return Err(ImageError::WrongDigest {
                what: format!("{} unpacked", wanted.what),
                expected: diff_id.to_string(),
                found: measured.digest.to_string(),
            });
        }
        // Where no digest tells that it is whole, its end mark does.
        if wanted.diff_id.is_none() && !unpacked.has_end_mark {
            return Err(unpack_error(wanted)(super::unpack::UnpackError::Truncated));
        }
    }
    let media_type = format!("{OCI_LAYER}{}", streamed.compression.suffix());
    let measured = Descriptor::new(&media_type, streamed.packed.digest.clone(), streamed.packed.size);
    Ok(wanted.blob.clone().unwrap_or(measured))
}

fn check_blob(what: &str, promised: &Descriptor, found: &Measured) -> Result<(), ImageError> {
    if found.size != promised.size {
        let found = if found.size > promised.size {
            format!("more than {}", promised.size)
        } else {
            found.size.to_string()
        };
        return Err(ImageError::WrongSize {
            what: what.to_owned(),
            expected: promised.size,
            found,
        });
    }
    if found.digest != promised.digest {
        return Err(ImageError::WrongDigest {
            what: what.to_owned(),
            expected: promised.digest.to_string(),
            found: found.digest.to_string(),
        });
    }
    Ok(())
}
