//! Whom the command runs as.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use serde::{Deserialize, Serialize};

/// Whom the command runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Identity {
    /// Root, of few capabilities.
    Root,
    /// The user who called sudo.
    Invoker(Invoker),
    /// The user in whose user namespace the run is root, by their own numbers.
    Owner {
        /// The user.
        uid: u32,
        /// The primary group.
        gid: u32,
    },
}

impl Identity {
    /// What the command finds in its environment besides the run's own.
    pub(super) fn environment(&self) -> &[(String, String)] {
        match self {
            Self::Invoker(invoker) => &invoker.environment,
            Self::Root | Self::Owner { .. } => &[],
        }
    }
}

/// A user to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invoker {
    /// The user.
    pub(super) uid: u32,
    /// The primary group.
    pub(super) gid: u32,
    /// All groups.
    pub(super) groups: Vec<u32>,
    /// `HOME`, `USER` and `LOGNAME`, which sudo set to root's.
    pub(super) environment: Vec<(String, String)>,
}

impl Invoker {
    /// The user in `SUDO_UID` and `SUDO_GID` (sudo(8)); `None` when there is
    /// none, or when root called sudo.
    pub(super) fn of_sudo(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name)?.parse::<u32>().ok();
        let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
        if uid == 0 {
            return None;
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let name = user.as_ref().map(|user| user.name.clone());
        let groups = name.as_ref().and_then(|name| groups_of(name, gid)).unwrap_or_else(|| vec![gid]);
        let mut environment = Vec::new();
        if let Some(user) = user {
            environment.push(("HOME".to_owned(), user.dir.to_string_lossy().into_owned()));
            environment.push(("USER".to_owned(), user.name.clone()));
            environment.push(("LOGNAME".to_owned(), user.name));
        }
        Some(Self { uid, gid, groups, environment })
    }
}

fn groups_of(name: &str, gid: u32) -> Option<Vec<u32>> {
    let name = CString::new(name).ok()?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).ok()?;
    Some(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_calling_sudo_stays_root() {
        assert_eq!(Invoker::of_sudo(|_| Some("0".to_owned())), None);
        assert_eq!(Invoker::of_sudo(|_| None), None);
    }

    #[test]
    fn a_user_without_an_entry_keeps_the_numbers() {
        let invoker = Invoker::of_sudo(|_| Some("4242424".to_owned())).unwrap();
        assert_eq!((invoker.uid, invoker.gid, invoker.groups), (4_242_424, 4_242_424, vec![4_242_424]));
    }
}
