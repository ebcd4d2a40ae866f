//! Netlink messages of the netfilter family, read from their octets
//! (linux/netlink.h, linux/netfilter/nfnetlink.h), and the few that are written
//! here. Pure: anything may be thrown at it.

use netlink_packet_core::NlasIterator;
use thiserror::Error;

/// Lengths of `struct nlmsghdr` and `struct nfgenmsg`.
const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;

/// `NLMSG_ERROR` and `NLMSG_DONE` as [`Message::kind`] of subsystem 0.
pub(super) const ERROR: u8 = 2;
pub(super) const DONE: u8 = 3;

/// A datagram that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message of the kernel cannot be read")]
pub struct Unreadable;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `NFNL_SUBSYS_*`; 0 for netlink's own messages.
    pub(super) subsystem: u8,
    /// The kind of message within the subsystem.
    pub(super) kind: u8,
    /// `NLM_F_*`
    pub(super) flags: u16,
    /// `NFPROTO_*`; 0 for netlink's own messages.
    pub(super) family: u8,
    /// What follows the headers: attributes, or what netlink itself says.
    pub(super) attributes: &'a [u8],
}

/// The messages of a datagram.
pub(super) fn messages(datagram: &[u8]) -> Result<Vec<Message<'_>>, Unreadable> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = rest.first_chunk().map(|octets| u32::from_ne_bytes(*octets)).ok_or(Unreadable)?;
        let length = usize::try_from(length).map_err(|_| Unreadable)?;
        messages.push(message(rest.get(..length).ok_or(Unreadable)?)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

fn message(octets: &[u8]) -> Result<Message<'_>, Unreadable> {
    let (header, body) = octets.split_at_checked(NETLINK_HEADER).ok_or(Unreadable)?;
    let half = |at: usize| header.get(at..at + 2).and_then(|octets| octets.first_chunk()).ok_or(Unreadable);
    let [kind, subsystem] = u16::from_ne_bytes(*half(4)?).to_le_bytes();
    let flags = u16::from_ne_bytes(*half(6)?);
    if subsystem == 0 {
        return Ok(Message { subsystem, kind, flags, family: 0, attributes: body });
    }
    let (netfilter, attributes) = body.split_at_checked(NETFILTER_HEADER).ok_or(Unreadable)?;
    let family = *netfilter.first().ok_or(Unreadable)?;
    Ok(Message { subsystem, kind, flags, family, attributes })
}

/// The value of the first attribute of this kind.
pub(super) fn attribute(attributes: &[u8], wanted: u16) -> Result<Option<&[u8]>, Unreadable> {
    Ok(each(attributes)?.into_iter().find_map(|(kind, value)| (kind == wanted).then_some(value)))
}

/// Every attribute: its kind and its value.
pub(super) fn each(attributes: &[u8]) -> Result<Vec<(u16, &[u8])>, Unreadable> {
    let read = NlasIterator::new(attributes).map(|attribute| {
        let attribute = attribute.map_err(|_| Unreadable)?;
        let (kind, octets) = (attribute.kind(), usize::from(attribute.length()));
        Ok((kind, attribute.into_inner().get(4..octets).ok_or(Unreadable)?))
    });
    read.collect()
}

/// A name as the kernel writes it: with a NUL at its end.
pub(super) fn text(octets: Option<&[u8]>) -> Result<&str, Unreadable> {
    let octets = octets.and_then(|octets| octets.strip_suffix(&[0])).ok_or(Unreadable)?;
    std::str::from_utf8(octets).map_err(|_| Unreadable)
}

/// A request: headers, and these attributes.
pub(super) fn request(subsystem: u8, kind: u8, flags: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(NETLINK_HEADER + body.len()).unwrap_or(u32::MAX);
    let mut octets = Vec::with_capacity(NETLINK_HEADER + body.len());
    octets.extend(length.to_ne_bytes());
    octets.extend(u16::from_le_bytes([kind, subsystem]).to_ne_bytes());
    octets.extend(flags.to_ne_bytes());
    // Sequence number and port: the kernel fills in the latter.
    octets.extend(1_u32.to_ne_bytes());
    octets.extend(0_u32.to_ne_bytes());
    octets.extend(body);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let octets = request(10, 19, 0x301, 1, &[(1, b"cedarwall\0".to_vec()), (3, 1_u32.to_be_bytes().to_vec())]);
        let read = messages(&octets).unwrap();
        let [message] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!((message.subsystem, message.kind, message.flags, message.family), (10, 19, 0x301, 1));
        assert_eq!(text(attribute(message.attributes, 1).unwrap()), Ok("cedarwall"));
        assert_eq!(attribute(message.attributes, 3), Ok(Some([0, 0, 0, 1].as_slice())));
        assert_eq!(attribute(message.attributes, 2), Ok(None));
        for length in 1..octets.len() {
            assert_eq!(messages(&octets[..length]), Err(Unreadable), "{length} octets");
        }
    }
}
