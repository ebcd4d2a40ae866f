//! Service bindings without their address hints (RFC 9460 section 2.2). The
//! hints would name addresses that nobody opened.

use std::sync::Arc;

const MANDATORY: u16 = 0;
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// The RDATA of an HTTPS or SVCB record without `ipv4hint` and `ipv6hint`;
/// `None` if it is malformed, or calls a hint mandatory, so that a client
/// would refuse the record without it.
pub(super) fn without_hints(rdata: &Arc<[u8]>) -> Option<Arc<[u8]>> {
    let parameters = parameters_offset(rdata)?;
    let (head, mut rest) = rdata.split_at_checked(parameters)?;
    let mut kept = head.to_vec();
    while !rest.is_empty() {
        let (key, after) = split_number(rest)?;
        let (length, after) = split_number(after)?;
        let (value, after) = after.split_at_checked(usize::from(length))?;
        let (whole, _) = rest.split_at_checked(4 + value.len())?;
        if key == MANDATORY && names_a_hint(value)? {
            return None;
        }
        if key != IPV4_HINT && key != IPV6_HINT {
            kept.extend_from_slice(whole);
        }
        rest = after;
    }
    if kept.len() == rdata.len() {
        return Some(Arc::clone(rdata));
    }
    Some(kept.into())
}

/// After the priority and the uncompressed target name.
fn parameters_offset(rdata: &[u8]) -> Option<usize> {
    let mut offset = 2;
    loop {
        let length = *rdata.get(offset)?;
        offset += 1 + usize::from(length);
        match length {
            0 => return Some(offset),
            1..=63 => {}
            64.. => return None,
        }
    }
}

fn names_a_hint(value: &[u8]) -> Option<bool> {
    let mut rest = value;
    while !rest.is_empty() {
        let (key, after) = split_number(rest)?;
        if key == IPV4_HINT || key == IPV6_HINT {
            return Some(true);
        }
        rest = after;
    }
    Some(false)
}

fn split_number(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = octets.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &[u8] = b"\x00\x01\x03web\x07example\x03org\x00";
    const ALPN: &[u8] = b"\x00\x01\x00\x03\x02h2";
    const HINT4: &[u8] = b"\x00\x04\x00\x04\xc6\x33\x64\x01";
    const HINT6: &[u8] = b"\x00\x06\x00\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";

    fn rdata(parts: &[&[u8]]) -> Arc<[u8]> {
        parts.concat().into()
    }

    #[test]
    fn hints_go_and_everything_else_stays() {
        assert_eq!(without_hints(&rdata(&[HEAD, ALPN, HINT4, HINT6])), Some(rdata(&[HEAD, ALPN])));
        assert_eq!(without_hints(&rdata(&[HEAD, ALPN])), Some(rdata(&[HEAD, ALPN])));
        assert_eq!(without_hints(&rdata(&[b"\0\0\0"])), Some(rdata(&[b"\0\0\0"])));
    }

    #[test]
    fn a_record_that_needs_its_hints_goes_as_a_whole() {
        assert_eq!(without_hints(&rdata(&[HEAD, b"\0\0\0\x02\0\x04", ALPN, HINT4])), None);
        assert!(without_hints(&rdata(&[HEAD, b"\0\0\0\x02\0\x01", ALPN, HINT4])).is_some());
    }

    proptest! {
        #[test]
        fn hostile_rdata_never_panics_and_never_grows(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let rdata: Arc<[u8]> = octets.into();
            if let Some(kept) = without_hints(&rdata) {
                prop_assert!(kept.len() <= rdata.len());
                prop_assert_eq!(without_hints(&kept), Some(kept.clone()));
            }
        }
    }
}
