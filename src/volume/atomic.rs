//! Files that change all at once (kubelet `AtomicWriter`): `<name>` points to `..data/<name>`, and `..data` points to a directory
//! with the newest content, so that one rename changes every file and a reader sees either all old or all new.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::File;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes `files` the content of `dir`, and of a group. Nothing is touched if they are already.
pub(super) fn write(dir: &Path, files: &BTreeMap<String, File>, group: Option<u32>) -> io::Result<()> {
    let names: BTreeSet<_> = files.keys().filter_map(|path| path.split('/').next()).collect();
    let present = fs::read_link(dir.join(DATA)).ok();
    if let Some(present) = present.filter(|present| dir.join(present).is_dir())
        && is_content(&dir.join(DATA), files)?
    {
        // Whoever wrote it may have died before the links were made, or the old ones removed.
        link_names(dir, &names)?;
        return sweep(dir, &names, &present.to_string_lossy());
    }
    // Names starting with two dots are never keys: `admit` and upstream refuse them.
    let fresh = format!("..{}", uuid::Uuid::new_v4().simple());
    let made = write_files(&dir.join(&fresh), files);
    let made = made.and_then(|()| group.map_or(Ok(()), |group| give_files(&dir.join(&fresh), group)));
    if let Err(error) = made {
        // Half of it is nobody's, and there is another try.
        let _ = fs::remove_dir_all(dir.join(&fresh));
        return Err(error);
    }
    // Whatever a crash left under this name is ours to replace.
    let _ = fs::remove_file(dir.join(DATA_NEXT));
    symlink(&fresh, dir.join(DATA_NEXT))?;
    fs::rename(dir.join(DATA_NEXT), dir.join(DATA))?;
    link_names(dir, &names)?;
    sweep(dir, &names, &fresh)
}

fn is_content(data: &Path, files: &BTreeMap<String, File>) -> io::Result<bool> {
    let mut found = BTreeMap::new();
    read_files(data, "", &mut found)?;
    Ok(found == *files)
}

fn read_files(dir: &Path, prefix: &str, found: &mut BTreeMap<String, File>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            read_files(&entry.path(), &format!("{name}/"), found)?;
        } else {
            let mode = metadata.permissions().mode() & 0o777;
            let own = rustix::process::geteuid().as_raw();
            found.insert(
                name,
                File {
                    content: fs::read(entry.path())?,
                    mode,
                    owner: Some(metadata.uid()).filter(|uid| *uid != own),
                },
            );
        }
    }
    Ok(())
}

fn write_files(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        write_file(dir, path, file).map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}")))?;
    }
    Ok(())
}

/// The group's files: nobody else has seen them yet.
fn write_file(dir: &Path, path: &str, file: &File) -> io::Result<()> {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap_or(dir))?;
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    out.write_all(&file.content)?;
    out.set_permissions(fs::Permissions::from_mode(file.mode))?;
    file.owner.map_or(Ok(()), |owner| chown(&path, Some(owner), None))
}

fn give_files(dir: &Path, group: u32) -> io::Result<()> {
    chown(dir, None, Some(group))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_files(&entry.path(), group)?;
        } else {
            let mode = entry.metadata()?.permissions();
            chown(entry.path(), None, Some(group))?;
            // A change of the group may take bits away.
            fs::set_permissions(entry.path(), mode)?;
        }
    }
    Ok(())
}

fn link_names(dir: &Path, names: &BTreeSet<&str>) -> io::Result<()> {
    for name in names {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes links to what is no longer there and directories of older content.
fn sweep(dir: &Path, names: &BTreeSet<&str>, fresh: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_old_content = name.starts_with("..") && name != DATA && name != fresh;
        match entry.file_type()?.is_dir() {
            true if is_old_content => fs::remove_dir_all(entry.path())?,
            false if !name.starts_with("..") && !names.contains(&*name) => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File {
            content: text.into(),
            mode: 0o644,
            owner: None,
        };
        entries
            .iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    fn listing(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .expect("a directory")
            .map(|e| e.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        names.retain(|n| !n.starts_with(".."));
        names.sort();
        names
    }

    #[test]
    fn content_changes_as_a_whole_and_old_keys_go() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &files(&[("a", "1"), ("sub/b", "2")]), None).expect("writes");
        assert_eq!(listing(dir.path()), ["a", "sub"]);
        write(dir.path(), &files(&[("a", "3"), ("c", "4")]), None).expect("writes");
        assert_eq!(listing(dir.path()), ["a", "c"]);
        assert_eq!(
            fs::read_to_string(dir.path().join("a")).expect("a link that leads somewhere"),
            "3"
        );
        let hidden = fs::read_dir(dir.path()).expect("a directory").count() - 2;
        assert_eq!(hidden, 2, "..data and the directory it points to");
    }

    #[test]
    fn what_a_crash_left_half_done_is_completed_though_the_content_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &files(&[("a", "1"), ("b", "2")]), None).expect("writes");
        fs::remove_file(dir.path().join("b")).expect("a link");
        symlink("..data/old", dir.path().join("old")).expect("links");
        fs::create_dir(dir.path().join("..old")).expect("a directory");
        write(dir.path(), &files(&[("a", "1"), ("b", "2")]), None).expect("writes");
        assert_eq!(listing(dir.path()), ["a", "b"]);
        assert!(!dir.path().join("..old").exists());
    }

    #[test]
    fn what_can_not_be_written_leaves_nothing_and_is_told_by_its_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let clash = files(&[("a", "1"), ("a/b", "2")]);
        for _ in 0..2 {
            let error = write(dir.path(), &clash, None).expect_err("a file is no directory");
            assert!(error.to_string().starts_with("a/b: "), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn equal_content_touches_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &files(&[("a", "1")]), None).expect("writes");
        let before = fs::read_link(dir.path().join(DATA)).expect("a link");
        write(dir.path(), &files(&[("a", "1")]), None).expect("writes");
        assert_eq!(fs::read_link(dir.path().join(DATA)).expect("a link"), before);
    }
}
