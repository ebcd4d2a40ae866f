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
use super::invoker::{Identity, Invoker};
use super::rootless::user_namespace;

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
/// all of that too where it becomes a user.
pub(super) fn give_up(identity: &Identity) -> Result<(), Error> {
    let mut kept: CapsHashSet = KEPT.into_iter().collect();
    if let Identity::Owner { uid, gid } = identity {
        // Namespaces and processes of the wall belong to the user namespace
        // around this one. Nobody in here has a capability over them, whatever
        // uid they have: the kernel gives one over a namespace's children, to
        // its members and to their owner, never over its parent.
        user_namespace::enter_another(*uid, *gid)?;
        kept.clear();
    }
    let failed = |error: caps::errors::CapsError| Error::Inside(format!("cannot drop capabilities: {error}"));

    for capability in caps::runtime::thread_all_supported().difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;

    if let Identity::Invoker(invoker) = identity {
        // The kernel clears the other sets when the last uid stops being 0.
        become_user(invoker)?;
    } else {
        caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
        caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    }

    prctl::set_no_new_privs().map_err(Error::kernel("no_new_privs", ""))?;
    close_side_doors()?;
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

/// System calls that lead past namespaces.
///
/// The command shares the user's terminal: TIOCSTI and TIOCLINUX would let it
/// type there what the user's own shell, outside, executes afterwards. A socket
/// of AF_VSOCK reaches the machine that this one is a guest of, from every
/// network namespace (vsock(7)). For request_key(2) the kernel starts a program
/// in the host's namespaces, which may ask DNS for any name. And io_uring makes
/// sockets without a system call that could be refused.
fn close_side_doors() -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Inside(format!("cannot filter system calls: {error}"));
    let with_argument = |index: u8, number: u64| {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number);
        condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(|error| failed(&error))
    };
    let vsock = u64::from(libc::AF_VSOCK.unsigned_abs());
    let rules = BTreeMap::from([
        (libc::SYS_ioctl, vec![with_argument(1, libc::TIOCSTI)?, with_argument(1, libc::TIOCLINUX)?]),
        (libc::SYS_socket, vec![with_argument(0, vsock)?]),
        (libc::SYS_request_key, Vec::new()),
        (libc::SYS_io_uring_setup, Vec::new()),
    ]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture).map_err(|error| failed(&error))?;
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
