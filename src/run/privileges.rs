//! Giving up what the command must not have.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;

use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Error;
use super::invoker::Invoker;

/// What root keeps: enough to install packages, nothing that reaches the
/// network's set-up, the kernel or other processes.
const KEPT: [Capability; 8] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// Gives up, for this process and all it starts, everything but [`KEPT`], and
/// all of that too when it becomes `invoker`.
pub(super) fn give_up(invoker: Option<&Invoker>) -> Result<(), Error> {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    let failed = |error: caps::errors::CapsError| Error::Inside(format!("cannot drop capabilities: {error}"));

    for capability in caps::runtime::thread_all_supported().difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;

    if let Some(invoker) = invoker {
        // The kernel clears the other sets when the last uid stops being 0.
        become_user(invoker)?;
    } else {
        caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
        caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    }

    prctl::set_no_new_privs().map_err(Error::kernel("no_new_privs", ""))?;
    keep_the_terminal_ours()?;
    leave_no_handles()
}

fn become_user(invoker: &Invoker) -> Result<(), Error> {
    let groups: Vec<Gid> = invoker.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(invoker.uid), Gid::from_raw(invoker.gid));
    let refused = || Error::kernel("to become the user who called sudo", "");
    setgroups(&groups).map_err(refused())?;
    setresgid(gid, gid, gid).map_err(refused())?;
    setresuid(uid, uid, uid).map_err(refused())
}

/// The command shares the user's terminal. TIOCSTI and TIOCLINUX would let it
/// type there what the user's own shell, outside, executes afterwards.
fn keep_the_terminal_ours() -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Inside(format!("cannot guard the terminal: {error}"));
    let request = |number: u64| {
        let condition = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number);
        condition.and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let rules = [libc::TIOCSTI, libc::TIOCLINUX].into_iter().map(request);
    let rules = rules.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(BTreeMap::from([(libc::SYS_ioctl, rules)]), SeccompAction::Allow, denied, architecture)
            .map_err(|error| failed(&error))?;
    let program = BpfProgram::try_from(filter).map_err(|error| failed(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| failed(&error))
}

/// An inherited socket or folder leads past every namespace. Plain files and
/// pipes stay: shells pass them on purpose.
fn leave_no_handles() -> Result<(), Error> {
    let entries = fs::read_dir("/proc/self/fd").map_err(Error::io("cannot list our own files"))?;
    let harmless = |path: std::path::PathBuf| {
        let number = path.file_name()?.to_str()?.parse::<i32>().ok()?;
        let kind = fs::metadata(&path).ok()?.file_type();
        (kind.is_file() || kind.is_fifo() || kind.is_char_device()).then_some(number)
    };
    let mut kept: Vec<i32> = entries.filter_map(|entry| harmless(entry.ok()?.path())).collect();
    kept.sort_unstable();
    close_fds::set_fds_cloexec(3, &kept);
    Ok(())
}
