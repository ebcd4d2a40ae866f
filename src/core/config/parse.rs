//! TOML text into [`super::Config`].

use super::Config;
use crate::core::problem::Problem;

impl Config {
    /// Reads a configuration file's text; `file` is how messages name it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        todo!("{file} {text}")
    }
}
