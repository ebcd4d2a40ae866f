//! Who is measured, and how each is set up: a cache, one thread, no log, no
//! DNSSEC, the same upstream server, and its own equivalent of an allowlist
//! (example.com and nothing else) where it has one.

mod cedarwall;
mod dnsdist;
mod dnsmasq;
mod knot;
mod smartdns;
mod unbound;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use cedarwall::{Journal, Leases, PORT};

/// What a server is asked to do in a row.
#[derive(Clone)]
pub struct Setting {
    /// The wall's program.
    pub cedarwall: PathBuf,
    /// This program.
    pub own: PathBuf,
    /// Where files are.
    pub folder: PathBuf,
    /// Answers in the cache, at least.
    pub cache: u32,
    /// What the wall writes down.
    pub journal: Journal,
    /// How the wall's leases live.
    pub leases: Leases,
    /// What the echo sends, in hexadecimal digits.
    pub echo: Option<String>,
    /// Policies of the wall's, beside the one that permits.
    pub policies: u32,
    /// Clients of the wall's, from [`crate::lab::CLIENTS`] on; 0 for the usual one.
    pub clients: u32,
    /// Threads, where a server has to be told.
    pub threads: u32,
}

/// How a server is started.
pub struct Recipe {
    /// Its program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Files in the laboratory's folder.
    pub files: Vec<(String, String)>,
    /// nft's text of what has to be there before.
    pub rules: Option<&'static str>,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The yardstick.
    Echo,
    /// The wall.
    Cedarwall,
    /// dnsmasq as a forwarder.
    Dnsmasq,
    /// dnsmasq that puts each address into a set.
    DnsmasqNftset,
    /// Unbound.
    Unbound,
    /// dnsdist, as it is by itself.
    Dnsdist,
    /// dnsdist that receives and sends many datagrams with one system call.
    DnsdistBatched,
    /// Knot Resolver.
    Knot,
    /// SmartDNS.
    Smartdns,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Echo,
        Self::Cedarwall,
        Self::Dnsmasq,
        Self::DnsmasqNftset,
        Self::Unbound,
        Self::Dnsdist,
        Self::DnsdistBatched,
        Self::Knot,
        Self::Smartdns,
    ];

    /// As it stands in tables and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Cedarwall => "cedarwall",
            Self::Dnsmasq => "dnsmasq",
            Self::DnsmasqNftset => "dnsmasq-nftset",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
            Self::DnsdistBatched => "dnsdist-batched",
            Self::Knot => "knot-resolver",
            Self::Smartdns => "smartdns",
        }
    }

    /// Whether it could stand in the wall's place, as it is by itself.
    pub fn is_rival(self) -> bool {
        !matches!(self, Self::Echo | Self::Cedarwall | Self::DnsdistBatched)
    }

    /// Whether it is set up to deny what is not below example.com.
    pub fn denies(self) -> bool {
        !matches!(self, Self::Echo | Self::Smartdns)
    }

    /// The element that it puts into a set for an address of an answer: the
    /// set, and the element.
    pub fn opens(self, address: Ipv4Addr) -> Option<(&'static str, String)> {
        match self {
            Self::Cedarwall => Some(("cedarwall lease4", cedarwall::element(address))),
            Self::DnsmasqNftset => Some(("bench opened", address.to_string())),
            _ => None,
        }
    }

    /// How it is started.
    pub fn recipe(self, setting: &Setting) -> Recipe {
        match self {
            Self::Echo => echo(setting),
            Self::Cedarwall => cedarwall::recipe(setting),
            Self::Dnsmasq => dnsmasq::recipe(setting, false),
            Self::DnsmasqNftset => dnsmasq::recipe(setting, true),
            Self::Unbound => unbound::recipe(setting),
            Self::Dnsdist => dnsdist::recipe(setting, false),
            Self::DnsdistBatched => dnsdist::recipe(setting, true),
            Self::Knot => knot::recipe(setting),
            Self::Smartdns => smartdns::recipe(setting),
        }
    }

    /// The release that is installed; an error says why it cannot be measured.
    pub fn version(self, cedarwall: &Path) -> io::Result<String> {
        let (program, argument) = match self {
            Self::Echo => return Ok(String::new()),
            Self::Cedarwall => (cedarwall, "--version"),
            Self::Dnsmasq | Self::DnsmasqNftset => (Path::new("/usr/sbin/dnsmasq"), "--version"),
            Self::Unbound => (Path::new("/usr/sbin/unbound"), "-V"),
            Self::Dnsdist | Self::DnsdistBatched => (Path::new("/usr/bin/dnsdist"), "--version"),
            Self::Knot => (Path::new("/usr/sbin/kresd"), "--version"),
            Self::Smartdns => (Path::new("/usr/sbin/smartdns"), "-v"),
        };
        let output = Command::new(program).arg(argument).output();
        let output = output.map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if self == Self::DnsmasqNftset && !text.split_whitespace().any(|word| word == "nftset") {
            return Err(io::Error::other("this dnsmasq was built without nftset"));
        }
        version_in(&text).ok_or_else(|| io::Error::other(format!("{} tells no version", program.display())))
    }
}

/// The first word that is a version.
fn version_in(text: &str) -> Option<String> {
    let words = text.split(|letter: char| letter.is_whitespace() || letter == ',');
    let words = words.map(|word| word.trim_start_matches("1:").trim_start_matches("release"));
    let is_version = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    words.into_iter().find(is_version).map(ToOwned::to_owned)
}

fn echo(setting: &Setting) -> Recipe {
    let mut arguments = vec!["echo".to_owned(), "--listen".to_owned(), crate::lab::SERVER.to_string()];
    if let Some(answer) = &setting.echo {
        arguments.extend(["--answer".to_owned(), answer.clone()]);
    }
    Recipe { program: setting.own.clone(), arguments, files: Vec::new(), rules: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        let version = |text| version_in(text).unwrap_or_default();
        assert_eq!(version("Dnsmasq version 2.90  Copyright (c) 2000-2024"), "2.90");
        assert_eq!(version("dnsdist 1.7.3 (Lua 5.1.4 [LuaJIT 2.1.0-beta3])"), "1.7.3");
        assert_eq!(version("Knot Resolver, version 5.6.0\n"), "5.6.0");
        assert_eq!(version("smartdns 40+dfsg-1"), "40+dfsg-1");
        assert_eq!(version_in("no version"), None);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = Peer::ALL.map(Peer::name).into();
        assert_eq!(names.len(), Peer::ALL.len());
    }
}
