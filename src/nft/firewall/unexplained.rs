//! Flows that were admitted and that nothing explains: by a wall before this
//! one, or by rules that somebody else had added.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::super::conntrack::{self, Flow};
use super::super::source;
use super::keeper::Keeper;
use crate::core::config::{Mode, Upstream};

/// Whose flows have to be explained.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    /// The clients; in sidecar mode also whoever is in this namespace. Walls
    /// of others on this host mark their flows with the same bit.
    pub clients: BTreeSet<IpAddr>,
    /// Where only the daemon itself connects to, in sidecar mode.
    pub upstream: Vec<Upstream>,
}

impl Keeper {
    /// Ends every flow of the suspects that no lease explains, be it one that
    /// has run out, and no address that the policy names; says how many.
    pub(super) fn end_unexplained(&mut self, mut suspects: Suspects) -> usize {
        if matches!(self.setup.mode, Mode::Sidecar { .. }) {
            suspects.clients.extend(source::own().unwrap_or_default());
        }
        self.ours = suspects;
        self.looks_again = true;
        self.cut_unexplained(false).unwrap_or_else(|error| {
            tracing::error!("flows of unknown origin go on until the kernel's table of flows answers: {error}");
            0
        })
    }

    /// What was between the former rules and the table of flows when that was
    /// looked at is in the table by now.
    pub(super) fn look_again(&mut self) {
        match self.cut_unexplained(false) {
            Ok(0) => {}
            Ok(ended) => tracing::info!("{ended} flows of unknown origin were ended"),
            Err(error) => {
                tracing::debug!("the kernel's table of flows: {error}");
                self.looks_again = true;
            }
        }
    }

    /// With `strays`, also those that are neither TCP nor UDP, which no lease
    /// admits.
    pub(super) fn cut_unexplained(&self, strays: bool) -> io::Result<usize> {
        let (now, suspects) = (self.now(), &self.ours);
        let is_sidecar = matches!(self.setup.mode, Mode::Sidecar { .. });
        let is_explained = |flow: &Flow| {
            let Flow { client, address, protocol, port } = *flow;
            let is_ours = |server: &Upstream| (server.address.ip(), server.address.port()) == (address, port.number());
            !suspects.clients.contains(&client.address())
                || (is_sidecar && suspects.upstream.iter().any(is_ours))
                || self.permits(flow, now)
                || self.ledger.remembers(client, address, protocol, port)
        };
        conntrack::cut_unless(is_explained, strays)
    }
}
