//! What the attempts are aimed at: the words of the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Everything that an attempt may need to know. What is not given is not
/// aimed at.
#[derive(Debug, Default)]
pub struct Aim {
    /// The interface that leads out.
    pub interface: String,
    /// Addresses on the internet where a sink listens.
    pub targets: Vec<IpAddr>,
    /// Other DNS servers there.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of IPv4 written as IPv6, and of metadata services.
    pub elsewhere: Vec<IpAddr>,
    /// Where this container asks DNS.
    pub dns: Vec<IpAddr>,
    /// The wall's own way to DNS.
    pub upstream: Vec<SocketAddr>,
    /// Addresses of the host.
    pub hosts: Vec<IpAddr>,
    /// Addresses of another client.
    pub others: Vec<IpAddr>,
    /// What another client has opened.
    pub leases_of_others: Vec<SocketAddr>,
    /// Addresses that only an answer to be refused would open.
    pub refused: Vec<SocketAddr>,
    /// A name that is permitted, and its port.
    pub permitted: Option<(String, u16)>,
    /// A domain, below which `short`, `zero`, `many`, `rebind`, `alias`, `beside` and
    /// `forge` are permitted and answered as they are called.
    pub scripted: Option<String>,
    /// A domain of which nothing is permitted.
    pub denied: String,
    /// User ids that may be the wall's own.
    pub users: Vec<u32>,
    /// Unix sockets beyond the usual ones.
    pub sockets: Vec<PathBuf>,
    /// Eight hexadecimal digits that tell this run from others.
    pub run: String,
    /// The first of the source ports that tell attempts apart.
    pub ports_from: u16,
    /// Only these attempts.
    pub only: Vec<String>,
    /// Whether each line is JSON.
    pub json: bool,
}

/// The words, for `--help`.
pub const WORDS: &str = "\
  --interface NAME      the interface that leads out (default eth0)
  --target ADDRESS      an address on the internet where `battery sink` listens; once for each family
  --resolver ADDRESS    another DNS server there
  --elsewhere ADDRESS   an address that leads to IPv4 by translation, or to a metadata service
  --dns ADDRESS         where this container asks DNS
  --upstream HOST:PORT  where the wall asks DNS
  --host ADDRESS        an address of the host
  --other ADDRESS       an address of another client
  --lease-of-other ADDRESS:PORT   what another client has opened
  --refused ADDRESS:PORT          what only an answer to be refused would open
  --permitted NAME:PORT           a name that is permitted
  --scripted DOMAIN     permitted names below it are answered as they are called
  --denied DOMAIN       a domain of which nothing is permitted (default battery.invalid)
  --user UID            a user id that may be the wall's own
  --socket PATH         a Unix socket beyond the usual ones
  --run DIGITS          eight hexadecimal digits that tell this run from others (default: random)
  --ports-from PORT     the first of the source ports that tell attempts apart (default 20000)
  --only ID             only this attempt
  --json                one JSON object a line
All but --interface, --permitted, --scripted, --denied, --run and --ports-from may stand several times.";

impl Aim {
    /// Reads the words of a command line.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut aim = Self {
            interface: "eth0".into(),
            denied: "battery.invalid".into(),
            run: random().map_err(|error| format!("/dev/urandom: {error}"))?,
            ports_from: 20_000,
            ..Self::default()
        };
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "--json" {
                aim.json = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            aim.take(&word, &value)?;
        }
        Ok(aim)
    }

    fn take(&mut self, word: &str, value: &str) -> Result<(), String> {
        match word {
            "--interface" => self.interface = value.into(),
            "--target" => self.targets.push(parsed(word, value)?),
            "--resolver" => self.resolvers.push(parsed(word, value)?),
            "--elsewhere" => self.elsewhere.push(parsed(word, value)?),
            "--dns" => self.dns.push(parsed(word, value)?),
            "--upstream" => self.upstream.push(parsed(word, value)?),
            "--host" => self.hosts.push(parsed(word, value)?),
            "--other" => self.others.push(parsed(word, value)?),
            "--lease-of-other" => self.leases_of_others.push(parsed(word, value)?),
            "--refused" => self.refused.push(parsed(word, value)?),
            "--permitted" => {
                let (name, port) = value.rsplit_once(':').ok_or_else(|| format!("{word} is NAME:PORT"))?;
                self.permitted = Some((name.into(), parsed(word, port)?));
            }
            "--scripted" => self.scripted = Some(value.into()),
            "--denied" => self.denied = value.into(),
            "--user" => self.users.push(parsed(word, value)?),
            "--socket" => self.sockets.push(value.into()),
            "--run" if value.len() == 8 && value.bytes().all(|octet| octet.is_ascii_hexdigit()) => {
                self.run = value.to_ascii_lowercase();
            }
            "--run" => return Err(format!("{word} is eight hexadecimal digits")),
            "--ports-from" => self.ports_from = parsed(word, value)?,
            "--only" => self.only.push(value.into()),
            _ => return Err(format!("{word} is unknown")),
        }
        Ok(())
    }

    /// The first target of the family of `like`.
    pub fn target_like(&self, like: IpAddr) -> Option<IpAddr> {
        self.targets.iter().copied().find(|target| target.is_ipv4() == like.is_ipv4())
    }
}

fn parsed<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{word}: {value:?} is none"))
}

fn random() -> std::io::Result<String> {
    let mut octets = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut octets)?;
    Ok(octets.map(|octet| format!("{octet:02x}")).concat())
}
