//! Cedarwall: everything below example.com is permitted on one port, every
//! answer opens its address, and no cap is in the way of one client's load.

use std::net::Ipv4Addr;

use super::{Recipe, Setting};
use crate::lab::{CLIENT, INTERFACE, SERVER, UPSTREAM};

/// The port that the policy opens.
pub const PORT: u16 = 443;

/// What the wall writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Nothing, as its peers: events are counted only.
    Off,
    /// Every event, into a file.
    On,
    /// The same, and the process behind each denial.
    WithProcesses,
}

/// How leases live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leases {
    /// As long as a measurement, at least.
    Long,
    /// A few seconds, whatever an answer says.
    Short,
}

const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
"#;

/// The key of the element that a lease is.
pub fn element(address: Ipv4Addr) -> String {
    format!("{CLIENT} . {address} . tcp . {PORT}")
}

/// How it is started.
pub fn recipe(setting: &Setting) -> Recipe {
    let folder = setting.folder.display();
    let leases = match setting.leases {
        Leases::Long => "min = \"1h\"\nmax = \"2h\"\ngrace = \"1h\"",
        Leases::Short => "min = \"1s\"\nmax = \"2s\"\ngrace = \"1s\"",
    };
    let (journal, processes) = match setting.journal {
        Journal::Off => (String::new(), false),
        Journal::On => (format!("path = \"{folder}/events.jsonl\"\nkeep = 0"), false),
        Journal::WithProcesses => (format!("path = \"{folder}/events.jsonl\"\nkeep = 0"), true),
    };
    let most = 1_048_576;
    let config = format!(
        r#"[dns]
listen = ["{SERVER}"]
upstream = ["udp://{UPSTREAM}"]
cache_entries = {cache}
queries_per_second = 1000000
burst = 1000000
max_in_flight = 100000
in_flight_per_client = 100000
[policy]
path = "policies"
watch = false
[wall]
interfaces = ["{INTERFACE}"]
allow_ranges = ["100.64.0.0/10", "203.0.113.0/24"]
dns_packets_per_second = 10000000
[lease]
{leases}
per_client = {most}
set_size = {most}
total = {most}
[names]
per_minute = 1000000000
octets_per_minute = 1000000000
bits_per_minute = 1000000000
[[client]]
address = "{CLIENT}"
agent = "claude"
[control]
socket = "{folder}/control.sock"
[evidence]
processes = {processes}
[journal]
{journal}
"#,
        cache = setting.cache,
    );
    let arguments = ["serve", "--config", &format!("{folder}/cedarwall.toml")].map(ToOwned::to_owned);
    Recipe {
        program: setting.cedarwall.clone(),
        arguments: arguments.to_vec(),
        files: vec![("cedarwall.toml".into(), config), ("policies/bench.cedar".into(), POLICY.into())],
        rules: None,
    }
}
