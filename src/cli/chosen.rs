//! Which policy a command is about: `--policy`, or what `--config` names.

use std::path::PathBuf;

use super::{Error, catch_all_forbid, report};
use crate::core::config::{CatchAllForbid, Config};
use crate::core::policy::{Loaded, Sources};
use crate::core::query::{Agent, Client};
use crate::core::target::Target;
use crate::policy_files;

/// The options that choose a policy.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// A .cedar file, or a folder of them with optional entities.json and
    /// links.json
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    policy: Option<PathBuf>,
    /// The configuration that names the policy
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to read a forbid over everything: `strict` as Cedar does, or as the
    /// default it was meant to be [default: the configuration's, or strict]
    #[arg(long, value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: Option<CatchAllForbid>,
}

/// A policy, and how to read it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    path: PathBuf,
    reading: CatchAllForbid,
    config: Option<Config>,
}

impl Options {
    /// The policy that the options name, if they name one.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub(super) fn chosen(&self) -> Result<Option<Chosen>, Error> {
        if let Some(path) = &self.policy {
            let reading = self.catch_all_forbid.unwrap_or_default();
            return Ok(Some(Chosen { path: path.clone(), reading, config: None }));
        }
        let Some(file) = &self.config else { return Ok(None) };
        let config = report::configuration(file)?;
        let reading = self.catch_all_forbid.unwrap_or(config.policy.catch_all_forbid);
        Ok(Some(Chosen { path: config.policy.path.clone(), reading, config: Some(config) }))
    }

    /// How the options say that a forbid over everything is to be read.
    pub(super) const fn reading(&self) -> Option<CatchAllForbid> {
        self.catch_all_forbid
    }
}

impl Chosen {
    /// The policy at `path`, as a file other than the configuration names it.
    pub(super) const fn at(path: PathBuf, reading: CatchAllForbid) -> Self {
        Self { path, reading, config: None }
    }

    /// The same, with a forbid over everything read as `reading`.
    #[must_use]
    pub(super) fn read_as(self, reading: CatchAllForbid) -> Self {
        Self { reading, ..self }
    }

    /// Reads and loads it.
    ///
    /// # Errors
    /// A policy that cannot be read or has an error.
    pub(super) fn load(&self) -> Result<Loaded, policy_files::Error> {
        policy_files::load(&self.path, self.reading)
    }

    /// The same, with its text; what keeps it from loading is told as to its
    /// author.
    pub(super) fn shown(&self) -> Result<(Loaded, Sources), Error> {
        report::policy(&self.path, self.reading)
    }

    /// The first address from which the configuration expects `agent` to ask,
    /// or to reach the addresses of `target`.
    pub(super) fn client_of(&self, agent: &Agent, target: &Target) -> Option<Client> {
        let clients = &self.config.as_ref()?.clients;
        let mut addresses = clients.iter().find(|entry| entry.agent == *agent)?.addresses.iter().copied();
        match target {
            Target::Host { .. } => addresses.next(),
            Target::Addresses { network, .. } => addresses.find(|client| client.reaches(network.addr())),
        }
    }
}
