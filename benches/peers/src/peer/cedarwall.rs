//! Cedarwall: everything below example.com is permitted on one port, every
//! answer opens its address, and no cap is in the way of one client's load.

use std::net::Ipv4Addr;

use super::{Recipe, Setting};
use crate::lab::{CLIENT, CLIENTS, INTERFACE, SERVER, UPSTREAM};

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
    /// A few seconds, whatever an answer says; no more than there is room for by
    /// default.
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
    let (leases, most) = match setting.leases {
        Leases::Long => ("min = \"1h\"\nmax = \"2h\"\ngrace = \"1h\"", 1_048_576),
        Leases::Short => ("min = \"1s\"\nmax = \"2s\"\ngrace = \"1s\"", 65_536),
    };
    let (journal, processes) = match setting.journal {
        Journal::Off => (String::new(), false),
        Journal::On => (format!("path = \"{folder}/events.jsonl\"\nkeep = 0"), false),
        Journal::WithProcesses => (format!("path = \"{folder}/events.jsonl\"\nkeep = 0"), true),
    };
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
{clients}[control]
socket = "{folder}/control.sock"
[evidence]
processes = {processes}
[journal]
{journal}
"#,
        cache = setting.cache,
        clients = clients(setting.clients),
    );
    let arguments = ["serve", "--config", &format!("{folder}/cedarwall.toml")].map(ToOwned::to_owned);
    let files = [
        ("cedarwall.toml", config),
        ("policies/bench.cedar", POLICY.to_owned()),
        ("policies/others.cedar", others(setting.policies)),
    ];
    Recipe {
        program: setting.cedarwall.clone(),
        arguments: arguments.to_vec(),
        files: files.map(|(name, text)| (name.to_owned(), text)).to_vec(),
        rules: None,
    }
}

/// Policies for names that nobody asks for.
fn others(count: u32) -> String {
    let one = |number| {
        format!(
            "permit(principal == Agent::\"claude\", action == Action::\"net.connect\", \
             resource == Resource::\"p{number:06}.example.org:443\");\n"
        )
    };
    (0..count).map(one).collect()
}

/// Clients with an address and an agent each.
fn clients(count: u32) -> String {
    let address = |number| Ipv4Addr::from(u32::from(CLIENTS) + number);
    let one = |number| format!("[[client]]\naddress = \"{}\"\nagent = \"agent-{number}\"\n", address(number));
    (0..count).map(one).collect()
}
