//! Leaving the host: namespaces in which everything may be done and from which
//! nothing remains.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use super::{Error, Settings};

/// Tells the story in namespaces of its own. The exit code is 0 when every
/// step went as told, and 1 otherwise.
///
/// # Errors
/// When the kernel grants no namespaces.
pub fn demo(settings: &Settings) -> Result<ExitCode, Error> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let mut namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    if !uid.is_root() {
        namespaces |= CloneFlags::CLONE_NEWUSER;
    }
    let mend = "run it as root: sudo cedarwall demo\n  or permit user namespaces: \
                sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000\n  \
                (Ubuntu 24.04: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)";
    unshare(namespaces).map_err(Error::kernel("new namespaces", mend))?;
    if !uid.is_root() {
        become_root_inside(uid, gid)?;
    }

    let mut stage = Command::new("/proc/self/exe");
    stage.arg0("cedarwall").arg("demo-stage");
    stage.arg(format!("--catch-all-forbid={}", word(settings)));
    if settings.json {
        stage.arg("--json");
    }
    let failed = || Error::io("cannot start the stage");
    let status = stage.spawn().and_then(|mut child| child.wait()).map_err(failed())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Maps root of the new user namespace to the caller (user_namespaces(7)).
fn become_root_inside(uid: Uid, gid: Gid) -> Result<(), Error> {
    let write = |file: &str, text: String| {
        fs::write(file, text).map_err(Error::io(format!("cannot write {file}; run it as root: sudo cedarwall demo")))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn word(settings: &Settings) -> &'static str {
    match settings.catch_all_forbid {
        crate::core::config::CatchAllForbid::Strict => "strict",
        crate::core::config::CatchAllForbid::DefaultDeny => "default-deny",
    }
}
