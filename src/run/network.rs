//! The host's side of the run's network: link, address, forwarding,
//! translation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use serde::de::DeserializeOwned;

use super::forwarding::{Family, Ipv6, Switch};
use super::janitor::{Janitor, Undo};
use super::plan::{self, Addresses, Id, Route};
use super::process::{ip, nft};
use super::{Error, forwarding};

/// The link's name in the command's namespace.
pub(super) const INNER_LINK: &str = "eth0";

/// Links the namespace of process `init` to the host, by addresses outside our
/// own networks and those `taken` elsewhere.
pub(super) fn connect(id: Id, init: i32, taken: &[Ipv4Net], janitor: &mut Janitor) -> Result<Addresses, Error> {
    let link = id.link();
    let taken = [taken, &plan::taken(&routes("-4")?)].concat();
    let mut addresses = Addresses::choose(&taken, id.0).ok_or(Error::NoSubnet)?;
    let reaches_ipv6 = routes("-6").is_ok_and(|routes| routes.iter().any(Route::leads_everywhere));
    if reaches_ipv6 && !matches!(Ipv6::here(), Ipv6::Never) {
        addresses.add_ipv6(rand::random());
    }

    janitor.will(&Undo::Link(link.clone()))?;
    let namespace = init.to_string();
    ip(&["link", "add", "name", &link, "type", "veth", "peer", "name", INNER_LINK, "netns", &namespace])?;
    furnish(&link, addresses.wall, addresses.wall6())?;
    Ok(addresses)
}

/// Gives one end of the link its addresses and brings it up; used on both
/// sides.
pub(super) fn furnish(link: &str, ipv4: std::net::Ipv4Addr, ipv6: Option<std::net::Ipv6Addr>) -> Result<(), Error> {
    // Without an address, IPv6 is off: programs do not even try. With one,
    // nobody else is on the link, and looking for duplicates takes seconds.
    let (switch, value) = if ipv6.is_some() { ("accept_dad", "0") } else { ("disable_ipv6", "1") };
    let path = format!("/proc/sys/net/ipv6/conf/{link}/{switch}");
    if Path::new(&path).exists() {
        fs::write(&path, value).map_err(Error::io(format!("cannot write {path}")))?;
    }
    ip(&["address", "add", &format!("{ipv4}/30"), "dev", link])?;
    if let Some(ipv6) = ipv6 {
        ip(&["address", "add", &format!("{ipv6}/64"), "dev", link])?;
    }
    ip(&["link", "set", "dev", link, "up"]).map(drop)
}

/// Lets the client's packets out and their replies back in, once the wall
/// stands.
pub(super) fn open_the_road(
    id: Id,
    addresses: Addresses,
    allow_ranges: &[IpNet],
    janitor: &mut Janitor,
) -> Result<(), Error> {
    let mut switches: BTreeSet<(Family, String)> = BTreeSet::new();
    let uplinks = plan::uplinks(&routes("-4")?, allow_ranges);
    switches.extend(uplinks.into_iter().map(|uplink| (Family::Ipv4, uplink)));
    if addresses.client6().is_some() && matches!(Ipv6::here(), Ipv6::Switchable) {
        let uplinks = plan::uplinks(&routes("-6")?, allow_ranges);
        switches.extend(uplinks.into_iter().map(|uplink| (Family::Ipv6, uplink)));
    }

    // The rules that keep strangers out come before the switch that lets them
    // in, so they are made for every uplink that is still off.
    let mut newly_forwarding = BTreeSet::new();
    for (family, uplink) in &switches {
        if Switch::of(*family, uplink).is_off_or_ours()? {
            newly_forwarding.insert((*family, uplink.clone()));
        }
    }
    janitor.will(&Undo::Table(id.nat_table()))?;
    nft(&plan::nat_rules(id, addresses, &newly_forwarding))?;

    janitor.will(&Undo::Forwarding)?;
    for (family, uplink) in &switches {
        forwarding::need(&Switch::of(*family, uplink), janitor.process())?;
    }
    Switch::of(Family::Ipv4, &id.link()).turn_on()?;
    if addresses.client6().is_some() && matches!(Ipv6::here(), Ipv6::Switchable) {
        Switch::of(Family::Ipv6, &id.link()).turn_on()?;
    }
    Ok(())
}

/// The routes of our own network namespace; `family` is `-4` or `-6`.
pub(super) fn routes(family: &str) -> Result<Vec<Route>, Error> {
    listed(&[family, "-json", "route", "show", "table", "all"])
}

/// What `ip -json` prints.
pub(super) fn listed<T: DeserializeOwned>(arguments: &[&str]) -> Result<T, Error> {
    let said = |error: serde_json::Error| Error::Tool {
        command: format!("ip {}", arguments.join(" ")),
        output: error.to_string(),
    };
    serde_json::from_str(&ip(arguments)?).map_err(said)
}
