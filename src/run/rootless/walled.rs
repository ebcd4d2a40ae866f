//! `cedarwall run-walled`: PID 1 in the user namespace. Does there what a run
//! by root does on the host.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::user_namespace::refused;
use super::{Orders, uplink};
use crate::run::Error;
use crate::run::conduct::{Circumstances, conduct};
use crate::run::handshake::{Report, Wire};
use crate::run::invoker::Identity;

/// Runs the command that the run at `socket` names, and returns its exit code;
/// the summary goes to `notes`.
///
/// # Errors
/// As [`crate::run::run`].
pub fn walled(socket: &OsStr, notes: &mut dyn Write) -> Result<ExitCode, Error> {
    // Before the connection, which cannot be made when the run is gone already.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::kernel("a signal at the end of the run", ""))?;
    let mut outside = Wire::connect(Path::new(socket))?;
    let orders: Orders = match outside.hear() {
        Ok(orders) => orders,
        // The run has given up, and has told its user why.
        Err(Error::Io { cause, .. }) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(ExitCode::FAILURE),
        Err(error) => return Err(error),
    };

    enter(&orders.namespace)?;
    uplink::wait_for_a_way_out(orders.has_ipv6)?;
    ignore_further_routers()?;
    let circumstances =
        Circumstances { identity: Identity::Owner { uid: orders.uid, gid: orders.gid }, taken: orders.taken };
    conduct(&orders.settings, &circumstances, || outside.say(&Report::Started), notes)
}

/// Goes to the network namespace that stands for the host, with a /proc that
/// shows our own PID namespace.
fn enter(namespace: &Path) -> Result<(), Error> {
    let handle = File::open(namespace).map_err(Error::io(format!("cannot open {}", namespace.display())))?;
    setns(handle, CloneFlags::CLONE_NEWNET).map_err(Error::kernel("to enter the wall's network", ""))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(Error::kernel("new namespaces", ""))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, None::<&str>)
        .map_err(|cause| refused("the kernel refuses to mount /proc", cause.into()))
}

/// The command's link, which is yet to be made, advertises nothing to us.
fn ignore_further_routers() -> Result<(), Error> {
    let switch = Path::new("/proc/sys/net/ipv6/conf/default/accept_ra");
    if !switch.exists() {
        return Ok(());
    }
    fs::write(switch, "0").map_err(Error::io(format!("cannot write {}", switch.display())))
}
