//! What went through: from the kernel's counters to events.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::principals::Principals;
use super::witness::Witness;
use crate::control::TrafficRow;
use crate::core::config::TableName;
use crate::core::event::{Event, Report};
use crate::core::packet::{Way, protocol_name};
use crate::core::traffic::{Traffic, Volume};
use crate::nft::inspect;

/// How often what went through is told.
const RHYTHM: Duration = Duration::from_secs(60);
/// Names told of one address.
const MOST_NAMES: usize = 8;
/// When everything ends, this often as many lines as one go has.
const LAST_GOES: usize = 16;

/// What the kernel has counted, by way.
pub(super) type Volumes = BTreeMap<Way, Volume>;

/// The thread that reads the counters. Dropped, it tells what is left to be
/// told and ends.
pub(super) struct TrafficTeller {
    desk: TrafficDesk,
    thread: Option<JoinHandle<()>>,
}

/// The way to that thread.
#[derive(Clone)]
pub(super) struct TrafficDesk {
    requests: Sender<Request>,
    witness: Witness,
    principals: Principals,
}

enum Request {
    Tell(oneshot::Sender<Volumes>),
    Stop,
}

impl TrafficTeller {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(table: TableName, witness: Witness, principals: Principals) -> io::Result<Self> {
        let (requests, queue) = channel();
        let desk = TrafficDesk { requests, witness: witness.clone(), principals: principals.clone() };
        let mut reader = Reader { table, witness, principals, complained: false };
        let thread = Builder::new().name("traffic".to_owned()).spawn(move || reader.run(&queue))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// A desk at which can be asked what went through.
    pub(super) fn desk(&self) -> TrafficDesk {
        self.desk.clone()
    }
}

impl TrafficDesk {
    /// Has what went through told now; returns all that the kernel counts, most
    /// octets first. Empty when the daemon is about to stop.
    pub(super) async fn tell(&self) -> Vec<TrafficRow> {
        let (reply, volumes) = oneshot::channel();
        if self.requests.send(Request::Tell(reply)).is_err() {
            return Vec::new();
        }
        let volumes = volumes.await.unwrap_or_default();
        let mut rows: Vec<_> = volumes.into_iter().map(|(way, volume)| self.row(way, volume)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        rows
    }

    fn row(&self, way: Way, volume: Volume) -> TrafficRow {
        let (agent, clients) = self.principals.of(way.client);
        let names = self.witness.sightings().names(&clients, way.address, MOST_NAMES);
        TrafficRow {
            client: way.client.address(),
            agent: agent.map(|agent| agent.to_string()),
            address: way.address,
            protocol: protocol_name(way.protocol),
            port: way.port.unwrap_or(0),
            names: names.own.iter().map(ToString::to_string).collect(),
            connections: volume.connections,
            packets: volume.packets,
            bytes: volume.bytes,
        }
    }
}

impl Drop for TrafficTeller {
    fn drop(&mut self) {
        // If it is gone already, there is nothing to stop.
        let _ = self.desk.requests.send(Request::Stop);
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was told when it did.
            let _ = thread.join();
        }
    }
}

struct Reader {
    table: TableName,
    witness: Witness,
    principals: Principals,
    complained: bool,
}

impl Reader {
    fn run(&mut self, queue: &Receiver<Request>) {
        let mut traffic = Traffic::begin(self.counted().unwrap_or_default());
        loop {
            match queue.recv_timeout(RHYTHM) {
                Ok(Request::Tell(reply)) => {
                    let volumes = self.counted();
                    self.tell(&mut traffic, volumes.as_ref());
                    // Whoever asked may have gone.
                    let _ = reply.send(volumes.unwrap_or_default());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let volumes = self.counted();
                    self.tell(&mut traffic, volumes.as_ref());
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    let volumes = self.counted();
                    for _ in 0..LAST_GOES {
                        self.tell(&mut traffic, volumes.as_ref());
                    }
                    return;
                }
            }
        }
    }

    fn tell(&self, traffic: &mut Traffic, volumes: Option<&Volumes>) {
        let Some(volumes) = volumes else { return };
        for (way, Volume { connections, packets, bytes }) in traffic.told(volumes) {
            let (_, clients) = self.principals.of(way.client);
            let names = self.witness.sightings().names(&clients, way.address, MOST_NAMES);
            let hostnames = names.own.iter().map(ToString::to_string).collect();
            let flow = self.principals.flow(way, None);
            self.witness.report(Event::TrafficCounted { flow, hostnames, connections, packets, bytes });
        }
    }

    /// `None` where the kernel cannot be read, which is told once.
    fn counted(&mut self) -> Option<Volumes> {
        match inspect::traffic(&self.table) {
            Ok(volumes) => {
                self.complained = false;
                Some(volumes)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!("what the kernel has counted of traffic cannot be read: {error}");
                }
                None
            }
        }
    }
}
