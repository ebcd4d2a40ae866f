//! A server on its core, and a generator on another.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::batch::ROOM;
use crate::lab::{Lab, SERVER, UPSTREAM};
use crate::load::{Arguments, Report};
use crate::message;
use crate::names::{self, Domain};
use crate::peer::{Journal, Leases, Peer, Setting};
use crate::process::{Process, Start};

/// The core of whoever is measured.
pub const SERVERS_CORE: &str = "0";
/// The core of the generator and the upstream server.
pub const OTHER_CORE: &str = "1";

/// Where the files of the server are that is measured, anew for each.
const FOLDER: &str = "server";
/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(120);
/// The name a server is tried with; no measurement asks for it.
const TRIAL: u32 = 0x3f_fff0;

/// The laboratory with its upstream server.
pub struct Bench<'a> {
    /// The namespaces.
    pub lab: &'a Lab,
    /// What servers are set up with, where a row does not say otherwise.
    pub setting: Setting,
    /// Seconds of each measurement.
    pub seconds: f64,
    _upstream: Process,
}

/// A server that answers.
pub struct Server<'a> {
    bench: &'a Bench<'a>,
    process: Option<Process>,
}

impl<'a> Bench<'a> {
    /// Starts the upstream server.
    pub fn begin(lab: &'a Lab, cedarwall: PathBuf, seconds: f64) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let words = ["upstream", "--listen", &UPSTREAM.to_string(), "--ttl", "3600"].map(ToOwned::to_owned);
        let start = Start {
            name: "upstream",
            namespace: Some("internet"),
            cores: OTHER_CORE,
            program: &own,
            arguments: &words,
        };
        let mut upstream = start.start(lab)?;
        answers(lab, UPSTREAM, &mut upstream)?;
        let setting = Setting {
            cedarwall,
            own: own.clone(),
            folder: lab.path(FOLDER),
            // More than any measurement asks for: a full cache is another matter,
            // in which dnsmasq goes over all of it for each new name.
            cache: 500_000,
            journal: Journal::Off,
            leases: Leases::Long,
            echo: None,
            policies: 0,
            clients: 0,
            threads: 1,
        };
        Ok(Self { lab, setting, seconds, _upstream: upstream })
    }

    /// Starts a server and waits until it answers as the upstream server does.
    pub fn start(&'a self, peer: Peer, setting: &Setting, cores: &str) -> io::Result<Server<'a>> {
        self.lab.clear_rules()?;
        let recipe = peer.recipe(setting);
        // Whoever was here before has left nothing to remember.
        let _ = fs::remove_dir_all(&setting.folder);
        fs::create_dir_all(setting.folder.join("knot"))?;
        for (name, text) in &recipe.files {
            self.lab.write(&format!("{FOLDER}/{name}"), text)?;
        }
        if let Some(rules) = recipe.rules {
            let file = self.lab.write("before.nft", rules)?;
            self.lab.shell(&format!("nft -f {}", file.display()))?;
        }
        let start =
            Start { name: peer.name(), namespace: None, cores, program: &recipe.program, arguments: &recipe.arguments };
        let mut process = start.start(self.lab)?;
        answers(self.lab, SERVER, &mut process)?;
        Ok(Server { bench: self, process: Some(process) })
    }

    /// Has a generator in a namespace ask what it is told to.
    pub fn load(&self, namespace: Option<&str>, arguments: &Arguments, cores: &str) -> io::Result<Report> {
        let start = Start {
            name: "the generator",
            namespace,
            cores,
            program: &self.setting.own,
            arguments: &arguments.words(),
        };
        let report: Report = serde_json::from_str(&start.output()?)?;
        if report.answered == 0 {
            let what = report.wrong_example.unwrap_or_else(|| "no answer".to_owned());
            return Err(io::Error::other(format!("nothing was answered as it should be: {what}")));
        }
        Ok(report)
    }
}

impl Server<'_> {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// Moves it to other cores, with all its threads.
    pub fn move_to(&self, cores: &str) -> io::Result<()> {
        self.bench.lab.shell(&format!("taskset -a -p -c {cores} {} > /dev/null", self.id()))
    }

    /// Has the client ask what it is told to, and watches the server meanwhile.
    pub fn load(&self, arguments: &Arguments) -> io::Result<Report> {
        self.load_from(arguments, OTHER_CORE)
    }

    /// The same, with the generator on these cores.
    pub fn load_from(&self, arguments: &Arguments, cores: &str) -> io::Result<Report> {
        let arguments =
            Arguments { to: SERVER, watch_process: Some(self.id()), watch_core: Some(0), ..arguments.clone() };
        self.bench.load(Some("client"), &arguments, cores)
    }

    /// What it answers to one question of the client's.
    pub fn answer(&self, number: u32) -> io::Result<Vec<u8>> {
        self.bench.lab.within("client", || ask(SERVER, number))
    }
}

impl Drop for Server<'_> {
    /// Ends it, and takes its rules away.
    fn drop(&mut self) {
        self.process = None;
        if let Err(error) = self.bench.lab.clear_rules() {
            eprintln!("rules remain: {error}");
        }
    }
}

/// Waits until whoever is at `to` answers the client.
fn answers(lab: &Lab, to: SocketAddrV4, process: &mut Process) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        if lab.within("client", || ask(to, TRIAL)).is_ok_and(|answer| answer[3] & 15 == message::NOERROR) {
            return Ok(());
        }
        if let Some(end) = process.ended() {
            return Err(io::Error::other(end));
        }
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("it does not answer: {}", process.last_words())));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(to: SocketAddrV4, number: u32) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.connect(to)?;
    let mut buffer = [0; ROOM];
    let length = message::write_query(&mut buffer, 1, &names::wire(Domain::Permitted, number));
    socket.send(&buffer[..length])?;
    let length = socket.recv(&mut buffer)?;
    if length < 12 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(buffer[..length].to_vec()) }
}
