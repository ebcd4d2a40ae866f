//! What the kernel says: sets and counters, read through `nft`.

use serde_json::Value;

use super::Error;
use super::stage::{OPEN_DNS, Place, TELEMETRY, finish};

/// Counts, in the internet's own kernel, every packet of any kind that
/// arrives for the telemetry host or the open DNS server.
pub(super) fn count_arrivals() -> Result<(), Error> {
    let rules = format!(
        "table inet seen {{
            counter telemetry {{
            }}
            counter dns {{
            }}
            chain arriving {{
                type filter hook prerouting priority raw; policy accept;
                ip daddr {} counter name telemetry
                ip6 daddr {} counter name telemetry
                ip daddr {} counter name dns
                ip6 daddr {} counter name dns
            }}
        }}",
        TELEMETRY.ipv4, TELEMETRY.ipv6, OPEN_DNS.ipv4, OPEN_DNS.ipv6
    );
    finish(Place::Internet.command("nft").arg(rules)).map(drop)
}

/// Packets that have arrived at the telemetry host and the open DNS server.
pub(super) fn arrivals() -> Result<u64, Error> {
    Ok(counter(Place::Internet, "seen", "telemetry")?.saturating_add(counter(Place::Internet, "seen", "dns")?))
}

/// Packets a named counter has counted.
pub(super) fn counter(place: Place, table: &str, name: &str) -> Result<u64, Error> {
    let text = finish(place.command("nft").args(["-j", "list", "counter", "inet", table, name]))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    let objects = value.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let mut packets = objects.filter_map(|object| object.get("counter")?.get("packets")?.as_u64());
    packets.next().ok_or_else(|| Error::Part(format!("nft shows no counter {name}")))
}

/// `nft list set inet cedarwall lease4`, one element a line.
pub(super) fn lease_set() -> Result<Vec<String>, Error> {
    let text = finish(Place::Wall.command("nft").args(["list", "set", "inet", "cedarwall", "lease4"]))?;
    Ok(elements(&text))
}

fn elements(listing: &str) -> Vec<String> {
    let Some((_, rest)) = listing.split_once("elements = {") else { return Vec::new() };
    let inside = rest.split('}').next().unwrap_or_default();
    inside.split(',').map(|element| element.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::Part(format!("cannot read what nft says: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_element_by_element() {
        let listing = "table inet cedarwall {\n\tset lease4 {\n\t\ttype ipv4_addr . ipv4_addr . inet_proto . inet_service\n\t\telements = { 10.77.0.2 . 203.0.113.20 . tcp . 443 timeout 1m15s expires 1m14s comment \"registry.example.com\",\n\t\t\t     10.77.0.2 . 203.0.113.10 . tcp . 443 timeout 1m15s }\n\t}\n}\n";
        assert_eq!(
            elements(listing),
            [
                "10.77.0.2 . 203.0.113.20 . tcp . 443 timeout 1m15s expires 1m14s comment \"registry.example.com\"",
                "10.77.0.2 . 203.0.113.10 . tcp . 443 timeout 1m15s"
            ]
        );
    }

    #[test]
    fn an_empty_set_has_no_elements() {
        assert!(elements("table inet cedarwall {\n\tset lease4 {\n\t\tsize 65536\n\t}\n}\n").is_empty());
    }
}
