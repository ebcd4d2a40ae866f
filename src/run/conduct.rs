//! One run, from beginning to end.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Pid, Uid};

use super::handshake::{Door, Orders, Report};
use super::init::{is_for_us_alone, signal_of};
use super::inside::{as_exit_code, block_signals};
use super::invoker::{Identity, Invoker};
use super::janitor::{Janitor, Undo};
use super::plan::{self, Id, RUNTIME};
use super::process::{ip, nft, ourselves, search_path};
use super::summary::Summary;
use super::{Error, Settings, network, resolver, rootless};
use crate::control;

/// How long the daemon may take to load its policy and set up the kernel.
const READY: Duration = Duration::from_secs(15);

/// What a run depends on besides its settings.
#[derive(Debug)]
pub(super) struct Circumstances {
    /// Whom the command runs as.
    pub(super) identity: Identity,
    /// Networks in use beyond what our own routes show.
    pub(super) taken: Vec<Ipv4Net>,
}

/// Runs the command behind its wall and returns its exit code. The summary
/// goes to `notes`.
///
/// # Errors
/// When there is no wall, or nothing to run behind it. The command has not
/// been started then.
pub fn run(settings: &Settings, notes: &mut dyn Write) -> Result<ExitCode, Error> {
    let upstream = if settings.upstream.is_empty() { resolver::of_the_host()? } else { settings.upstream.clone() };
    let policy = fs::canonicalize(&settings.policy)
        .map_err(Error::io(format!("cannot read the policy {}", settings.policy.display())))?;
    let settings = Settings { policy, upstream, ..settings.clone() };
    if !Uid::effective().is_root() {
        return rootless::run(settings);
    }
    let invoker = Invoker::of_sudo(|name| env::var(name).ok());
    let identity = invoker.map_or(Identity::Root, Identity::Invoker);
    let circumstances = Circumstances { identity, taken: Vec::new() };
    conduct(&settings, &circumstances, || Ok(()), notes)
}

/// The same for settings that are complete, and for root, be it of a user
/// namespace. The command has `started` when that is called.
pub(super) fn conduct(
    settings: &Settings,
    circumstances: &Circumstances,
    started: impl FnOnce() -> Result<(), Error>,
    notes: &mut dyn Write,
) -> Result<ExitCode, Error> {
    require_tools()?;
    let mut janitor = Janitor::start()?;
    let run = make_folder(&mut janitor).and_then(|id| {
        let outcome = behind_the_wall(settings, circumstances, id, &mut janitor, started);
        let journal = id.folder().join("events.jsonl");
        let text = fs::read_to_string(&journal).unwrap_or_default();
        if let Some(kept) = &settings.journal {
            fs::copy(&journal, kept).map_err(Error::io(format!("cannot keep the journal in {}", kept.display())))?;
        }
        Ok((outcome?, Summary::of(&text)))
    });
    janitor.finish();

    let (code, summary) = run?;
    // Nobody may be listening any more; the command has run all the same.
    let _ = if settings.json {
        writeln!(notes, "{}", serde_json::to_string(&summary).unwrap_or_default())
    } else {
        write!(notes, "{summary}")
    };
    Ok(code)
}

fn require_tools() -> Result<(), Error> {
    ip(&["-Version"])?;
    nft("").map(drop)
}

fn make_folder(janitor: &mut Janitor) -> Result<Id, Error> {
    let failed = || Error::io(format!("cannot make a folder in {RUNTIME}"));
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    loop {
        let id = Id(rand::random());
        match builder.create(RUNTIME) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed()(error)),
            _ => {}
        }
        if id.folder().exists() {
            continue;
        }
        janitor.will(&Undo::Folder(id.folder()))?;
        match builder.create(id.folder()) {
            Ok(()) => return Ok(id),
            // The last of the other runs took the parent away with it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed()(error)),
        }
    }
}

fn behind_the_wall(
    settings: &Settings,
    circumstances: &Circumstances,
    id: Id,
    janitor: &mut Janitor,
    started: impl FnOnce() -> Result<(), Error>,
) -> Result<ExitCode, Error> {
    let socket = id.folder().join("inside.sock");
    let door = Door::open(&socket)?;
    janitor.will(&Undo::Kill(socket.to_string_lossy().into_owned()))?;
    let mut inside =
        ourselves().arg("run-inside").arg(&socket).spawn().map_err(Error::io("cannot start the inside"))?;
    let mut init = door.welcome(&mut inside)?;
    let init_pid = init.peer()?;

    let addresses = {
        // Two runs that start at once must not choose the same addresses.
        let lock = File::open(RUNTIME).map_err(Error::io(format!("cannot open {RUNTIME}")))?;
        lock.lock().map_err(Error::io(format!("cannot lock {RUNTIME}")))?;
        network::connect(id, init_pid, &circumstances.taken, janitor)?
    };
    let configuration = plan::configuration(settings, id, addresses);
    let mut daemon = raise_the_wall(&configuration, id, janitor)?;
    network::open_the_road(id, addresses, &settings.allow_ranges, janitor)?;

    init.say(&Orders {
        link: network::INNER_LINK.to_owned(),
        client: addresses.client,
        client6: addresses.client6(),
        wall: addresses.wall,
        wall6: addresses.wall6(),
        identity: circumstances.identity.clone(),
        directory: env::current_dir().map_err(Error::io("cannot tell the current folder"))?,
        command: settings.command.clone(),
    })?;
    if let Report::Failed(why) = init.hear()? {
        return Err(Error::Inside(why));
    }
    drop(init);
    started()?;
    // What is open stays open until its lease ends, and nothing new opens:
    // worth a word, no reason to end the command.
    attend(&mut inside, init_pid, &mut daemon, "the wall's daemon ended; no name resolves any more")
}

/// Starts the daemon and waits until the wall stands and questions are
/// answered. Whether an upstream server answers is the command's to find out.
fn raise_the_wall(configuration: &str, id: Id, janitor: &mut Janitor) -> Result<Child, Error> {
    let folder = id.folder();
    let path = folder.join("cedarwall.toml");
    let log_path = folder.join("daemon.log");
    fs::write(&path, configuration).map_err(Error::io(format!("cannot write {}", path.display())))?;
    let log_failed = || Error::io(format!("cannot write {}", log_path.display()));
    let log = File::create(&log_path).map_err(log_failed())?;

    janitor.will(&Undo::Table(id.wall_table()))?;
    janitor.will(&Undo::Stop(path.to_string_lossy().into_owned()))?;
    let mut daemon = ourselves()
        .args(["serve", "--config"])
        .arg(&path)
        .env("PATH", search_path())
        // Ctrl-C is for the command.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(log_failed())?)
        .stderr(log)
        .spawn()
        .map_err(Error::io("cannot start the daemon"))?;

    let deadline = Instant::now() + READY;
    let said = || Error::Wall(fs::read_to_string(&log_path).unwrap_or_default().trim().to_owned());
    while !control::is_alive(&folder.join("control.sock")) {
        if daemon.try_wait().map_err(Error::io("cannot wait for the daemon"))?.is_some() {
            return Err(said());
        }
        if Instant::now() > deadline {
            return Err(Error::Wall(format!("not ready after {} s\n{}", READY.as_secs(), said())));
        }
        sleep(Duration::from_millis(5));
    }
    Ok(daemon)
}

/// Passes signals on to process `init` until the inside has ended, and says
/// `its_end` when `companion` does. Until here a signal ends the run, and the
/// janitor does the rest; and nobody has inherited a blocked one.
pub(super) fn attend(inside: &mut Child, init: i32, companion: &mut Child, its_end: &str) -> Result<ExitCode, Error> {
    let failed = || Error::kernel("to read signals", "");
    let descriptor = SignalFd::new(&block_signals()?).map_err(failed())?;
    let mut is_accompanied = true;
    loop {
        if let Some(status) = inside.try_wait().map_err(Error::io("cannot wait for the inside"))? {
            return Ok(as_exit_code(status));
        }
        if is_accompanied && matches!(companion.try_wait(), Ok(Some(_))) {
            is_accompanied = false;
            // A process that is ending has no executable any more, and may
            // have taken its companion along.
            if fs::read_link(format!("/proc/{init}/exe")).is_ok() {
                let _ = writeln!(std::io::stderr(), "cedarwall: {its_end}");
            }
        }
        let info = match descriptor.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(cause) => return Err(failed()(cause)),
        };
        match signal_of(&info) {
            // It may have ended a moment ago.
            Some(signal) if signal != Signal::SIGCHLD && is_for_us_alone(&info) => {
                let _ = kill(Pid::from_raw(init), signal);
            }
            _ => {}
        }
    }
}
