//! One container's run, from beginning to end.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::{Uid, setsid};

use super::super::conduct::{CONFIGURATION, DAEMON_ENDED, attend, completed, make_folder, raise_the_wall};
use super::super::janitor::{self, Janitor, Undo};
use super::super::plan::{self, Addresses, Id, RUNTIME};
use super::super::process::{nft, ourselves};
use super::super::{Error, Settings, network, resolver};
use super::{Request, binds, engine};

/// How often the keeper looks for a container while the engine does not say.
const ROUND: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The container's exit code, or the client's: 125 to 127.
    pub code: ExitCode,
    /// The journal of the run; `None` while the container runs on.
    pub journal: Option<String>,
}

/// Runs a container behind a wall of its own.
///
/// # Errors
/// When there is no wall, or an argument would break it. No container has been
/// started then.
pub fn run(settings: &Settings, request: &Request) -> Result<Outcome, Error> {
    if !Uid::effective().is_root() {
        return Err(Error::NotRootForDocker);
    }
    nft("")?;
    binds::judge(&request.binds)?;
    engine::look_for_it()?;
    engine::judge_volumes(&request.volumes)?;
    let settings = &completed(settings)?;

    // Whoever reads our standard error would wait for one in the background.
    let errors = if request.is_detached { Stdio::null() } else { Stdio::inherit() };
    let mut janitor = Janitor::start(errors)?;
    let ran = make_folder(&mut janitor).and_then(|id| Ok((id, behind_the_wall(settings, request, id, &mut janitor)?)));
    let (id, code) = match ran {
        Ok(ran) => ran,
        Err(error) => {
            janitor.finish();
            return Err(error);
        }
    };
    if request.is_detached && engine::containers(&id.text(), "-q").is_ok_and(|running| !running.is_empty()) {
        hand_over(id, settings.journal.as_deref(), janitor)?;
        return Ok(Outcome { code, journal: None });
    }
    let journal = complete_journal(&id.folder());
    janitor.finish();
    if let Some(kept) = &settings.journal {
        fs::write(kept, &journal).map_err(Error::io(format!("cannot keep the journal in {}", kept.display())))?;
    }
    Ok(Outcome { code, journal: Some(journal) })
}

fn behind_the_wall(settings: &Settings, request: &Request, id: Id, janitor: &mut Janitor) -> Result<ExitCode, Error> {
    janitor.will(&Undo::Bridge { run: id.text(), table: id.wall_table() })?;
    let addresses = {
        // Two runs that start at once must not choose the same addresses.
        let lock = File::open(RUNTIME).map_err(Error::io(format!("cannot open {RUNTIME}")))?;
        lock.lock().map_err(Error::io(format!("cannot lock {RUNTIME}")))?;
        let addresses = Addresses::choose(&network::routed()?, id.0).ok_or(Error::NoSubnet)?;
        engine::make_network(id, addresses)?;
        addresses
    };
    let configuration = plan::configuration(settings, id, addresses);
    let mut daemon = raise_the_wall(&configuration, id, janitor)?;

    let resolv_conf = id.folder().join("resolv.conf");
    fs::write(&resolv_conf, resolver::our_resolv_conf(addresses.wall))
        .map_err(Error::io(format!("cannot write {}", resolv_conf.display())))?;
    janitor.will(&Undo::Containers(id.text()))?;
    let mut client = Command::new("docker")
        .args(command_line(settings, request, id, addresses, &resolv_conf))
        .spawn()
        .map_err(Error::io("cannot start docker"))?;
    let pid = i32::try_from(client.id()).map_err(|_| Error::Inside("docker has no process number".to_owned()))?;
    attend(&mut client, pid, &mut daemon, DAEMON_ENDED)
}

/// What the client is told. Ours stands last, for there the client lets the
/// last word of an option count.
fn command_line(
    settings: &Settings,
    request: &Request,
    id: Id,
    addresses: Addresses,
    resolv_conf: &Path,
) -> Vec<String> {
    let ours = [
        // Started again, it would be without its wall.
        "--rm=true".to_owned(),
        format!("--network={}", id.link()),
        format!("--ip={}", addresses.client),
        // The engine's own resolver asks the wall; and the container's programs
        // ask the wall themselves, so that a denial can name them.
        format!("--dns={}", addresses.wall),
        format!("--mount=type=bind,source={},target=/etc/resolv.conf,readonly", resolv_conf.display()),
        format!("--label={}", engine::label(id)),
        format!("--label=cedarwall.agent={}", settings.agent.as_str()),
        "--".to_owned(),
    ];
    let before = std::iter::once("run".to_owned()).chain(request.options.iter().cloned());
    before.chain(ours).chain(request.image.iter().cloned()).collect()
}

/// Leaves the janitor to a process that waits for the container.
fn hand_over(id: Id, journal: Option<&Path>, janitor: Janitor) -> Result<(), Error> {
    let mut keeper = ourselves();
    keeper.arg("docker-keeper").arg(id.text()).args(journal);
    keeper.stdin(janitor.hand_over()).stdout(Stdio::null()).stderr(Stdio::null());
    keeper.spawn().map(drop).map_err(Error::io("cannot start the keeper"))
}

/// The keeper's life: until the container of run `id` has ended. Its standard
/// input is the janitor's pipe, and is closed with it.
///
/// # Errors
/// When it cannot leave the terminal's session, or keep the journal.
pub fn keep(id: &str, journal: Option<&Path>) -> Result<(), Error> {
    // Neither Ctrl-C is for it nor the end of the terminal.
    setsid().map_err(Error::kernel("a session of its own to the keeper", "start it from a shell"))?;
    loop {
        match engine::containers(id, "-q") {
            Ok(running) if running.is_empty() => break,
            Ok(running) => running.iter().for_each(|container| engine::wait_for(container)),
            // The engine is away, and perhaps comes back; the wall stands.
            Err(_) => {}
        }
        sleep(ROUND);
    }
    let Some(kept) = journal else { return Ok(()) };
    let journal = complete_journal(&Path::new(RUNTIME).join(id));
    fs::write(kept, journal).map_err(Error::io(format!("cannot keep the journal in {}", kept.display())))
}

/// The journal of the run in `folder`, whose daemon is stopped for it: at its
/// end it tells what it has counted.
fn complete_journal(folder: &Path) -> String {
    let configuration = folder.join(CONFIGURATION);
    // The janitor sees to one that does not stop.
    let _ = janitor::stop(&configuration.to_string_lossy());
    fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default()
}
