//! The edge to the configuration file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::core::config::{Config, nameservers};
use crate::core::problem::{Listed, Problem};

/// Where the configuration is unless told otherwise.
pub const DEFAULT: &str = "/etc/cedarwall/cedarwall.toml";

/// Where this host's name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Reads the file at `path`; relative paths in it start at its folder.
///
/// # Errors
/// When it cannot be read, or with every problem in it.
pub fn read(path: &Path) -> Result<Config, Error> {
    // Without one the configuration has to name the servers, and says so.
    let servers = nameservers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let config = Config::parse_on_host(&path.display().to_string(), &text(path)?, &servers).map_err(Error::Wrong)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(config.relative_to(folder))
}

/// The text of the file at `path`.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum Error {
    /// The file.
    #[error("cannot read the configuration {}: {source}; name another with --config", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in it.
    #[error("the configuration is not usable\n{}", Listed(.0))]
    Wrong(Vec<Problem>),
}
