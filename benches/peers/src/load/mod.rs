//! The generator, and how it measures.
//!
//! One thread with N connected sockets keeps W questions in flight in all. A
//! **closed loop** (the default) asks the next question of a place as soon as
//! its last one is answered, so the server decides the rate. It goes over all
//! sockets, takes what has come, asks as much anew, and rests until a quarter to
//! a half of all questions will have been answered; the others meanwhile keep
//! the server busy. It waits on no socket, so no answer has to wake it. What it
//! asks from one socket it sends as one packet, which the kernel cuts into its
//! datagrams at the server's socket: so that one core asks more than any server
//! on the other can answer.
//! **Paced** (`--rate`) asks so many a second whatever comes back; latency
//! counts from the moment a question was due, so a server that stalls is not
//! spared the questions it has held up.
//!
//! Every answer is checked: the id is one in flight on that socket, the
//! question is the one asked, the response code and the address are those that
//! the upstream server gives. What has no answer after a second is lost. What
//! happens in the first `--warm` seconds is not counted. Processor time is read
//! by the generator itself at both ends of what it counts.

mod closed;
mod flight;
mod lane;
mod paced;
mod sample;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::message::{Expected, NXDOMAIN};
use crate::names::{self, Domain};
use crate::usage::{Usage, Watch};
use lane::Lane;
use sample::Sample;

/// Questions in flight where nothing else is said: what fits into the receive
/// buffer that the kernel gives a socket which asks for none.
pub const IN_FLIGHT: usize = 192;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One name, again and again
    One,
    /// `--names` names in turn, all asked for once beforehand
    Many,
    /// A new name each time
    Unique,
    /// `--names` names in turn that nobody permits
    Denied,
}

/// How the generator is set up.
#[derive(clap::Args, Clone)]
pub struct Arguments {
    /// The server
    #[arg(long, default_value = "127.0.0.1:5301")]
    pub to: SocketAddrV4,
    /// What is asked for
    #[arg(long, value_enum, default_value = "one")]
    pub mode: Mode,
    /// How many names, for `many` and `denied`
    #[arg(long, default_value_t = 1)]
    pub names: u32,
    /// The first name's number
    #[arg(long, default_value_t = 0)]
    pub from: u32,
    /// Sockets
    #[arg(long, default_value_t = 8)]
    pub sockets: usize,
    /// Questions in flight, over all sockets
    #[arg(long, default_value_t = IN_FLIGHT)]
    pub in_flight: usize,
    /// Addresses it asks from in turn, 10.78.0.1 and on; 1 for the host's own
    #[arg(long, default_value_t = 1)]
    pub clients: u32,
    /// Questions a second; without it, as many as are answered
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds before that are not counted
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
    /// Ends after so many answers
    #[arg(long)]
    pub answers: Option<u64>,
    /// A process whose processor time is told
    #[arg(long)]
    pub watch_process: Option<u32>,
    /// A core whose busy time is told
    #[arg(long)]
    pub watch_core: Option<usize>,
}

impl Arguments {
    /// The usual way to ask for this, for so many seconds.
    pub fn of(mode: Mode, seconds: f64) -> Self {
        Self {
            to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 53),
            mode,
            names: 1,
            from: 0,
            sockets: 8,
            in_flight: IN_FLIGHT,
            clients: 1,
            rate: None,
            seconds,
            warm: 0.5,
            answers: None,
            watch_process: None,
            watch_core: None,
        }
    }

    /// The same on the command line.
    pub fn words(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::One => "one",
            Mode::Many => "many",
            Mode::Unique => "unique",
            Mode::Denied => "denied",
        };
        let usual = [
            ("--to", self.to.to_string()),
            ("--mode", mode.to_owned()),
            ("--names", self.names.to_string()),
            ("--from", self.from.to_string()),
            ("--sockets", self.sockets.to_string()),
            ("--in-flight", self.in_flight.to_string()),
            ("--clients", self.clients.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--warm", self.warm.to_string()),
        ];
        let optional = [
            ("--rate", self.rate.map(|rate| rate.to_string())),
            ("--answers", self.answers.map(|answers| answers.to_string())),
            ("--watch-process", self.watch_process.map(|process| process.to_string())),
            ("--watch-core", self.watch_core.map(|core| core.to_string())),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let words = usual.into_iter().chain(optional).flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once("load".to_owned()).chain(words).collect()
    }
}

/// What the generator has found; durations are in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// How long was counted.
    pub seconds: f64,
    /// Answers that were as expected.
    pub answered: u64,
    /// Of those, so many a second.
    pub per_second: f64,
    /// Questions without an answer within a second.
    pub lost: u64,
    /// Answers to no question in flight.
    pub late: u64,
    /// Answers that were not as expected.
    pub wrong: u64,
    /// One of those.
    pub wrong_example: Option<String>,
    /// Questions that were due and could not be asked (paced).
    pub unsent: u64,
    /// Half of all answers took no longer.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The watched process' time, user and system.
    pub process: Option<f64>,
    /// The watched core's busy time, interrupts included.
    pub core: Option<f64>,
    /// The share of the watched core that was busy.
    pub core_share: Option<f64>,
    /// The share of a core that the generator itself took.
    pub own_share: f64,
    /// The first number that was not asked for.
    pub next: u32,
    /// Some numbers of names that were answered as expected, spread over all.
    pub sample: Vec<u32>,
}

/// The questions, in their order.
struct Questions {
    domain: Domain,
    from: u32,
    /// After so many it begins anew; 0 for never.
    names: u32,
    asked: u32,
}

impl Questions {
    fn next(&mut self) -> u32 {
        let place = if self.names == 0 { self.asked } else { self.asked % self.names };
        self.asked = self.asked.wrapping_add(1);
        self.from.wrapping_add(place)
    }

    /// How many were asked.
    fn turn(&self) -> u32 {
        self.asked
    }

    fn expected(&self, name: &[u8]) -> Expected {
        match self.domain {
            Domain::Permitted => Expected::Address(names::address(name)),
            Domain::Denied => Expected::Code(NXDOMAIN),
        }
    }
}

/// What is counted while the loop runs.
struct Tally {
    latency: Histogram<u64>,
    answered: u64,
    lost: u64,
    late: u64,
    wrong: u64,
    wrong_example: Option<String>,
    unsent: u64,
    sample: Sample,
}

impl Tally {
    fn new() -> io::Result<Self> {
        let latency = Histogram::new_with_bounds(100, 10_000_000_000, 3).map_err(io::Error::other)?;
        Ok(Self {
            latency,
            answered: 0,
            lost: 0,
            late: 0,
            wrong: 0,
            wrong_example: None,
            unsent: 0,
            sample: Sample::default(),
        })
    }
}

/// Asks, and tells what came back.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    // A rest of some microseconds is otherwise prolonged by fifty.
    nix::sys::prctl::set_timerslack(1)?;
    if arguments.mode == Mode::Many {
        let all_once = Arguments {
            mode: Mode::Unique,
            answers: Some(arguments.names.into()),
            seconds: 900.0,
            warm: 0.0,
            in_flight: arguments.in_flight.min(64),
            rate: None,
            ..arguments.clone()
        };
        measure(&all_once)?;
    }
    measure(arguments)
}

fn measure(arguments: &Arguments) -> io::Result<Report> {
    let domain = if arguments.mode == Mode::Denied { Domain::Denied } else { Domain::Permitted };
    let names = match arguments.mode {
        Mode::One => 1,
        Mode::Many | Mode::Denied => arguments.names.max(1),
        Mode::Unique => 0,
    };
    let mut questions = Questions { domain, from: arguments.from, names, asked: 0 };
    let sockets = arguments.sockets.clamp(1, arguments.in_flight.max(1));
    let places = arguments.in_flight.div_ceil(sockets).clamp(1, flight::MOST);
    let mut lanes =
        (0..sockets).map(|_| Lane::open(arguments.to, places, arguments.clients)).collect::<io::Result<Vec<_>>>()?;

    let watch = Watch { process: arguments.watch_process, core: arguments.watch_core };
    let mut go = |tally: &mut Tally, seconds: f64| {
        let span = Duration::from_secs_f64(seconds);
        match arguments.rate {
            Some(rate) => paced::go(&mut lanes, &mut questions, tally, span, rate),
            None => closed::go(&mut lanes, &mut questions, tally, span, arguments.answers),
        }
    };
    if arguments.warm > 0.0 {
        go(&mut Tally::new()?, arguments.warm)?;
    }
    let before = Usage::read(&watch)?;
    let mut tally = Tally::new()?;
    go(&mut tally, arguments.seconds)?;
    let used = Usage::read(&watch)?.since(&before);
    Ok(report(&tally, &used, questions.from.wrapping_add(questions.asked)))
}

fn report(tally: &Tally, used: &Usage, next: u32) -> Report {
    let quantile = |share| tally.latency.value_at_quantile(share) as f64 / 1000.0;
    Report {
        seconds: used.at,
        answered: tally.answered,
        per_second: tally.answered as f64 / used.at,
        lost: tally.lost,
        late: tally.late,
        wrong: tally.wrong,
        wrong_example: tally.wrong_example.clone(),
        unsent: tally.unsent,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: tally.latency.max() as f64 / 1000.0,
        process: used.process.map(|seconds| seconds * 1e6),
        core: used.core.map(|core| core.busy * 1e6),
        core_share: used.core.map(|core| core.busy / core.all),
        own_share: used.own / used.at,
        next,
        sample: tally.sample.numbers().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_turn_or_never_again() {
        let numbers = |names| {
            let mut questions = Questions { domain: Domain::Permitted, from: 10, names, asked: 0 };
            [(); 4].map(|()| questions.next())
        };
        assert_eq!(numbers(1), [10, 10, 10, 10]);
        assert_eq!(numbers(3), [10, 11, 12, 10]);
        assert_eq!(numbers(0), [10, 11, 12, 13]);
    }
}
