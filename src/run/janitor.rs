//! The janitor: the one way a run is cleaned up after.
//!
//! It reads undo steps, one JSON object a line, from its standard input. Each
//! is written there before the thing it undoes is done, so it must not mind if
//! that never happened. When the pipe closes, because the run ended or was
//! killed, it undoes them, last first.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};

use super::process::{self, Process};
use super::{Error, docker, forwarding, plan};

/// How long a process that was sent SIGKILL may take to be gone.
const DEATH: Duration = Duration::from_secs(5);

/// How long the daemon may take to stop by itself.
const STOP: Duration = Duration::from_secs(3);

/// One thing to undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Undo {
    /// Kill our own processes that have this argument; with a PID namespace's
    /// init dies all that is in it. By argument, not by number: the number is
    /// only known when it may be too late to tell it.
    Kill(String),
    /// Ask our own processes that have this argument to stop, then kill them.
    Stop(String),
    /// Delete a link, and with it its other end.
    Link(String),
    /// Delete an nftables table of the `inet` family.
    Table(String),
    /// Take the run off the record of forwarding.
    Forwarding,
    /// Remove the containers of a run.
    Containers(String),
    /// Remove the network of a run's container, and with its bridge the wall:
    /// but not while a container may be there.
    Bridge {
        /// The run.
        run: String,
        /// The wall's table.
        table: String,
    },
    /// Remove a folder of files of ours.
    Folder(PathBuf),
}

/// Our end of the janitor's pipe.
#[derive(Debug)]
pub(super) struct Janitor {
    child: Child,
    steps: ChildStdin,
    process: Process,
}

impl Janitor {
    /// Starts one, and comes back when it is out of reach of the terminal. What
    /// cannot be undone it tells `errors`.
    pub(super) fn start(errors: Stdio) -> Result<Self, Error> {
        let failed = || Error::io("cannot start the janitor");
        let mut child = process::ourselves()
            .arg("run-janitor")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(failed())?;
        let broken = || failed()(io::Error::from(ErrorKind::BrokenPipe));
        let steps = child.stdin.take().ok_or_else(broken)?;
        let mut ready = [0];
        child.stdout.take().ok_or_else(broken)?.read_exact(&mut ready).map_err(failed())?;
        let process = i32::try_from(child.id()).ok().and_then(Process::with_pid).ok_or_else(broken)?;
        Ok(Self { child, steps, process })
    }

    /// Tells it how to undo what is about to be done.
    pub(super) fn will(&mut self, undo: &Undo) -> Result<(), Error> {
        let failed = || Error::io("the janitor is gone");
        let mut line = serde_json::to_string(undo).map_err(|error| failed()(error.into()))?;
        line.push('\n');
        self.steps.write_all(line.as_bytes()).map_err(failed())
    }

    /// Its process, as the record of forwarding knows the run.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Its pipe, for a process that ends later than we do.
    pub(super) fn hand_over(self) -> ChildStdin {
        self.steps
    }

    /// Has everything undone. Says whether all of it was.
    pub(super) fn finish(self) -> bool {
        let Self { mut child, steps, .. } = self;
        drop(steps);
        child.wait().is_ok_and(|status| status.success())
    }
}

/// The janitor's own life. Returns what could not be undone.
///
/// # Errors
/// When it cannot leave the terminal's session; then nothing has been done
/// that would need it.
pub fn janitor() -> Result<Vec<String>, Error> {
    let refused = || Error::kernel("a session of its own to the janitor", "start it from a shell");
    setsid().map_err(refused())?;
    let _ = prctl::set_name(c"janitor");
    // Whoever wants it gone before its work is done must say SIGKILL.
    SigSet::all().thread_block().map_err(refused())?;
    io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush()).map_err(Error::io("cannot report to the run"))?;

    let ourselves = i32::try_from(std::process::id()).ok().and_then(Process::with_pid);
    let steps = read_steps(BufReader::new(io::stdin()));
    Ok(undo_all(&steps, |step| step.perform(ourselves)))
}

/// Every whole line until the end.
fn read_steps(reader: impl BufRead) -> Vec<Undo> {
    let lines = reader.lines().map_while(Result::ok);
    // A half line is of a run that died before it did what the line undoes.
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

fn undo_all(steps: &[Undo], mut perform: impl FnMut(&Undo) -> Result<(), Error>) -> Vec<String> {
    steps.iter().rev().filter_map(|step| perform(step).err()).map(|error| error.to_string()).collect()
}

impl Undo {
    fn perform(&self, ourselves: Option<Process>) -> Result<(), Error> {
        match self {
            Self::Kill(argument) => end(argument, Signal::SIGKILL, DEATH),
            Self::Stop(argument) => stop(argument).or_else(|_| end(argument, Signal::SIGKILL, DEATH)),
            Self::Link(name) => delete_link(name),
            Self::Table(name) => delete_table(name),
            Self::Containers(run) => docker::remove_containers(run),
            Self::Bridge { run, table } => take_the_wall_away(run, table),
            Self::Forwarding => ourselves.map_or(Ok(()), forwarding::release),
            Self::Folder(path) => remove_folder(path),
        }
    }
}

/// Asks our own processes that have this argument to stop, and waits until they
/// have.
pub(super) fn stop(argument: &str) -> Result<(), Error> {
    end(argument, Signal::SIGTERM, STOP)
}

fn end(argument: &str, signal: Signal, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    let processes = Process::ours_with(argument);
    for process in &processes {
        process.signal(signal);
    }
    while let Some(process) = processes.iter().find(|process| process.lives()) {
        if Instant::now() > deadline {
            return Err(Error::Wall(format!("process {} does not end", process.pid())));
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn delete_link(name: &str) -> Result<(), Error> {
    // Below /proc/sys/net, which shows the namespace of whoever looks; /sys may
    // show another one. The link also goes by itself with the namespace of its
    // other end, a moment after the last process there.
    let exists = || Path::new("/proc/sys/net/ipv4/conf").join(name).exists();
    if !exists() {
        return Ok(());
    }
    process::ip(&["link", "delete", "dev", name]).map(drop).or_else(|error| if exists() { Err(error) } else { Ok(()) })
}

fn delete_table(name: &str) -> Result<(), Error> {
    // Adding it first makes the deletion of a missing table no error.
    process::nft(&format!("add table inet {name}\ndelete table inet {name}\n")).map(drop)
}

fn take_the_wall_away(run: &str, table: &str) -> Result<(), Error> {
    let gone = docker::remove_containers(run).and_then(|()| docker::remove_network(run));
    gone.map_err(|cause| Error::WallStays { table: table.to_owned(), cause: Box::new(cause) })?;
    delete_table(table)
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io(format!("cannot remove {}", path.display()))(error));
        }
        _ => {}
    }
    // Another run may still be in it.
    let _ = fs::remove_dir(plan::RUNTIME);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_last_is_undone_first_and_a_failure_stops_nothing() {
        let steps = [Undo::Folder("/a".into()), Undo::Link("b".into()), Undo::Table("c".into())];
        let mut order = Vec::new();
        let failures = undo_all(&steps, |step| {
            order.push(step.clone());
            if matches!(step, Undo::Link(_)) { Err(Error::NoSubnet) } else { Ok(()) }
        });
        assert_eq!(order, [Undo::Table("c".into()), Undo::Link("b".into()), Undo::Folder("/a".into())]);
        assert_eq!(failures.len(), 1);
    }

    #[test]
    fn a_line_cut_short_by_a_kill_does_not_hide_the_ones_before() {
        let whole = serde_json::to_string(&Undo::Forwarding).unwrap();
        let text = format!("{whole}\n{{\"link\":\"ced");
        assert_eq!(read_steps(text.as_bytes()), [Undo::Forwarding]);
    }

    #[test]
    fn a_process_number_used_again_is_not_our_process() {
        let ourselves = Process::with_pid(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(ourselves.lives());
        let text = serde_json::to_string(&ourselves).unwrap().replace("\"start\":", "\"start\":9");
        let impostor: Process = serde_json::from_str(&text).unwrap();
        assert!(!impostor.lives());
    }
}
