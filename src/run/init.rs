//! `cedarwall run-init`: PID 1 of the command's namespace. It furnishes the
//! namespaces, gives up its privileges, starts the command, passes signals on,
//! reaps, and ends as the command ends; the kernel then kills what is left.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::handshake::{Orders, Report, Wire};
use super::inside::block_signals;
use super::{Error, mounts, network, privileges, process};

/// Lives init's life. `socket` is where the run waits for it.
///
/// # Errors
/// When it cannot report to the run; all else it reports there.
pub fn init(socket: &OsStr) -> Result<ExitCode, Error> {
    let mut run = Wire::connect(Path::new(socket))?;
    let orders: Orders = match run.hear() {
        Ok(orders) => orders,
        // The run has given up, and has told its user why.
        Err(Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    };

    let command = match prepare(&orders).and_then(|()| start(&orders)) {
        Ok(command) => command,
        Err(error) => {
            run.say(&Report::Failed(error.to_string()))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    run.say(&Report::Started)?;
    drop(run);

    attend(command)
}

fn prepare(orders: &Orders) -> Result<(), Error> {
    furnish_network(orders)?;
    mounts::furnish(orders.wall, &orders.directory)?;
    privileges::give_up(&orders.identity)
}

fn furnish_network(orders: &Orders) -> Result<(), Error> {
    process::ip(&["link", "set", "dev", "lo", "up"])?;
    network::furnish(&orders.link, orders.client, orders.client6)?;
    process::ip(&["route", "add", "default", "via", &orders.wall.to_string()])?;
    if let Some(wall) = orders.wall6 {
        process::ip(&["-6", "route", "add", "default", "via", &wall.to_string()])?;
    }
    Ok(())
}

fn start(orders: &Orders) -> Result<Pid, Error> {
    let (program, arguments) =
        orders.command.split_first().ok_or_else(|| Error::Inside("there is no command".to_owned()))?;
    let child = Command::new(program)
        .args(arguments)
        .envs(orders.identity.environment().iter().cloned())
        .spawn()
        .map_err(|cause| Error::Io { what: program.clone(), cause })?;
    let pid = i32::try_from(child.id()).map_err(|_| Error::Inside("its process has no number".to_owned()))?;
    Ok(Pid::from_raw(pid))
}

/// Passes signals on and reaps until the command has ended.
fn attend(command: Pid) -> Result<ExitCode, Error> {
    // Only now, or the command would inherit it; and nothing is missed: the
    // kernel spares a PID 1 the signals it does not handle.
    let signals = SignalFd::new(&block_signals()?).map_err(Error::kernel("a file descriptor for signals", ""))?;
    loop {
        if let Some(code) = reap(command) {
            return Ok(ExitCode::from(code));
        }
        let info = match signals.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(cause) => return Err(Error::Kernel { what: "to read signals", cause, mend: "" }),
        };
        match signal_of(&info) {
            Some(Signal::SIGCHLD) => {}
            // It may have ended a moment ago.
            Some(signal) if is_for_us_alone(&info) => {
                let _ = kill(command, signal);
            }
            _ => {}
        }
    }
}

pub(super) fn signal_of(info: &siginfo) -> Option<Signal> {
    i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
}

/// What the terminal sends, it sends to the whole foreground process group,
/// and the command has it already.
pub(super) fn is_for_us_alone(info: &siginfo) -> bool {
    info.ssi_code != libc::SI_KERNEL
}

/// Collects every child that has ended. The command's exit status, if it is
/// among them.
fn reap(command: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => code = u8::try_from(status).ok(),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                code = u8::try_from(128_i32.saturating_add(signal as i32)).ok();
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
