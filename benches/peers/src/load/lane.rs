//! One socket of the generator.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::flight::Flights;
use super::{Questions, Tally};
use crate::batch::{Batch, ROOM, peer, socket};
use crate::lab::CLIENTS;
use crate::{message, names};

/// After so long a question is lost.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Nanoseconds since the first call.
pub fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A connected socket and what is in flight on it.
pub struct Lane {
    /// For poll(2).
    pub socket: UdpSocket,
    flights: Flights,
    incoming: Batch,
    out: Batch,
    sources: Option<Sources>,
}

/// The addresses that a lane asks from in turn, and where.
#[derive(Clone, Copy)]
pub struct Sources {
    /// How many, from [`CLIENTS`] on.
    pub count: u32,
    /// The server.
    pub to: SocketAddrV4,
}

impl Lane {
    /// A socket of its own, with so many places.
    pub fn open(to: SocketAddrV4, places: usize, clients: u32) -> io::Result<Self> {
        let socket = socket(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let sources = (clients > 1).then_some(Sources { count: clients, to });
        if sources.is_none() {
            socket.connect(to)?;
        }
        let (incoming, out) = (Batch::new(128), Batch::new(128));
        Ok(Self { socket, flights: Flights::new(places), incoming, out, sources })
    }

    /// How many questions can be in flight.
    pub fn places(&self) -> usize {
        self.flights.places()
    }

    /// Whether nothing more can be asked now.
    pub fn is_full(&self) -> bool {
        self.flights.is_full()
    }

    /// Takes all answers that are there; returns how many.
    pub fn receive(&mut self, questions: &Questions, tally: &mut Tally) -> io::Result<usize> {
        let mut all = 0;
        loop {
            let received = self.incoming.receive(&self.socket, false)?;
            let at = now();
            for index in 0..received {
                let answer = self.incoming.datagram(index);
                let Some(flight) = message::id(answer).and_then(|id| self.flights.end(id)) else {
                    tally.late += 1;
                    continue;
                };
                let name = names::wire(questions.domain, flight.number);
                match message::check(answer, &name, questions.expected(&name)) {
                    Ok(()) => {
                        tally.answered += 1;
                        tally.sample.see(flight.number);
                        tally.latency.saturating_record(at.saturating_sub(flight.since));
                    }
                    Err(what) => {
                        tally.wrong += 1;
                        tally.wrong_example.get_or_insert(what);
                    }
                }
            }
            all += received;
            if received < self.incoming.capacity() {
                return Ok(all);
            }
        }
    }

    /// Asks until every place is taken.
    pub fn fill(&mut self, questions: &mut Questions) -> io::Result<()> {
        let at = now();
        while !self.flights.is_full() {
            self.ask(questions, at)?;
        }
        self.flush()
    }

    /// Asks the next question; it was due at `since`.
    pub fn ask(&mut self, questions: &mut Questions, since: u64) -> io::Result<()> {
        let number = questions.next();
        if let Some(id) = self.flights.begin(number, since) {
            let name = names::wire(questions.domain, number);
            let write = |buffer: &mut [u8; ROOM]| message::write_query(buffer, id, &name);
            match self.sources {
                None => self.out.push(None, write),
                Some(Sources { count, to }) => {
                    self.out.push(Some(peer(to)), write);
                    self.out.from(Ipv4Addr::from(u32::from(CLIENTS) + questions.turn() % count));
                }
            }
            if self.out.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sends what was asked.
    pub fn flush(&mut self) -> io::Result<()> {
        // From many addresses each goes by itself.
        if self.sources.is_some() { self.out.send(&self.socket) } else { self.out.send_as_one(&self.socket) }
    }

    /// Gives up what has waited too long.
    pub fn give_up(&mut self, tally: &mut Tally) {
        tally.lost += self.flights.give_up(now().saturating_sub(PATIENCE.as_nanos() as u64));
    }
}
