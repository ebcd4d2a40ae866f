//! The edge to policy files: a `.cedar` file, or a folder of them with an
//! optional `entities.json`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::core::policy::Sources;

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("cannot read the policy {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without policies would permit nothing: surely not what was
    /// meant.
    #[error("the policy folder {} holds no .cedar file", .0.display())]
    Empty(PathBuf),
}

/// Reads them, a folder's files in the order of their names.
///
/// # Errors
/// When they cannot be read, or a folder holds none.
pub fn read(path: &Path) -> Result<Sources, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(Sources { policies: vec![text_of(path)?], entities: None });
    }

    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unreadable)?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cedar"));
    files.sort();
    if files.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    let entities = path.join("entities.json");
    Ok(Sources {
        policies: files.iter().map(|file| text_of(file)).collect::<Result<_, _>>()?,
        entities: entities.exists().then(|| text_of(&entities)).transpose()?,
    })
}

/// The name to show in messages, and the text.
fn text_of(path: &Path) -> Result<(String, String), Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    Ok((path.display().to_string(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_in_the_order_of_names_with_its_entities() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.cedar", "B"), ("a.cedar", "A"), ("entities.json", "[]"), ("notes.txt", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let sources = read(folder.path()).unwrap();
        assert_eq!(sources.policies.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(sources.entities.unwrap().1, "[]");
    }

    #[test]
    fn a_folder_without_policies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(Error::Empty(_))));
    }
}
