//! The host's side of the run's network: link, address, forwarding,
//! translation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ipnet::IpNet;

use super::janitor::{Janitor, Undo};
use super::plan::{self, Addresses, Id, Route};
use super::process::{ip, nft};
use super::{Error, forwarding};

/// The link's name in the command's namespace.
pub(super) const INNER_LINK: &str = "eth0";

/// Links the namespace of process `init` to the host.
pub(super) fn connect(id: Id, init: i32, janitor: &mut Janitor, seed: u16) -> Result<Addresses, Error> {
    let link = id.link();
    let routes = routes()?;
    let addresses = Addresses::choose(&plan::taken(&routes), seed).ok_or(Error::NoSubnet)?;

    janitor.will(&Undo::Link(link.clone()))?;
    let namespace = init.to_string();
    ip(&["link", "add", "name", &link, "type", "veth", "peer", "name", INNER_LINK, "netns", &namespace])?;
    let ipv6_off = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    if Path::new(&ipv6_off).exists() {
        fs::write(&ipv6_off, "1").map_err(Error::io(format!("cannot write {ipv6_off}")))?;
    }
    ip(&["address", "add", &format!("{}/30", addresses.wall), "dev", &link])?;
    ip(&["link", "set", "dev", &link, "up"])?;
    Ok(addresses)
}

/// Lets the client's packets out and their replies back in, once the wall
/// stands.
pub(super) fn open_the_road(
    id: Id,
    addresses: Addresses,
    allow_ranges: &[IpNet],
    janitor: &mut Janitor,
) -> Result<(), Error> {
    janitor.will(&Undo::Forwarding)?;
    let mut newly_forwarding = BTreeSet::new();
    let uplinks = plan::uplinks(&routes()?, allow_ranges);

    // The rules that keep strangers out come before the switch that lets them
    // in, so they are made for every uplink that is still off.
    for uplink in &uplinks {
        if forwarding::is_off_or_ours(uplink)? {
            newly_forwarding.insert(uplink.clone());
        }
    }
    janitor.will(&Undo::Table(id.nat_table()))?;
    nft(&plan::nat_rules(id, addresses, &newly_forwarding))?;

    for uplink in &uplinks {
        forwarding::need(uplink, janitor.process())?;
    }
    forwarding::write(&id.link(), "1")
}

fn routes() -> Result<Vec<Route>, Error> {
    let text = ip(&["-4", "-json", "route", "show", "table", "all"])?;
    serde_json::from_str(&text)
        .map_err(|error| Error::Tool { command: "ip -json route".to_owned(), output: error.to_string() })
}
