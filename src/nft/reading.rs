//! Elements that the kernel lists, back in the words of the ledgers.

use super::element::{COMMENT, NAMED_BY_POLICY};
use super::listing::Listed;
use super::place::Place;
use crate::core::lease::{Key, StaticGrant};

/// The lease that an element of the set called `set` is; `None` if the ledger
/// would never make it so.
pub(super) fn lease(set: &str, listed: &Listed) -> Option<Key> {
    if listed.flags != 0 || listed.left.is_none() {
        return None;
    }
    place(set, listed)?.lease()
}

/// The addresses that an element of `static4` or `static6` opens; `None` if
/// the ledger would never make it so.
pub(super) fn grant(set: &str, listed: &Listed) -> Option<StaticGrant> {
    if listed.flags != 0 || comment(listed) != Some(NAMED_BY_POLICY) {
        return None;
    }
    place(set, listed)?.static_grant()
}

fn place(set: &str, listed: &Listed) -> Option<Place> {
    Place::told(set, listed.key.clone(), listed.end.clone())
}

/// The comment beside an element, if it has one.
pub(super) fn comment(listed: &Listed) -> Option<&str> {
    // Type, length, text, NUL, as often as there is something to tell.
    let mut rest = listed.user_data.as_slice();
    while let [kind, length, following @ ..] = rest {
        let (value, next) = following.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return std::str::from_utf8(value.strip_suffix(&[0])?).ok();
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::element::{set_of, user_data};
    use super::*;
    use crate::core::lease::Ports;
    use crate::core::query::{Client, Port, PortRange, Protocol};

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn listed(place: &Place, comment: &str) -> Listed {
        let (key, end) = (place.key().to_vec(), place.end().map(<[u8]>::to_vec));
        Listed { key, end, left: Some(Duration::from_secs(9)), user_data: user_data(comment), flags: 0 }
    }

    #[test]
    fn what_is_written_is_read() {
        let run = PortRange::new(port(1000), port(2000)).unwrap();
        for (client, address) in [("10.0.0.2", "198.51.100.7"), ("fd00::2", "2001:db8::7")] {
            let (client, address) = (Client::new(client.parse().unwrap()), address.parse().unwrap());
            for protocol in Protocol::ALL {
                for ports in [Ports::One(port(443)), Ports::All, Ports::Run(run)] {
                    let key = Key { client, address, protocol, ports };
                    let listed = listed(&Place::of_lease(&key), "a.example.com");
                    assert_eq!(lease(set_of(&key), &listed), Some(key));
                    assert_eq!(comment(&listed), Some("a.example.com"));
                }
                let named = StaticGrant { client, first: address, last: address, protocol, ports: run };
                let place = Place::of_static(&named);
                assert_eq!(grant(place.set(), &listed(&place, NAMED_BY_POLICY)), Some(named));
            }
        }
    }

    #[test]
    fn what_the_ledger_would_never_write_is_not_read() {
        let client = Client::new("10.0.0.2".parse().unwrap());
        let address = "198.51.100.7".parse().unwrap();
        let key = Key { client, address, protocol: Protocol::Tcp, ports: Ports::One(port(443)) };
        let good = listed(&Place::of_lease(&key), "a.example.com");
        let spoilt = |spoil: fn(&mut Listed)| {
            let mut listed = good.clone();
            spoil(&mut listed);
            lease("lease4", &listed)
        };
        assert!(spoilt(|_| {}).is_some());
        assert_eq!(spoilt(|listed| listed.left = None), None, "it would stay for ever");
        assert_eq!(spoilt(|listed| listed.flags = 2), None, "a catch-all");
        assert_eq!(spoilt(|listed| listed.key.clear()), None);
        assert_eq!(spoilt(|listed| listed.key[8] = 132), None, "SCTP");
        assert_eq!(spoilt(|listed| listed.key[12..14].fill(0)), None, "port 0");
        assert_eq!(lease("lease6", &good), None);
        assert_eq!(lease("lease4_all_ports", &good), None);
        assert_eq!(grant("static4", &good), None, "no policy named it");
        for user_data in [&[][..], &[0], &[0, 200, b'x'], &[0, 1, b'x'], &[1, 2, b'x', 0]] {
            assert_eq!(comment(&Listed { user_data: user_data.to_vec(), ..good.clone() }), None, "{user_data:?}");
        }
    }
}
