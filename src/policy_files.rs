//! The edge to policy files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::core::policy::Sources;

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the policy {}: {source}", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Reads them.
///
/// # Errors
/// When they cannot be read.
pub fn read(path: &Path) -> Result<Sources, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error { path: path.to_owned(), source })?;
    Ok(Sources { policies: vec![(path.display().to_string(), text)], entities: None })
}
