//! User namespaces: the wall's, and the command's inside it.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};

use crate::run::Error;

/// Moves this process, which must have a single thread, into a user namespace
/// in which it is root, with a mount namespace that belongs to it.
pub(super) fn enter(uid: u32, gid: u32) -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|cause| refused("the kernel refuses a user namespace", cause.into()))?;
    map((0, uid), (0, gid)).map_err(|cause| refused("the kernel refuses to make us root of a user namespace", cause))
}

/// Moves this process, which must have a single thread, into a user namespace
/// in the wall's, in which its user has the numbers that they have outside.
///
/// The kernel lets a process change a namespace, enter it, or look into a
/// process in it only by a capability over the user namespace that it belongs
/// to (user_namespaces(7), ptrace(2)). Being its owner gives that to a process
/// in the *parent* alone. From in here neither the wall's user namespace nor
/// the user's own is within reach, although its processes have our number.
pub(in crate::run) fn enter_another(uid: u32, gid: u32) -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(Error::kernel("the command a user namespace of its own", ""))?;
    map((uid, 0), (gid, 0)).map_err(Error::io("cannot give the command its user's number"))
}

/// Maps one user and one group of the parent, each a pair of the number here
/// and the number there; all other numbers stay without a name.
fn map(uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{} {} 1", uid.0, uid.1))?;
    fs::write("/proc/self/gid_map", format!("{} {} 1", gid.0, gid.1))
}

/// What the kernel refused to somebody who is not root, and what mends it.
pub(super) fn refused(what: impl Into<String>, cause: io::Error) -> Error {
    Error::Unprivileged { what: what.into(), cause, mend: mend(|path| fs::read_to_string(path).ok()) }
}

/// The switch that forbids it, as far as the kernel tells.
fn mend(read: impl Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        read(&path).is_some_and(|text| text.trim() == value)
    };
    if is("kernel.unprivileged_userns_clone", "0") {
        return "try: sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned();
    }
    if is("user.max_user_namespaces", "0") {
        return "try: sudo sysctl -w user.max_user_namespaces=10000".to_owned();
    }
    if is("kernel.apparmor_restrict_unprivileged_userns", "1") {
        return "try: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (or give cedarwall an AppArmor \
                profile with `userns`)"
            .to_owned();
    }
    "in a container, its seccomp profile and its masked /proc forbid it: run cedarwall on the host".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_that_forbids_user_namespaces_is_named() {
        for (path, value, name) in [
            ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
            ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces="),
            ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        ] {
            let said = mend(|asked| (asked == path).then(|| format!("{value}\n")));
            assert!(said.contains(name), "{said}");
        }
        assert!(mend(|_| None).contains("container"));
    }
}
