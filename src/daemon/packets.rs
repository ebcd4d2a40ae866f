//! What the rules refused: from the kernel's log and its counters to events.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::principals::Principals;
use super::witness::Witness;
use crate::core::config::Config;
use crate::core::decision::Denial;
use crate::core::drops::{Drops, Party, Summary};
use crate::core::event::{Event, Flow, Report};
use crate::core::packet::Packet;
use crate::core::process::Traced;
use crate::core::query::Client;
use crate::core::time::Moment;
use crate::nft::{inspect, nflog};

/// How often the kernel's counts are read while packets come.
const ROUND: Duration = Duration::from_secs(1);
/// And while none do.
const QUIET: Duration = Duration::from_secs(10);
/// How often it is told at most that packets were lost.
const LOSSES: Duration = Duration::from_secs(10);
/// Names told of one address.
const MOST_NAMES: usize = 8;

/// What the reader of packets asks of the rest of the daemon.
#[derive(Clone)]
pub(super) struct Hooks {
    /// Who sent a packet, asked while it may still be found.
    pub(super) trace: Arc<dyn Fn(&Flow) -> Traced + Send + Sync>,
    /// The denied name that a client was given this address for, and why it
    /// had been denied.
    pub(super) sinkhole: Arc<dyn Fn(Client, IpAddr) -> Option<(String, Denial)> + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { trace: Arc::new(|_| Traced::Unasked), sinkhole: Arc::new(|_, _| None) }
    }
}

/// The thread that hears of refused packets. Dropped, it tells what is left to
/// be told and ends.
pub(super) struct Packets {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Packets {
    /// Starts the thread. Where the log's group belongs to another program,
    /// packets are counted and not told one by one; the log says so.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(config: &Config, witness: Witness, principals: Principals, hooks: Hooks) -> io::Result<Self> {
        let group = config.wall.log_group;
        let log = nflog::PacketLog::open(group).inspect_err(|error| {
            tracing::warn!(
                "refused packets are counted and not told one by one: group {group} of the netfilter log: {error}; \
                 if another program listens to it, set another [wall] log_group"
            );
        });
        let (stop, stopped) = UnixStream::pair()?;
        let mut reader = Reader {
            log: log.ok(),
            stopped,
            wall: config.wall.clone(),
            known: config.clients.iter().flat_map(|entry| entry.addresses.iter().copied()).collect(),
            drops: Drops::default(),
            lost: 0,
            last_loss: None,
            witness,
            principals,
            hooks,
            began: Instant::now(),
            complained: false,
        };
        let thread = Builder::new().name("packets".to_owned()).spawn(move || reader.run())?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was told when it did.
            let _ = thread.join();
        }
    }
}

struct Reader {
    log: Option<nflog::PacketLog>,
    /// Closed at the other end when it is time to stop.
    stopped: UnixStream,
    wall: crate::core::config::Wall,
    /// The clients that the rules know.
    known: BTreeSet<Client>,
    drops: Drops,
    lost: u64,
    last_loss: Option<Moment>,
    witness: Witness,
    principals: Principals,
    hooks: Hooks,
    began: Instant,
    complained: bool,
}

impl Reader {
    fn run(&mut self) {
        let counts = self.counts();
        self.drops.begin(counts);
        let (mut last_round, mut is_busy) = (self.now(), false);
        loop {
            let rhythm = if is_busy { ROUND } else { QUIET };
            nflog::wait(self.log.as_ref(), self.stopped.as_fd(), (last_round + rhythm).left(self.now()));
            let is_over = is_closed(&self.stopped);
            is_busy |= self.hear();
            let now = self.now();
            let rhythm = if is_busy { ROUND } else { QUIET };
            if now.since(last_round) >= rhythm {
                last_round = now;
                is_busy = self.round(now);
            }
            if is_over {
                return self.finish();
            }
        }
    }

    /// Whether anything was heard.
    fn hear(&mut self) -> bool {
        let Some(heard) = self.log.as_ref().map(nflog::PacketLog::read) else { return false };
        let heard = heard.unwrap_or_else(|error| {
            tracing::error!("refused packets are counted and no longer told one by one: {error}");
            self.log = None;
            nflog::Heard::default()
        });
        self.lost += u64::from(heard.overrun);
        for packet in &heard.packets {
            self.tell(packet);
        }
        !heard.packets.is_empty() || heard.overrun
    }

    fn tell(&mut self, packet: &Packet) {
        let (way, now) = (packet.way(), self.now());
        if !self.drops.hear(self.party(way.client), way, now) {
            return;
        }
        let flow = self.principals.flow(way, packet.ports.map(|(port, _)| port));
        let process = (self.hooks.trace)(&flow);
        let event = match (self.hooks.sinkhole)(way.client, way.address) {
            Some((hostname, denial)) => Event::ConnectDenied { flow, hostname, denial, process },
            None => {
                let (_, clients) = self.principals.of(way.client);
                let names = self.witness.sightings().names(&clients, way.address, MOST_NAMES);
                let texts = |names: Vec<_>| names.iter().map(ToString::to_string).collect();
                Event::PacketDropped {
                    flow,
                    flags: packet.flag_letters(),
                    hostnames: texts(names.own),
                    hostnames_of_others: texts(names.of_others),
                    process,
                }
            }
        };
        self.witness.report(event);
    }

    /// Reads what the kernel has counted, and tells what is due; whether there
    /// is more to come.
    fn round(&mut self, now: Moment) -> bool {
        let counts = self.counts();
        let is_busy = self.drops.count(counts, now);
        if let Some(summary) = self.drops.due(now) {
            self.summarise(summary);
        }
        if self.lost > 0 && self.last_loss.is_none_or(|last| now.since(last) >= LOSSES) {
            self.last_loss = Some(now);
            self.witness.report(Event::PacketsLost { times: std::mem::take(&mut self.lost) });
        }
        is_busy || self.drops.is_waiting()
    }

    fn finish(&mut self) {
        let now = self.now();
        let counts = self.counts();
        self.drops.count(counts, now);
        for summary in self.drops.rest(now) {
            self.summarise(summary);
        }
        if self.lost > 0 {
            self.witness.report(Event::PacketsLost { times: self.lost });
        }
    }

    fn summarise(&self, summary: Summary) {
        let Summary { party, packets, over, most } = summary;
        let most = most.map(|way| self.principals.flow(way, None));
        let client = match (party, &most) {
            (Party::Client(client), _) => client,
            // All that share the namespace are one.
            (Party::Others, Some(most)) if self.wall.mode.is_sidecar() => most.client,
            (Party::Others, _) => Client::new(Ipv6Addr::UNSPECIFIED.into()),
        };
        let (agent, _) = self.principals.of(client);
        let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        self.witness.report(Event::PacketsSummarised { client, agent, packets, millis, most });
    }

    fn party(&self, client: Client) -> Party {
        let is_known = !self.wall.mode.is_sidecar() && self.known.contains(&client);
        if is_known { Party::Client(client) } else { Party::Others }
    }

    fn counts(&mut self) -> Vec<(Party, u64)> {
        let read = inspect::refused_by(&self.wall.table, &self.wall.mode);
        let counts = read.inspect_err(|error| {
            if !std::mem::replace(&mut self.complained, true) {
                tracing::warn!("what the kernel has counted of refused packets cannot be read: {error}");
            }
        });
        let Ok(counts) = counts else { return Vec::new() };
        self.complained = false;
        let clients = counts.clients.into_iter().map(|(client, count)| (Party::Client(client), count));
        clients.chain([(Party::Others, counts.others)]).collect()
    }

    fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Nothing is ever written to it.
fn is_closed(stream: &UnixStream) -> bool {
    nflog::is_readable(stream.as_fd())
}
