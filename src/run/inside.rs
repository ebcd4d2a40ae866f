//! `cedarwall run-inside`: makes the namespaces and starts init in them.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};

use super::{Error, process};

/// Signals that init passes on to the command, so that nobody on the way may
/// die of them. Those of job control are missing on purpose: when the terminal
/// stops the command, the whole job stops.
pub(super) const PASSED_ON: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Blocks [`PASSED_ON`] and SIGCHLD, to be read from a file descriptor.
pub(super) fn block_signals() -> Result<SigSet, Error> {
    let mut signals: SigSet = PASSED_ON.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().map_err(Error::kernel("to block signals", ""))?;
    Ok(signals)
}

/// Unshares, starts init, which reports to `socket`, and ends as it ends.
///
/// # Errors
/// When the kernel lacks or forbids a namespace.
pub fn inside(socket: &OsStr) -> Result<ExitCode, Error> {
    let namespaces =
        CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    let mend = "in a container, give it --privileged, or run cedarwall on the host; see unshare(2)";
    unshare(namespaces).map_err(Error::kernel("new namespaces", mend))?;

    let failed = || Error::io("cannot start init in its PID namespace");
    let mut init = process::ourselves().arg("run-init").arg(socket).spawn().map_err(failed())?;
    // Not earlier: init, and the command, would inherit it.
    block_signals()?;
    Ok(as_exit_code(init.wait().map_err(failed())?))
}

/// A shell's way to tell how a process ended: its code, or 128 and the
/// signal's number.
pub(super) fn as_exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128_i32.saturating_add(signal)));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
