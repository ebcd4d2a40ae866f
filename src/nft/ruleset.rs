//! The ruleset as text: the shipped nft files, with the configuration's
//! elements and rules added at the end.

pub mod audit;
mod capture;
mod engine;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::members;
use crate::core::config::{Config, InterfaceName, Mode, PacketVerdict, TableName, Transport, Upstream};
use crate::core::roster::Roster;

const GATEWAY: &str = include_str!("../../nft/gateway.nft");
const SIDECAR: &str = include_str!("../../nft/sidecar.nft");
const EGRESS: &str = include_str!("../../nft/egress.nft");

/// The families in which there may be a table.
pub const FAMILIES: [&str; 4] = ["inet", "netdev", "bridge", "arp"];

/// Who the daemon is, as the sidecar's rules recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its effective user id.
    pub uid: u32,
    /// Its cgroup v2 path below the mount, where it has one of its own.
    pub cgroup: Option<String>,
}

/// The whole ruleset as one transaction: what was there under the same name is
/// replaced in the same instant, so the default drop is never absent.
pub fn render(config: &Config, identity: &Identity, roster: &Roster) -> String {
    let table = &config.wall.table;
    let mut text = String::new();
    match &config.wall.mode {
        Mode::Gateway { interfaces } => {
            text += &replacing("inet", table, &by_name(&by_port(&configured(GATEWAY, config), config), interfaces));
            text += &interface_elements(table, interfaces);
            text += &address_elements(table, "dns", config.dns.listen.iter().flat_map(|at| both_transports(*at)));
            if let Some(docker) = &config.docker {
                text += &engine::tables(table, &docker.bridges);
            }
            text += &members::text(table, &members::of(config, roster));
            text += &capture::rules(config);
        }
        Mode::Sidecar { interfaces } => {
            text += &replacing("inet", table, &configured(SIDECAR, config));
            text += &address_elements(table, "dns", config.dns.listen.iter().flat_map(|at| both_transports(*at)));
            text += &address_elements(table, "upstream", config.dns.upstream.iter().flat_map(ways));
            text += &daemon_rule(table, identity);
            text += &egress(table, interfaces);
        }
    }
    text += &verdict_rules(table, config.wall.verdict);
    text += &audit::rules(config);
    text
}

/// The same ruleset, made so that no packet meets it.
pub(super) fn dormant(text: &str) -> String {
    let mut dormant = String::with_capacity(text.len());
    for line in text.lines() {
        _ = writeln!(dormant, "{line}");
        if line.starts_with("table ") && line.ends_with('{') {
            _ = writeln!(dormant, "\tflags dormant");
        }
    }
    dormant
}

fn replacing(family: &str, table: &TableName, shipped: &str) -> String {
    format!("{}{}\n", removing(family, table), replacing_name(family, table, shipped))
}

/// The shipped text for a table of this name.
fn replacing_name(family: &str, table: &TableName, shipped: &str) -> String {
    shipped.replace(&format!("table {family} cedarwall {{"), &format!("table {family} {} {{", table.as_str()))
}

/// Deleting a table that is not there is an error; making it first never is.
pub(super) fn removing(family: &str, table: &TableName) -> String {
    let table = table.as_str();
    format!("table {family} {table}\ndelete table {family} {table}\n")
}

/// What the shipped files say of the wall's own DNS.
const SHIPPED_RATE: &str = "limit rate over 5000/second burst 1000 packets";

/// And of where the daemon is told of refused packets.
const SHIPPED_GROUP: &str = "log group 1053 ";

fn configured(shipped: &str, config: &Config) -> String {
    let rate = config.wall.dns_packets_per_second;
    // Well below what the listener's buffer holds.
    let rate = format!("limit rate over {rate}/second burst {} packets", (rate / 5).max(20));
    let group = format!("log group {} ", config.wall.log_group);
    sized(shipped, config.lease.set_size).replace(SHIPPED_RATE, &rate).replace(SHIPPED_GROUP, &group)
}

/// The lease sets with the configured size.
fn sized(shipped: &str, size: u32) -> String {
    let mut in_lease_set = false;
    let mut text = String::with_capacity(shipped.len());
    for line in shipped.lines() {
        if line.starts_with("\tset ") {
            in_lease_set = line.starts_with("\tset lease");
        }
        match line.trim_start().strip_prefix("size ") {
            Some(_) if in_lease_set => _ = writeln!(text, "\t\tsize {size}"),
            _ => _ = writeln!(text, "{line}"),
        }
    }
    text
}

/// So many interfaces are compared with one by one in less time than they are
/// looked up in a set.
const FEW: usize = 4;

/// Each packet on the host is asked for its interface: where there are few, the
/// rules that ask it name them.
fn by_name(shipped: &str, interfaces: &[InterfaceName]) -> String {
    if interfaces.len() > FEW {
        return shipped.to_owned();
    }
    let mut text = String::with_capacity(shipped.len());
    for line in shipped.lines() {
        let asked = ["\t\tiifname ", "\t\toifname "].into_iter().find_map(|asked| {
            let rest = line.strip_prefix(asked)?.strip_prefix("@walled ")?;
            Some((asked, rest))
        });
        match asked {
            Some((asked, rest)) => {
                for interface in interfaces {
                    _ = writeln!(text, "{asked}\"{}\" {rest}", interface.as_str());
                }
            }
            None => _ = writeln!(text, "{line}"),
        }
    }
    text
}

/// What the shipped file says of the port where the wall answers.
const SHIPPED_PORT: &str = "\t\tth dport 53 ip";

/// The ports at which the wall answers, each looked at before the sets are.
fn by_port(shipped: &str, config: &Config) -> String {
    let ports: BTreeSet<_> = config.dns.listen.iter().map(SocketAddr::port).collect();
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    shipped.replace(SHIPPED_PORT, &format!("\t\tth dport {{ {ports} }} ip"))
}

fn interface_elements(table: &TableName, interfaces: &[InterfaceName]) -> String {
    let names: Vec<_> = interfaces.iter().map(|interface| format!("\"{}\"", interface.as_str())).collect();
    format!("add element inet {} walled {{ {} }}\n", table.as_str(), names.join(", "))
}

fn address_elements(table: &TableName, set: &str, ways: impl Iterator<Item = (Transport, SocketAddr)>) -> String {
    let mut text = String::new();
    for (transport, address) in ways {
        let family = if address.is_ipv4() { 4 } else { 6 };
        let protocol = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let ip: IpAddr = address.ip();
        _ = writeln!(
            text,
            "add element inet {} {set}{family} {{ {ip} . {protocol} . {} }}",
            table.as_str(),
            address.port()
        );
    }
    text
}

fn both_transports(address: SocketAddr) -> [(Transport, SocketAddr); 2] {
    [(Transport::Udp, address), (Transport::Tcp, address)]
}

/// A server asked by UDP is asked by TCP when its answer is truncated.
fn ways(upstream: &Upstream) -> Vec<(Transport, SocketAddr)> {
    match upstream.transport {
        Transport::Udp => both_transports(upstream.address).into(),
        Transport::Tcp => vec![(Transport::Tcp, upstream.address)],
    }
}

fn daemon_rule(table: &TableName, identity: &Identity) -> String {
    let cgroup = identity.cgroup.as_ref().map_or_else(String::new, |path| {
        let path = path.trim_matches('/');
        format!(" socket cgroupv2 level {} \"{path}\"", path.split('/').count())
    });
    format!("add rule inet {} daemon meta skuid {}{cgroup} goto admit_own\n", table.as_str(), identity.uid)
}

fn egress(table: &TableName, interfaces: &[InterfaceName]) -> String {
    let mut text = removing("netdev", table);
    for (index, interface) in interfaces.iter().enumerate() {
        text += &EGRESS
            .replace("table netdev cedarwall {", &format!("table netdev {} {{", table.as_str()))
            .replace("chain egress {", &format!("chain egress_{index} {{"))
            .replace("\"eth0\"", &format!("\"{}\"", interface.as_str()));
        text.push('\n');
    }
    text
}

fn verdict_rules(table: &TableName, verdict: PacketVerdict) -> String {
    let table = table.as_str();
    match verdict {
        PacketVerdict::Drop => String::new(),
        PacketVerdict::Reject => format!(
            "add rule inet {table} verdict meta l4proto tcp reject with tcp reset\n\
             add rule inet {table} verdict reject with icmpx admin-prohibited\n"
        ),
    }
}

#[cfg(test)]
mod tests;
