//! What is different where the workload shares the daemon's network namespace.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::source;
use super::keeper::Keeper;
use crate::core::config::Mode;
use crate::core::lease::{Grant, StaticGrant, Statics, Wanted};
use crate::core::query::Client;

impl Keeper {
    /// In sidecar mode a query comes from loopback, and the connection that
    /// follows from whichever of our addresses the route chooses.
    pub(super) fn seen_from_here(&self, mut wanted: Wanted) -> Wanted {
        if matches!(self.setup.mode, Mode::Sidecar { .. }) {
            for grant in &mut wanted.grants {
                grant.client = source_of(grant);
            }
        }
        wanted
    }

    /// In sidecar mode whoever is in this network namespace is the client,
    /// from whichever of our addresses.
    pub(super) fn statics_from_here(&mut self) -> Vec<Statics> {
        if !matches!(self.setup.mode, Mode::Sidecar { .. }) {
            return self.wanted.clone();
        }
        self.own = self.own_addresses();
        let from_here = |grant: &StaticGrant| {
            let grant = *grant;
            let own = self.own.iter().map(|address| Client::new(*address));
            own.filter(move |own| own.reaches(grant.first)).map(move |client| StaticGrant { client, ..grant })
        };
        let statics = self.wanted.iter();
        statics
            .map(|statics| Statics { grants: statics.grants.iter().flat_map(from_here).collect(), ..statics.clone() })
            .collect()
    }

    pub(super) fn own_addresses(&self) -> BTreeSet<IpAddr> {
        match self.setup.mode {
            Mode::Gateway { .. } => BTreeSet::new(),
            Mode::Sidecar { .. } => source::own().unwrap_or_default(),
        }
    }
}

fn source_of(grant: &Grant) -> Client {
    let loopback = || match grant.address {
        IpAddr::V4(_) => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    };
    Client::new(source::towards(grant.address).unwrap_or_else(|_| loopback()))
}
