//! What the configuration file and the policy's files say now, and whether
//! that can be put into force.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::config::{CatchAllForbid, Config, Step};
use crate::core::policy::{Loaded, Policy, Sources};
use crate::core::problem::Problem;
use crate::{config_file, host, policy_files};

/// What was read, to tell whether it has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A configuration, and the policy that goes with it.
    Readable(Box<Config>, Fingerprint),
    /// Something could not be read.
    Unreadable(Unusable),
}

/// Stands for the text of a policy and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// What keeps something from being put into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) what: What,
    pub(super) path: PathBuf,
    /// What is wrong with it, one line each.
    pub(super) problems: Vec<String>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Configuration,
    Policy,
}

/// What has been found.
#[derive(Debug)]
pub(super) enum Found {
    /// The files say what they said before.
    Unchanged,
    /// They cannot be used.
    Unusable(Reading, Unusable),
    /// They can be put into force.
    Usable(Box<Usable>),
}

/// What can be put into force.
#[derive(Debug)]
pub(super) struct Usable {
    pub(super) reading: Reading,
    pub(super) fingerprint: Fingerprint,
    pub(super) wanted: Config,
    pub(super) step: Step,
    /// The configuration is another than the one that is in force.
    pub(super) is_configured_anew: bool,
    pub(super) policy: Arc<Policy>,
    /// Warnings about the policy, one line each; `None` where it is the one
    /// that is in force already.
    pub(super) warnings: Option<Vec<String>>,
}

/// What is in force now.
#[derive(Clone)]
pub(super) struct Present {
    /// The configuration that was asked for.
    pub(super) wanted: Config,
    /// As much of it as could be carried out.
    pub(super) running: Config,
    pub(super) policy: Arc<Policy>,
    pub(super) fingerprint: Fingerprint,
    /// What was read last, whatever came of it.
    pub(super) read_last: Reading,
}

impl Present {
    /// What is in force at the start.
    pub(super) fn first(config: &Config, policy: Arc<Policy>, fingerprint: Fingerprint) -> Self {
        let read_last = Reading::Readable(Box::new(config.clone()), fingerprint);
        Self { wanted: config.clone(), running: config.clone(), policy, fingerprint, read_last }
    }
}

impl Fingerprint {
    pub(super) fn of(sources: &Sources, catch_all_forbid: CatchAllForbid) -> Self {
        let Sources { policies, entities, links } = sources;
        let mut hasher = DefaultHasher::new();
        (policies, entities, links, catch_all_forbid == CatchAllForbid::DefaultDeny).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Reads everything again. What says what it said last time is not looked at
/// any further, unless `even_if_unchanged`.
pub(super) fn read(file: &Path, present: &Present, even_if_unchanged: bool) -> Found {
    let (wanted, sources) = match read_files(file) {
        Ok(read) => read,
        Err(unusable) => {
            let reading = Reading::Unreadable(unusable.clone());
            if reading == present.read_last && !even_if_unchanged {
                return Found::Unchanged;
            }
            return Found::Unusable(reading, unusable);
        }
    };
    let fingerprint = Fingerprint::of(&sources, wanted.policy.catch_all_forbid);
    let reading = Reading::Readable(Box::new(wanted.clone()), fingerprint);
    if reading == present.read_last && !even_if_unchanged {
        return Found::Unchanged;
    }
    let is_configured_anew = present.wanted != wanted;
    let path = wanted.policy.path.clone();
    let step = present.running.step_to(wanted.clone());
    let (policy, warnings) = if fingerprint == present.fingerprint && !even_if_unchanged {
        (Arc::clone(&present.policy), None)
    } else {
        match Policy::load(&sources, step.config.policy.catch_all_forbid) {
            Ok(Loaded { policy, warnings }) => (Arc::new(policy), Some(on_lines(&warnings))),
            Err(problems) => {
                let unusable = Unusable { what: What::Policy, path, problems: on_lines(&problems) };
                return Found::Unusable(reading, unusable);
            }
        }
    };
    Found::Usable(Box::new(Usable { reading, fingerprint, wanted, step, is_configured_anew, policy, warnings }))
}

fn read_files(file: &Path) -> Result<(Config, Sources), Unusable> {
    let wanted = config_file::read(file).map_err(|error| Unusable {
        what: What::Configuration,
        path: file.to_owned(),
        problems: match error {
            config_file::Error::Wrong(problems) => on_lines(&problems),
            error @ config_file::Error::Unreadable { .. } => vec![error.to_string()],
        },
    })?;
    let wanted = host::complete(wanted);
    let sources = policy_files::read(&wanted.policy.path).map_err(|error| Unusable {
        what: What::Policy,
        path: wanted.policy.path.clone(),
        problems: vec![error.to_string()],
    })?;
    Ok((wanted, sources))
}

fn on_lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::on_one_line).collect()
}
