//! The firewall's own room: the thread that owns the kernel's sets, on the
//! laboratory's rules, without policy and DNS.

use std::sync::{Arc, Mutex};

use cedarwall::core::config::{Config, TableName};
use cedarwall::core::event::{Event, Report};
use cedarwall::core::lease::{Opened, Refusal, Statics, Wanted};
use cedarwall::core::roster::Roster;
use cedarwall::gate::{Edition, Open};
use cedarwall::nft::adopt::Adopted;
use cedarwall::nft::firewall::{Closed, Firewall, Setup};
use cedarwall::nft::ruleset::{self, Identity};
use cedarwall::nft::{install, members};

const CONFIGURATION: &str = r#"
[dns]
listen = ["10.77.0.1:53"]
upstream = ["udp://198.51.100.53:53"]
[policy]
path = "policies"
[wall]
interfaces = ["veth-agent", "veth-other"]
[[client]]
address = "10.77.0.2"
agent = "claude"
"#;

/// A running firewall.
pub struct Room {
    /// The firewall.
    pub firewall: Firewall,
    heard: Heard,
    runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Report for Heard {
    fn report(&self, event: Event) {
        self.0.lock().expect("no panic elsewhere").push(event);
    }
}

impl Room {
    /// Loads the rules into the laboratory's own namespace and starts it.
    pub fn build() -> Self {
        let config = Config::parse("cedarwall.toml", CONFIGURATION).expect("a configuration");
        let ruleset = ruleset::render(&config, &Identity { uid: 0, cgroup: None }, &Roster::default());
        let members = members::of(&config, &Roster::default());
        let table = TableName::default();
        let loaded = install::install(&table, &ruleset).expect("rules");
        let edition = Edition::default();
        let setup = Setup {
            table,
            ruleset,
            loaded,
            settings: config.lease,
            mode: config.wall.mode,
            protect: false,
            members,
            edition,
        };
        let heard = Heard::default();
        let adopted = Adopted::nothing(setup.settings);
        let firewall = Firewall::start(setup, adopted, heard.clone()).expect("a firewall");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { firewall, heard, runtime }
    }

    /// Has it open the addresses that a policy would name.
    pub fn set(&self, wanted: Vec<Statics>) -> Closed {
        self.run(self.firewall.set_statics(wanted)).expect("it is open")
    }

    /// Has it open what a query wants.
    pub fn open(&self, wanted: Wanted) -> Result<Opened, Refusal> {
        self.run(self.firewall.open(wanted))
    }

    /// Waits for what the firewall says.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The events so far.
    pub fn heard(&self) -> Vec<Event> {
        self.heard.0.lock().expect("no panic elsewhere").clone()
    }
}
