//! Asking the running daemon: what `status`, `leases`, `denials`, `reload` and
//! `revoke` share.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::control;
use crate::core::config::DEFAULT_SOCKET;

/// Whom to ask, and how to show the answer.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

impl Ask {
    /// Asks for `route`.
    pub(super) fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, Error> {
        control::get(&self.socket, route).map_err(|error| Error::said(error.to_string()))
    }

    /// Has it do what `route` stands for.
    pub(super) fn post<T: DeserializeOwned>(&self, route: &str) -> Result<T, Error> {
        control::post(&self.socket, route).map_err(|error| Error::said(error.to_string()))
    }

    /// The same with something to say.
    pub(super) fn post_with<T: DeserializeOwned>(&self, route: &str, body: &impl Serialize) -> Result<T, Error> {
        control::post_with(&self.socket, route, body).map_err(|error| Error::said(error.to_string()))
    }
}
