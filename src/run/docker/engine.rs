//! What the engine is asked to do, by its own client: whatever context, host
//! and credentials that is set up for are right here, too.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::Error;
use super::super::plan::{Addresses, Id};
use super::super::process::docker;
use super::refusal::{Reason, Refusal};

/// The label of all that belongs to one run.
const LABEL: &str = "cedarwall.run";

/// How long removed containers may take to be gone.
const REMOVAL: Duration = Duration::from_secs(30);

/// Whether there is an engine, and ours to ask.
pub(super) fn look_for_it() -> Result<(), Error> {
    docker(&["version", "--format", "{{.Server.Version}}"]).map(drop)
}

/// `cedarwall.run=ab12`.
pub(super) fn label(id: Id) -> String {
    format!("{LABEL}={}", id.text())
}

/// Makes the network, whose bridge is the link of the run.
pub(super) fn make_network(id: Id, addresses: Addresses) -> Result<(), Error> {
    let link = id.link();
    docker(&[
        "network",
        "create",
        "--driver=bridge",
        &format!("--subnet={}/30", addresses.network()),
        &format!("--gateway={}", addresses.wall),
        &format!("--opt=com.docker.network.bridge.name={link}"),
        &format!("--label={}", label(id)),
        &link,
    ])?;
    // The engine may be on another host, or in a virtual machine.
    if Path::new("/proc/sys/net/ipv4/conf").join(&link).exists() { Ok(()) } else { Err(Error::EngineElsewhere) }
}

/// The containers of a run that there are; with `which` `-a` those that have
/// ended, too.
pub(super) fn containers(id: &str, which: &str) -> Result<Vec<String>, Error> {
    let filter = format!("--filter=label={LABEL}={id}");
    let listed = docker(&["ps", which, "--no-trunc", "--format={{.ID}}", &filter])?;
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}

/// Comes back when the container has ended, or the engine has.
pub(super) fn wait_for(container: &str) {
    let _ = docker(&["wait", container]);
}

/// Removes every container of a run, and comes back when there is none.
pub(in super::super) fn remove_containers(id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL;
    loop {
        let left = containers(id, "-a")?;
        if left.is_empty() {
            return Ok(());
        }
        // One that ends by itself is being removed already, and that is said
        // to be an error; what counts is what is left.
        let arguments: Vec<&str> = ["rm", "-f", "-v"].into_iter().chain(left.iter().map(String::as_str)).collect();
        let outcome = docker(&arguments);
        if Instant::now() > deadline {
            return outcome.and(Err(Error::Wall(format!("the container {} does not go", left.join(", ")))));
        }
        sleep(Duration::from_millis(100));
    }
}

/// Removes the network of a run, if there is one.
pub(in super::super) fn remove_network(id: &str) -> Result<(), Error> {
    let networks = docker(&["network", "ls", "--quiet", &format!("--filter=label={LABEL}={id}")])?;
    networks.split_whitespace().try_for_each(|network| docker(&["network", "rm", network]).map(drop))
}

/// Holds every volume against what one may be: a folder that the engine keeps.
pub(super) fn judge_volumes(volumes: &[String]) -> Result<(), Error> {
    for volume in volumes {
        // One that is not there yet will be made so.
        let Ok(found) = docker(&["volume", "inspect", "--format={{.Driver}} {{json .Options}}", volume]) else {
            continue;
        };
        if !matches!(found.trim(), "local null" | "local {}") {
            return Err(Refusal::Breaks { argument: volume.clone(), reason: Reason::Volume }.into());
        }
    }
    Ok(())
}
