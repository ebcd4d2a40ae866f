//! One walk: a wall, an internet, and a dice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cedarwall::core::config::TableName;
use cedarwall::nft::listing::{self, Listed};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::model::{Element, Model, NAMES, Policy, Who, host};
use crate::support::client::question;
use crate::support::lab::{Lab, UPSTREAM, greeter};
use crate::support::run;
use crate::support::upstream::{Upstream, address, answer, refusal, wire};
use crate::support::wall::{Setup, Wall, binary};

/// Steps of a walk.
pub const STEPS: usize = 1000;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// What is undone with nobody asking is undone within this.
const UNDONE_WITHIN: Duration = Duration::from_secs(3);
/// No answer's TTL is longer.
const LONGEST_TTL: u32 = 3;
const LEASE: &str = "min = \"1s\"\nmax = \"1h\"\ngrace = \"1s\"\nper_client = 40\nset_size = 48";

/// What the upstream server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Weather {
    Fair,
    Silent,
    Failing,
    Lying,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Query,
    Fill,
    Expire,
    Reload,
    BadReload,
    Revoke,
    Restart,
    Meddle,
    Weather,
    Connect,
}

/// In a thousand.
const WEIGHTS: [(Step, u32); 10] = [
    (Step::Query, 648),
    (Step::Fill, 20),
    (Step::Expire, 12),
    (Step::Reload, 70),
    (Step::BadReload, 15),
    (Step::Revoke, 45),
    (Step::Restart, 30),
    (Step::Meddle, 90),
    (Step::Weather, 50),
    (Step::Connect, 20),
];

/// What happened on the walks, for people.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    steps: BTreeMap<Step, usize>,
    permitted: usize,
    answered: usize,
    elements: usize,
    promises: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
        self.permitted += other.permitted;
        self.answered += other.answered;
        self.elements += other.elements;
        self.promises += other.promises;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, permitted, answered, elements, promises } = self;
        writeln!(formatter, "steps: {steps:?}")?;
        writeln!(formatter, "{answered} of {permitted} permitted questions were answered with addresses")?;
        write!(formatter, "{elements} elements were held against the policy, {promises} promises against the kernel")
    }
}

/// A question on its way.
struct Pending {
    who: Who,
    name: usize,
    since: Instant,
}

pub struct Walker<'a> {
    lab: &'a Lab,
    wall: Wall,
    random: fastrand::Rng,
    model: Model,
    weather: Arc<AtomicU8>,
    sockets: HashMap<Who, UdpSocket>,
    pending: HashMap<u16, Pending>,
    skeleton: String,
    trace: Vec<String>,
    tally: Tally,
}

impl<'a> Walker<'a> {
    pub fn begin(lab: &'a Lab, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let addresses = internet(&mut random);
        let weather = Arc::new(AtomicU8::new(Weather::Fair as u8));
        serve(addresses.clone(), Arc::clone(&weather));
        greeter(443);
        let policy = Policy::random(&mut random);
        let dns = "upstream_timeout = \"100ms\"";
        let wall = Wall::start(lab, &Setup { policy: &policy.text(), dns, lease: LEASE, ..Setup::default() });
        let socket = |who: Who| {
            let socket = lab.within(who.namespace(), || UdpSocket::bind("0.0.0.0:0").expect("a socket"));
            (who, socket)
        };
        let longest = Duration::from_secs(u64::from(LONGEST_TTL) + 1);
        Self {
            lab,
            wall,
            model: Model::new(policy, addresses, longest),
            weather,
            sockets: Who::BOTH.into_iter().map(socket).collect(),
            pending: HashMap::new(),
            skeleton: skeleton(),
            trace: Vec::new(),
            tally: Tally::default(),
            random,
        }
    }

    pub fn walk(mut self) -> Tally {
        for number in 0..STEPS {
            let step = self.choose();
            *self.tally.steps.entry(step).or_default() += 1;
            self.note(format!("{number}: {step:?}"));
            self.take(step);
            self.check();
        }
        self.tally
    }

    fn choose(&mut self) -> Step {
        let mut dice = self.random.u32(0..WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (step, weight) in WEIGHTS {
            if dice < weight {
                return step;
            }
            dice -= weight;
        }
        Step::Query
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Query => self.query(),
            Step::Fill => {
                for name in 0..NAMES {
                    Who::BOTH.into_iter().for_each(|who| self.send(who, name, RecordType::A));
                }
                self.receive(SECOND);
            }
            Step::Expire => sleep(MILLISECOND * self.random.u32(0..1500)),
            Step::Reload => {
                let policy = Policy::random(&mut self.random);
                self.lab.write("policies/wall.cedar", &policy.text());
                assert!(self.operate(&["reload"]), "a good policy was refused; {}", self.told());
                self.model.changes(policy);
            }
            Step::BadReload => {
                self.lab.write("policies/wall.cedar", "permit(principal, action, resource) when { 1 };");
                assert!(!self.operate(&["reload"]), "a bad policy was loaded; {}", self.told());
                self.lab.write("policies/wall.cedar", &self.model.policy.text());
            }
            Step::Revoke => {
                let name = self.random.bool().then(|| self.random.usize(0..NAMES));
                let host = name.map(host);
                let arguments: Vec<&str> = ["revoke", "--agent", "claude"].into_iter().chain(host.as_deref()).collect();
                // There may be nothing to revoke.
                self.operate(&arguments);
                self.model.revoked(name);
            }
            Step::Restart => self.restart(),
            Step::Meddle => self.meddle(),
            Step::Weather => {
                let weather = match self.random.u8(0..8) {
                    0 => Weather::Silent,
                    1 => Weather::Failing,
                    2 => Weather::Lying,
                    _ => Weather::Fair,
                };
                self.note(format!("{weather:?}"));
                self.weather.store(weather as u8, Ordering::SeqCst);
            }
            Step::Connect => self.connect(),
        }
    }

    fn query(&mut self) {
        let who = if self.random.bool() { Who::Agent } else { Who::Other };
        let kind = if self.random.u8(0..4) == 0 { RecordType::AAAA } else { RecordType::A };
        let name = self.random.usize(0..NAMES);
        self.send(who, name, kind);
        self.receive(SECOND);
    }

    fn send(&mut self, who: Who, name: usize, kind: RecordType) {
        let mut message = question(&host(name), kind);
        let id = loop {
            let id = self.random.u16(..);
            if !self.pending.contains_key(&id) {
                break id;
            }
        };
        message.metadata.id = id;
        let since = Instant::now();
        self.model.asks(who, name, since);
        self.tally.permitted += usize::from(self.model.policy.permits(who, name).is_some());
        let to: SocketAddr = who.wall().parse().expect("an address");
        // A daemon that is dead gets nothing, and that is part of the walk.
        let _ = self.sockets[&who].send_to(&message.to_vec().expect("octets"), to);
        self.pending.insert(id, Pending { who, name, since });
    }

    /// Takes what comes until every question has its answer, or `patience` is
    /// over.
    fn receive(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        for who in Who::BOTH {
            while self.pending.values().any(|pending| pending.who == who) {
                let left = end.saturating_duration_since(Instant::now()).max(MILLISECOND);
                let mut buffer = [0; 4096];
                self.sockets[&who].set_read_timeout(Some(left)).expect("a timeout");
                match self.sockets[&who].recv_from(&mut buffer) {
                    Ok((length, _)) => self.hear(&buffer[..length]),
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                    Err(_) if Instant::now() < end => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        let message = Message::from_vec(octets).expect("a DNS message");
        let Some(Pending { who, name, since }) = self.pending.remove(&message.metadata.id) else { return };
        let addresses: Vec<IpAddr> = message.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        self.note(format!("{who:?} {} -> {} {addresses:?}", host(name), message.metadata.response_code));
        self.model.was_answered(who, name, Instant::now());
        self.tally.answered += usize::from(!addresses.is_empty());
        for record in &message.answers {
            if let Some(address) = record.data.ip_addr() {
                self.model.promised(who, name, address, record.ttl, since);
            }
        }
    }

    /// The daemon ends, perhaps in the middle of something, and comes back,
    /// perhaps to another policy.
    fn restart(&mut self) {
        for _ in 0..self.random.usize(0..4) {
            let who = if self.random.bool() { Who::Agent } else { Who::Other };
            let name = self.random.usize(0..NAMES);
            self.send(who, name, RecordType::A);
        }
        if self.random.u8(0..3) == 0 {
            self.note("SIGTERM".to_owned());
            assert_eq!(self.wall.process().terminate(), Some(0), "SIGTERM; {}", self.told());
        } else {
            sleep(Duration::from_micros(self.random.u64(0..1500)));
            self.wall.process().kill();
        }
        self.receive(5 * MILLISECOND);
        self.pending.clear();
        self.check();
        sleep(MILLISECOND * self.random.u32(0..300));
        self.check();
        if self.random.u8(0..6) == 0 {
            self.note("the table goes, too".to_owned());
            run("nft", &["delete", "table", "inet", "cedarwall"]);
            self.model.lost_everything();
        }
        let policy = self.random.u8(0..3) == 0;
        let policy = policy.then(|| Policy::random(&mut self.random));
        if let Some(policy) = &policy {
            self.lab.write("policies/wall.cedar", &policy.text());
        }
        self.wall.restart(self.lab);
        if let Some(policy) = policy {
            self.model.changes(policy);
        }
    }

    /// Somebody lays hands on the table.
    fn meddle(&mut self) {
        let present = elements(&mut self.random);
        let some = present.get(self.random.usize(0..present.len().max(1)));
        let is_single = |element: &&Element| element.address.is_ipv4() && element.port.is_some();
        let some = some.filter(is_single).map(|element| {
            format!("{} . {} . tcp . {}", element.client, element.address, element.port.unwrap_or_default())
        });
        let some = some.unwrap_or_else(|| "10.77.0.2 . 203.0.113.99 . tcp . 443".to_owned());
        let deed = match self.random.u8(0..9) {
            0 => "flush ruleset".to_owned(),
            1 => "delete table inet cedarwall".to_owned(),
            2 => "flush chain inet cedarwall leaving".to_owned(),
            3 => "insert rule inet cedarwall leaving accept".to_owned(),
            4 => "flush set inet cedarwall lease4".to_owned(),
            5 => "flush set inet cedarwall lease4_all_ports".to_owned(),
            6 => "add element inet cedarwall lease4 { 10.77.0.2 . 203.0.113.99 . tcp . 443 timeout 1h }".to_owned(),
            7 => format!("delete element inet cedarwall lease4 {{ {some} }}"),
            _ => format!("add element inet cedarwall lease4 {{ {some} timeout 1h expires 1h comment \"other\" }}"),
        };
        self.note(deed.clone());
        // What is to be deleted may have run out this moment.
        let _ = Command::new("nft").arg(&deed).stderr(std::process::Stdio::null()).status();
        if self.random.bool() {
            let fair = self.weather.swap(Weather::Fair as u8, Ordering::SeqCst);
            let answered = self.tally.answered;
            self.query();
            self.weather.store(fair, Ordering::SeqCst);
            if self.tally.answered > answered {
                // Undone before that answer.
                assert_eq!(skeleton(), self.skeleton, "after an answer; {}", self.told());
                return;
            }
        }
        let start = Instant::now();
        while skeleton() != self.skeleton || self.judged().is_err() {
            let told = self.judged();
            assert!(start.elapsed() < UNDONE_WITHIN, "not undone: {told:?}; {}", self.told());
            sleep(MILLISECOND);
        }
    }

    /// What was promised can be reached, and what nobody asked for cannot.
    fn connect(&mut self) {
        let soon = Instant::now() + SECOND;
        let promise = self.model.promises(soon).find(|promise| promise.ports.contains(&443)).cloned();
        if let Some(promise) = promise {
            let to = SocketAddr::new(promise.address, 443);
            let reached = self.lab.connects(promise.who.namespace(), to, 900 * MILLISECOND);
            assert!(reached, "{promise:?} cannot be reached; {}", self.told());
        }
        let nowhere: SocketAddr = "203.0.113.99:443".parse().expect("an address");
        assert!(!self.lab.connects("agent", nowhere, 20 * MILLISECOND), "{nowhere} is open; {}", self.told());
    }

    fn operate(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new(binary());
        let command = command.args(arguments).arg("--json").arg("--socket").arg(self.lab.path("control.sock"));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap().success()
    }

    fn check(&mut self) {
        if let Err(difference) = self.judged() {
            panic!("{difference}; {}", self.told());
        }
    }

    fn judged(&mut self) -> Result<(), String> {
        let before = Instant::now();
        let elements = elements(&mut self.random);
        let after = Instant::now();
        self.tally.elements += elements.len();
        self.tally.promises += self.model.promises(after).count();
        self.model.judge(&elements, before, after)
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// The last steps, for whoever reads of a failure.
    fn told(&self) -> String {
        let last = self.trace.len().saturating_sub(40);
        format!("the last steps:\n  {}", self.trace[last..].join("\n  "))
    }
}

/// An internet of names with one to three addresses each, some of them shared.
fn internet(random: &mut fastrand::Rng) -> Vec<Vec<IpAddr>> {
    let name = |name: usize| {
        let mut addresses = vec![format!("203.0.113.{}", name + 1), format!("2001:db8:2::{}", name + 1)];
        if random.bool() {
            addresses.push(format!("203.0.113.{}", random.u8(200..203)));
        }
        if random.u8(0..4) == 0 {
            addresses.push(format!("203.0.113.{}", name + 101));
        }
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    };
    (0..NAMES).map(name).collect()
}

fn serve(addresses: Vec<Vec<IpAddr>>, weather: Arc<AtomicU8>) {
    Upstream::start(UPSTREAM, move |asked, query| {
        let weather = weather.load(Ordering::SeqCst);
        if weather == Weather::Silent as u8 {
            return None;
        }
        if weather == Weather::Failing as u8 {
            return wire(&refusal(query, ResponseCode::ServFail));
        }
        let name: usize = asked.name.strip_prefix('h')?.split('.').next()?.parse().ok()?;
        let ttl = u32::try_from(name).ok()? % LONGEST_TTL + 1;
        if weather == Weather::Lying as u8 {
            let lies = ["10.77.0.1", "127.0.0.1", "169.254.169.254"].map(|lie| address(query, ttl, lie));
            return wire(&answer(query, lies.into()));
        }
        let is_asked = |other: &&IpAddr| other.is_ipv4() == (asked.kind == RecordType::A);
        let records = addresses[name].iter().filter(is_asked).map(|known| address(query, ttl, &known.to_string()));
        wire(&answer(query, records.collect()))
    });
}

/// The table without elements and counts.
fn skeleton() -> String {
    let listing = Command::new("nft").args(["-t", "list", "table", "inet", "cedarwall"]).output().expect("nft");
    let text = String::from_utf8_lossy(&listing.stdout).into_owned();
    text.lines().filter(|line| !line.contains("packets ")).collect::<Vec<_>>().join("\n")
}

/// Every element of the lease sets, read over netlink: `nft` would take most of
/// the walk's time. Now and then it has the say all the same.
fn elements(random: &mut fastrand::Rng) -> Vec<Element> {
    if random.u8(0..10) == 0 {
        return listed_by_nft();
    }
    let table = TableName::default();
    let of_set = |set: &str| {
        let listed = listing::elements(&table, set).expect("a dump").unwrap_or_default();
        let is_four = set.starts_with("lease4");
        listed.into_iter().map(move |element| read(&element, is_four)).collect::<Vec<_>>()
    };
    ["lease4", "lease6", "lease4_all_ports", "lease6_all_ports"].into_iter().flat_map(of_set).collect()
}

/// client . address . protocol, and port where the set has one.
fn read(listed: &Listed, is_four: bool) -> Element {
    let (length, key) = (if is_four { 4 } else { 16 }, &listed.key);
    let address = |octets: &[u8]| match <[u8; 4]>::try_from(octets) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).expect("an address")),
    };
    let protocol = if key[2 * length] == 6 { "tcp" } else { "udp" };
    // Type, length, text, NUL.
    let comment = listed.user_data.get(2..listed.user_data.len().saturating_sub(1)).unwrap_or_default();
    Element {
        client: address(&key[..length]),
        address: address(&key[length..2 * length]),
        protocol: protocol.to_owned(),
        port: key.get(2 * length + 4..2 * length + 6).map(|port| u16::from_be_bytes([port[0], port[1]])),
        names: String::from_utf8_lossy(comment).split(' ').map(ToOwned::to_owned).collect(),
    }
}

fn listed_by_nft() -> Vec<Element> {
    let listing = Command::new("nft").args(["-j", "list", "sets", "table", "inet", "cedarwall"]).output().expect("nft");
    let Ok(listing) = serde_json::from_slice::<Value>(&listing.stdout) else { return Vec::new() };
    let sets = listing["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("set"));
    let leases = sets.filter(|set| set["name"].as_str().is_some_and(|name| name.starts_with("lease")));
    leases.flat_map(|set| set["elem"].as_array().into_iter().flatten().map(element)).collect()
}

fn element(value: &Value) -> Element {
    let value = value.get("elem").unwrap_or(value);
    let key = value.get("val").unwrap_or(value)["concat"].as_array().expect("a concatenation");
    let text = |index: usize| key[index].as_str().expect("text");
    let names = value["comment"].as_str().unwrap_or_default();
    Element {
        client: text(0).parse().expect("an address"),
        address: text(1).parse().expect("an address"),
        protocol: text(2).to_owned(),
        port: key.get(3).map(|port| u16::try_from(port.as_u64().expect("a port")).expect("a port")),
        names: names.split(' ').map(ToOwned::to_owned).collect(),
    }
}
