//! What this host has and lacks: who we are, which interfaces there are, and
//! whether the kernel will do what a wall needs.

use std::env;
use std::fs;
use std::path::Path;

use caps::{CapSet, Capability};
use thiserror::Error;

use crate::core::config::{Config, InterfaceName, Mode};
use crate::nft::protect;
use crate::nft::ruleset::Identity;

/// Something a wall cannot stand without.
#[derive(Debug, Error)]
pub enum Lack {
    /// No `nft` program.
    #[error("the program `nft` is not installed; on Debian: apt-get install nftables")]
    Nft,
    /// Not allowed to change the ruleset.
    #[error(
        "this process may not change the kernel's ruleset (CAP_NET_ADMIN is missing); run it as root; in a container: \
         docker run --cap-add NET_ADMIN, without no-new-privileges; as a service: \
         AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE"
    )]
    NetAdmin,
    /// Not allowed to listen on port 53.
    #[error(
        "this process may not listen on a port below 1024 (CAP_NET_BIND_SERVICE is missing); run it as root; in a \
         container: docker run --cap-add NET_BIND_SERVICE; as a service: AmbientCapabilities=CAP_NET_ADMIN \
         CAP_NET_BIND_SERVICE"
    )]
    NetBindService,
    /// Given capabilities cannot be used.
    #[error("the kernel does not let this process use the capabilities it was given ({0}); run it as root")]
    Unusable(#[from] caps::errors::CapsError),
}

/// Has the kernel give this process memory in small pages.
///
/// The allocator asks for large ones (`MADV_HUGEPAGE`), which the kernel clears
/// when they are first touched: 2 MiB, for which a virtual machine may take
/// 8 ms, in which nobody is answered. Concerns the whole process and what it
/// executes (PR_SET_THP_DISABLE, prctl(2)); where the kernel knows no large
/// pages there is nothing to do.
pub fn keep_to_small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!("transparent huge pages stay as they are: {error}");
    }
}

/// Makes use of the capabilities this process was given, and hands
/// CAP_NET_ADMIN on to `nft`, which is a program of its own.
///
/// The capabilities of an executable's file may come without the effective bit,
/// so that a process without them can still execute it; and they end at the
/// next `execve`, unless they are ambient (capabilities(7)). Concerns the
/// calling thread and those it starts later.
///
/// # Errors
/// When the kernel refuses. To have none of them is no error: see [`require`].
pub fn take_up_capabilities() -> Result<(), Lack> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    for capability in [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE] {
        if permitted.contains(&capability) {
            caps::raise(None, CapSet::Effective, capability)?;
        }
    }
    if permitted.contains(&Capability::CAP_NET_ADMIN) {
        caps::raise(None, CapSet::Inheritable, Capability::CAP_NET_ADMIN)?;
        caps::raise(None, CapSet::Ambient, Capability::CAP_NET_ADMIN)?;
    }
    Ok(())
}

/// Checks what a wall cannot stand without.
///
/// # Errors
/// The first thing this host lacks, with the command that mends it.
pub fn require(config: &Config) -> Result<(), Lack> {
    if !is_installed("nft") {
        return Err(Lack::Nft);
    }
    if !holds(Capability::CAP_NET_ADMIN) {
        return Err(Lack::NetAdmin);
    }
    let privileged = |port: u16| port < 1024;
    if config.dns.listen.iter().any(|address| privileged(address.port())) && !holds(Capability::CAP_NET_BIND_SERVICE) {
        return Err(Lack::NetBindService);
    }
    Ok(())
}

/// What would keep permitted traffic from flowing, or weaken the wall, each
/// with the command that mends it. The wall stays closed meanwhile.
pub fn advise(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    if config.wall.protect && !protect::is_possible() {
        advice.push(
            "wall.protect needs Linux 6.9 or later: anybody with CAP_NET_ADMIN can change the table, which is then put \
             right as without it"
                .to_owned(),
        );
    }
    advice.extend(advise_mode(config));
    advice
}

fn advise_mode(config: &Config) -> Vec<String> {
    match &config.wall.mode {
        Mode::Gateway { interfaces } => {
            let is_guarded =
                |interface| config.docker.as_ref().is_some_and(|docker| docker.bridges.contains(interface));
            interfaces.iter().flat_map(|interface| advise_gateway(interface, is_guarded(interface))).collect()
        }
        Mode::Sidecar { .. } if nix::unistd::geteuid().is_root() => vec![
            "in sidecar mode the daemon runs as root: a workload that is root, too, can use the daemon's way to its \
             upstream servers; give the daemon a user of its own, or use gateway mode"
                .to_owned(),
        ],
        Mode::Sidecar { .. } => Vec::new(),
    }
}

/// The configuration with what only this host knows filled in: a sidecar that
/// names no interface watches all of them.
pub fn complete(mut config: Config) -> Config {
    if let Mode::Sidecar { interfaces } = &mut config.wall.mode
        && interfaces.is_empty()
    {
        *interfaces = present_interfaces();
    }
    config
}

/// Who this process is, as the sidecar's rules recognise it.
pub fn identity() -> Identity {
    Identity { uid: nix::unistd::geteuid().as_raw(), cgroup: own_cgroup() }
}

fn advise_gateway(interface: &InterfaceName, is_guarded: bool) -> Vec<String> {
    let name = interface.as_str();
    if nix::net::if_::if_nametoindex(name).is_err() {
        return vec![format!(
            "interface {name} is not there yet; its clients are held back from the moment it appears"
        )];
    }
    let off = |family: &str| {
        let path = format!("/proc/sys/net/{family}/conf/{name}/forwarding");
        fs::read_to_string(path).is_ok_and(|value| value.trim() == "0")
    };
    let mut advice = Vec::new();
    if off("ipv4") {
        advice.push(format!(
            "IPv4 forwarding is off on {name}, so even permitted traffic goes nowhere; sysctl -w net.ipv4.ip_forward=1"
        ));
    }
    if !is_guarded && Path::new("/sys/class/net").join(name).join("bridge").exists() {
        advice.push(format!(
            "{name} is a bridge: clients on it reach each other directly, below these rules; give each client a \
             network of its own, or isolate the bridge's ports (bridge link set dev PORT isolated on)"
        ));
    }
    advice
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn holds(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

fn present_interfaces() -> Vec<InterfaceName> {
    let Ok(interfaces) = nix::net::if_::if_nameindex() else { return Vec::new() };
    let names = interfaces.iter().filter_map(|interface| InterfaceName::parse(interface.name().to_str().ok()?));
    names.filter(|name| name.as_str() != "lo").collect()
}

/// Our cgroup v2 path, where it tells us apart: not the root, and below the
/// mount where `nft` looks for it.
fn own_cgroup() -> Option<String> {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return None;
    }
    let memberships = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = memberships.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_own = path != "/" && Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).is_dir();
    is_own.then(|| path.to_owned())
}
