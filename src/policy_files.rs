//! The edge to policy files: a `.cedar` file, or a folder of them with an
//! optional `entities.json` and `links.json`, into [`Sources`]; and back to
//! the disk what was laid out anew.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::core::config::CatchAllForbid;
use crate::core::policy::{Loaded, Policy, Sources};
use crate::core::problem::{Listed, Problem};

/// The name under which a folder may list agents and teams.
const ENTITIES: &str = "entities.json";
/// The file of a folder that links its templates.
const LINKS: &str = "links.json";

/// Why a policy could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such file or folder.
    #[error("{}: there is no such policy file or folder; name a .cedar file or a folder of them", .0.display())]
    Missing(PathBuf),
    /// It is there and cannot be read.
    #[error("{}: this cannot be read: {source}; the user cedarwall runs as needs to read it", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("{}: this is not UTF-8 text; save it as UTF-8", .0.display())]
    NotText(PathBuf),
    /// What is in it.
    #[error("the policy is not usable\n{}", Listed(.0))]
    Wrong(Vec<Problem>),
}

/// Reads and loads the policy at `path`.
///
/// # Errors
/// As [`read`], or with every problem in it.
pub fn load(path: &Path, reading: CatchAllForbid) -> Result<Loaded, Error> {
    Policy::load(&read(path)?, reading).map_err(Error::Wrong)
}

/// Reads the policy at `path`. A file brings no `entities.json` along; a
/// folder's files come in the order of their names, and its own folders and
/// hidden files are left alone.
///
/// # Errors
/// Names the file that cannot be used, and what to do.
pub fn read(path: &Path) -> Result<Sources, Error> {
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !metadata.is_dir() {
        return Ok(Sources { policies: vec![text(path)?], ..Sources::default() });
    }
    let files = policy_files(path)?;
    let policies = files.iter().map(|file| text(file)).collect::<Result<_, _>>()?;
    Ok(Sources { policies, entities: optional(&path.join(ENTITIES))?, links: optional(&path.join(LINKS))? })
}

/// Reads several, as one policy. Of several `entities.json` and
/// `links.json` the first counts.
///
/// # Errors
/// As [`read`].
pub fn read_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Sources, Error> {
    let mut all = Sources::default();
    for path in paths {
        let sources = read(path)?;
        all.policies.extend(sources.policies);
        all.entities = all.entities.or(sources.entities);
        all.links = all.links.or(sources.links);
    }
    Ok(all)
}

/// The file at `path`, or every `.cedar` file of the folder there and of the
/// folders below it, in the order of their names. What is hidden is left
/// alone, and so is a folder behind a symbolic link.
///
/// # Errors
/// Names the folder that cannot be read.
pub fn files_below(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !fs::metadata(path).map_err(|source| unreadable(path, source))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = policy_files(path)?;
    for entry in visible(path)? {
        if !entry.is_symlink() && entry.is_dir() {
            files.extend(files_below(&entry)?);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts `text` in the place of the file at `path`, whole or not at all. It
/// keeps its owner and permissions; behind a symbolic link, the file that the
/// link leads to is replaced.
///
/// # Errors
/// When the file, or the folder it is in, cannot be written.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let replaced = fs::metadata(&path)?;
    // Hidden, so that nobody takes it for a policy while it is written.
    let mut new = tempfile::Builder::new().prefix(".cedarwall-").tempfile_in(path.parent().unwrap_or(&path))?;
    new.write_all(text.as_bytes())?;
    let owner = (replaced.uid(), replaced.gid());
    let made = new.as_file().metadata()?;
    if (made.uid(), made.gid()) != owner {
        fchown(new.as_file(), Some(owner.0), Some(owner.1))?;
    }
    new.as_file().set_permissions(replaced.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

/// The file at `path`, if there is one.
fn optional(path: &Path) -> Result<Option<(String, String)>, Error> {
    let exists = path.try_exists().map_err(|source| unreadable(path, source))?;
    if exists { text(path).map(Some) } else { Ok(None) }
}

fn policy_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = visible(folder)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cedar") && !file.is_dir());
    files.sort();
    Ok(files)
}

fn visible(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let path = entry.map_err(|source| unreadable(folder, source))?.path();
        if path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The file at `path`: the name to show in messages, and its text.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn text(path: &Path) -> Result<(String, String), Error> {
    let octets = fs::read(path).map_err(|source| unreadable(path, source))?;
    let text = String::from_utf8(octets).map_err(|_| Error::NotText(path.to_owned()))?;
    Ok((path.display().to_string(), text))
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        return Error::Missing(path.to_owned());
    }
    Error::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_cedar_files_in_order_and_its_entities() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.cedar", "b"), ("a.cedar", "a"), (".c.cedar", "c"), ("d.txt", "d"), (ENTITIES, "[]")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("e.cedar")).unwrap();
        let sources = read(folder.path()).unwrap();
        assert_eq!(sources.policies.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(sources.policies[0].0.ends_with("/a.cedar"));
        assert_eq!(sources.entities.unwrap().1, "[]");
    }

    #[test]
    fn an_empty_folder_denies_everything_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = load(folder.path(), CatchAllForbid::Strict).unwrap();
        assert!(loaded.policy.is_empty());
        assert!(loaded.warnings[0].to_string().starts_with("warning: there is no policy: everything is denied"));
    }

    #[test]
    fn a_folder_with_one_broken_file_loads_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.cedar"), "permit(principal, action, resource);").unwrap();
        fs::write(folder.path().join("b.cedar"), "permit(principal, action, resource)").unwrap();
        let Err(Error::Wrong(problems)) = load(folder.path(), CatchAllForbid::Strict) else { panic!("it loaded") };
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].place.as_ref().unwrap().file.ends_with("/b.cedar"));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(&folder.path().join("none")), Err(Error::Missing(_))));
        let latin = folder.path().join("latin.cedar");
        fs::write(&latin, [0xfc]).unwrap();
        assert!(matches!(read(folder.path()), Err(Error::NotText(path)) if path == latin));
    }

    #[test]
    fn the_files_below_a_folder_are_found_and_what_is_hidden_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("b/c")).unwrap();
        fs::create_dir(path(".git")).unwrap();
        for name in ["b/c/d.cedar", "a.cedar", ".git/e.cedar", "b/.f.cedar", "b/g.txt"] {
            fs::write(path(name), "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), path("b/loop")).unwrap();
        assert_eq!(files_below(folder.path()).unwrap(), [path("a.cedar"), path("b/c/d.cedar")]);
        assert_eq!(files_below(&path("b/g.txt")).unwrap(), [path("b/g.txt")]);
        assert!(matches!(files_below(&path("none")), Err(Error::Missing(_))));
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_a_link_to_it_stays_a_link() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.cedar"), folder.path().join("link.cedar"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.cedar", &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was left behind");
    }
}
