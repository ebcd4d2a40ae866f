//! The program that carries packets between a network namespace and the
//! sockets of the user who owns it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use crate::run::plan::{self, Route};
use crate::run::process::{is_installed, search_path};
use crate::run::{Error, network};

/// How long the program may take to set up its interface.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long we wait for IPv6 once IPv4 is there: for a router advertisement, which
/// the kernel asks for every four seconds.
const PATIENCE_FOR_IPV6: Duration = Duration::from_secs(15);

/// The programs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// pasta, of passt.
    Pasta,
    /// slirp4netns.
    Slirp4netns,
}

impl Program {
    /// The one that this host has.
    pub(super) fn of_the_host() -> Result<Self, Error> {
        let program = [Self::Pasta, Self::Slirp4netns].into_iter().find(|program| is_installed(program.name()));
        let program = program.ok_or(Error::NoUplink)?;
        match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
            Ok(_) => Ok(program),
            Err(cause) => Err(Error::Unprivileged {
                what: "cannot open /dev/net/tun".to_owned(),
                cause,
                mend: "try: sudo modprobe tun; sudo chmod 666 /dev/net/tun (in a container: --device /dev/net/tun)"
                    .to_owned(),
            }),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// Its command line. No port of the host leads in, none of the namespace
    /// leads to the host's loopback, and no address stands for the host, as
    /// they do unless told otherwise.
    fn arguments(self, host: &Host) -> Vec<String> {
        let words = match self {
            Self::Pasta => "--foreground --quiet --config-net --no-map-gw \
                            --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none --netns-only --netns"
                .to_owned(),
            Self::Slirp4netns => format!(
                "--configure --mtu=65520 --disable-host-loopback --disable-dns --enable-sandbox --enable-seccomp \
                 --cidr={} {} --netns-type=path",
                host.network,
                if host.has_ipv6 { "--enable-ipv6" } else { "" }
            ),
        };
        words.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// Starts it for the network namespace at `namespace`; what it says goes to
    /// the file `log`.
    pub(super) fn start(self, namespace: &Path, host: &Host, log: &Path) -> Result<Child, Error> {
        let failed = || Error::io(format!("cannot write {}", log.display()));
        let output = File::create(log).map_err(failed())?;
        let mut command = Command::new(self.name());
        command.args(self.arguments(host)).arg(namespace);
        if self == Self::Slirp4netns {
            command.arg("tap0");
        }
        command
            .env("PATH", search_path())
            // Ctrl-C is for the command.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed())?)
            .stderr(output)
            .spawn()
            .map_err(Error::io(format!("cannot start {}", self.name())))
    }

    /// Why it ended, from its `log`.
    pub(super) fn failure(self, log: &Path) -> Error {
        let text = fs::read_to_string(log).unwrap_or_default();
        // pasta tells what else it would tell a system logger.
        let lines = text.lines().filter(|line| !line.contains("to syslog"));
        Error::Uplink { program: self.name(), said: lines.collect::<Vec<_>>().join("\n  ") }
    }
}

/// What the program must know of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// A network that the host does not use: slirp4netns makes one of its own.
    pub(super) network: Ipv4Net,
    /// Whether it has a route to the IPv6 internet.
    pub(super) has_ipv6: bool,
}

impl Host {
    /// Of the network namespace we are in; `taken` are the networks it knows.
    pub(super) fn here(taken: &[Ipv4Net]) -> Result<Self, Error> {
        let network = plan::free_network(taken, rand::random(), 24).ok_or(Error::NoSubnet)?;
        let routes = network::routes("-6").unwrap_or_default();
        Ok(Self { network, has_ipv6: routes.iter().any(Route::leads_everywhere) })
    }
}

/// Waits until our own network namespace has a way out.
pub(super) fn wait_for_a_way_out(is_ipv6_expected: bool) -> Result<(), Error> {
    let there_is = |family: &str| Ok(network::routes(family)?.iter().any(Route::leads_everywhere));
    let wait = |family: &str, patience: Duration| -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        while !there_is(family)? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(Duration::from_millis(20));
        }
        Ok(true)
    };
    if !wait("-4", PATIENCE)? {
        return Err(Error::Wall(format!("it has no way out after {} s", PATIENCE.as_secs())));
    }
    if is_ipv6_expected {
        // The host may have lost it meanwhile, and all else works without.
        wait("-6", PATIENCE_FOR_IPV6)?;
    }
    Ok(())
}
