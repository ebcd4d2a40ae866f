//! The user's side: makes the namespaces, starts what lives in them, carries
//! the wall's questions, and ends as `walled` ends.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ExitCode};
use std::thread::{self, sleep};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::poll::PollTimeout;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use super::relay::Relay;
use super::uplink::{Host, Program};
use super::user_namespace::{self, refused};
use super::{Orders, folder};
use crate::run::conduct::attend;
use crate::run::handshake::{Door, Report};
use crate::run::inside::as_exit_code;
use crate::run::plan::{self, Interface};
use crate::run::process::{ip, ourselves};
use crate::run::{Error, Settings, mounts, network};

/// Runs the command for a user who is not root, and returns its exit code.
pub(in crate::run) fn run(settings: Settings) -> Result<ExitCode, Error> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let program = Program::of_the_host()?;
    refuse_hidden(&settings)?;
    let taken = plan::taken(&network::routes("-4")?);
    let host = Host::here(&taken)?;
    let interfaces: Vec<Interface> = network::listed(&["-json", "address", "show"])?;
    let own_addresses = plan::own_addresses(&interfaces);

    user_namespace::enter(uid.as_raw(), gid.as_raw())?;
    let folder = folder(uid);
    furnish(&folder)?;
    let namespace = folder.join("wall");
    let relay = make_network(&namespace, &own_addresses, &settings.upstream)?;
    let orders = Orders {
        settings: Settings { upstream: relay.addresses(), ..settings },
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        namespace,
        taken,
        has_ipv6: host.has_ipv6,
    };
    // Threads have to be started before the next step; the kernel forbids them
    // to a process whose children are to be in another PID namespace.
    relay.start()?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(|cause| refused("the kernel refuses a PID namespace", cause.into()))?;
    behind_the_uplink(program, &host, &orders, &folder)
}

fn refuse_hidden(settings: &Settings) -> Result<(), Error> {
    let kept = settings.journal.as_deref().and_then(Path::parent).and_then(|parent| {
        let parent = if parent == Path::new("") { Path::new(".") } else { parent };
        parent.canonicalize().ok()
    });
    let hidden = |what: &'static str, path: &Path| Error::Hidden { what, path: path.display().to_string() };
    match kept {
        _ if settings.policy.starts_with("/run") => Err(hidden("the policy", &settings.policy)),
        Some(folder) if folder.starts_with("/run") => Err(hidden("the journal's folder", &folder)),
        _ => Ok(()),
    }
}

/// Makes a `folder` that only we and our children see.
fn furnish(folder: &Path) -> Result<(), Error> {
    let none = None::<&str>;
    let outcome = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    outcome.map_err(|cause| refused("the kernel refuses a private mount tree", cause.into()))?;
    mounts::cover("/run")?;
    fs::create_dir_all(folder).map_err(Error::io(format!("cannot make {}", folder.display())))
}

/// Makes the network namespace that stands for the host, and keeps it at
/// `path`. It has the host's `own_addresses`, and ports that lead to `servers`.
fn make_network(path: &Path, own_addresses: &BTreeSet<IpAddr>, servers: &[SocketAddr]) -> Result<Relay, Error> {
    let made = || -> Result<Relay, Error> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|cause| refused("the kernel refuses a network namespace", cause.into()))?;
        let failed = || Error::io(format!("cannot keep a network namespace in {}", path.display()));
        File::create(path).map_err(failed())?;
        let none = None::<&str>;
        mount(Some("/proc/thread-self/ns/net"), path, none, MsFlags::MS_BIND, none)
            .map_err(|cause| failed()(cause.into()))?;
        prepare_ipv6()?;
        ip(&["link", "set", "dev", "lo", "up"])?;
        for address in own_addresses {
            ip(&["address", "add", &address.to_string(), "dev", "lo"])?;
        }
        Relay::bind(servers)
    };
    thread::scope(|scope| {
        let thread = scope.spawn(made);
        thread.join().unwrap_or_else(|_| Err(Error::Inside("its network could not be made".to_owned())))
    })
}

/// The namespace is a router, and still takes the advertisements that
/// slirp4netns gives it its address by. Nobody else is on its link.
fn prepare_ipv6() -> Result<(), Error> {
    let root = Path::new("/proc/sys/net/ipv6/conf");
    if !root.exists() {
        return Ok(());
    }
    for (switch, value) in
        [("all/forwarding", "1"), ("default/forwarding", "1"), ("default/accept_ra", "2"), ("default/accept_dad", "0")]
    {
        let path = root.join(switch);
        fs::write(&path, value).map_err(Error::io(format!("cannot write {}", path.display())))?;
    }
    Ok(())
}

fn behind_the_uplink(program: Program, host: &Host, orders: &Orders, folder: &Path) -> Result<ExitCode, Error> {
    let socket = folder.join("walled.sock");
    let log = folder.join("uplink.log");
    let door = Door::open(&socket)?;
    // The first child is PID 1; with it dies all that is in the namespace.
    let mut walled =
        ourselves().arg("run-walled").arg(&socket).spawn().map_err(Error::io("cannot start the inside"))?;
    let pid = i32::try_from(walled.id()).map_err(|_| Error::Inside("its process has no number".to_owned()))?;
    let mut wire = door.welcome(&mut walled)?;
    let mut uplink = program.start(&orders.namespace, host, &log)?;
    wire.say(orders)?;
    while !wire.has_word(PollTimeout::from(50_u8))? {
        if matches!(uplink.try_wait(), Ok(Some(_))) {
            // With it ends all that was made.
            let _ = walled.kill();
            ended(&mut walled, &mut uplink)?;
            return Err(program.failure(&log));
        }
    }
    match wire.hear() {
        Ok(Report::Started) => {}
        Ok(Report::Failed(why)) => return Err(Error::Inside(why)),
        // It has said why.
        Err(_) => return ended(&mut walled, &mut uplink),
    }
    drop(wire);
    let its_end = format!("`{}` ended; nothing leaves the wall any more", program.name());
    attend(&mut walled, pid, &mut uplink, &its_end)
}

/// Waits for the end of `walled`. The kernel lets PID 1 of a namespace end when
/// all others in it have been reaped, and the uplink is our child.
fn ended(walled: &mut Child, uplink: &mut Child) -> Result<ExitCode, Error> {
    loop {
        let status = walled.try_wait().map_err(Error::io("cannot wait for the inside"))?;
        if let Some(status) = status {
            return Ok(as_exit_code(status));
        }
        // Its end alone is no reason for a word.
        let _ = uplink.try_wait();
        sleep(Duration::from_millis(5));
    }
}
