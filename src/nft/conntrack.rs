//! The kernel's table of flows: which ones the wall admitted, and the end of
//! those that are permitted no longer.

mod original;

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload, Nla,
};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

pub use self::original::Originals;
use super::ruleset::audit::AUDITED;
use crate::core::query::{Client, Port, Protocol};

/// The bit of the conntrack mark that says: the wall admitted this flow; as
/// in nft/gateway.nft and nft/sidecar.nft.
const ADMITTED: u32 = 0x1000_0000;
/// `NFNL_SUBSYS_NONE`, where netlink's own messages are, and
/// `NFNL_SUBSYS_CTNETLINK` (linux/netfilter/nfnetlink.h).
const SUBSYSTEMS: [u16; 2] = [0, 1];
/// `CTA_ID`, `CTA_ZONE` and `CTA_MARK_MASK`
/// (linux/netfilter/nfnetlink_conntrack.h).
const ID: u16 = 12;
const ZONE: u16 = 18;
const MARK_MASK: u16 = 21;
/// Room for one datagram of a dump; the kernel fills at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 << 10;

/// A flow that the wall admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who began it.
    pub client: Client,
    /// To where, as the rules saw it.
    pub address: IpAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// To which port.
    pub port: Port,
}

/// Ends every admitted flow that `is_over`, and says how many there were; with
/// `strays`, also those that are neither TCP nor UDP, which no lease admits.
///
/// Only the kernel's memory of the flow goes: its next packet is judged as one
/// that belongs to no flow.
///
/// # Errors
/// When the table cannot be read, or a flow cannot be taken out of it.
pub fn cut(is_over: impl Fn(&Flow) -> bool, strays: bool) -> io::Result<usize> {
    cut_entries(|flows| (flows.is_empty() && strays) || flows.iter().any(&is_over))
}

/// Ends every admitted TCP and UDP flow that is not explained, neither as the
/// client sent it nor as it went out where its destination is translated; with
/// `strays`, also those that are neither.
///
/// # Errors
/// As [`cut`].
pub fn cut_unless(is_explained: impl Fn(&Flow) -> bool, strays: bool) -> io::Result<usize> {
    cut_entries(|flows| (strays || !flows.is_empty()) && !flows.iter().any(&is_explained))
}

/// Ends every flow that audit mode alone let through, and says how many there
/// were. Without its rules none of them gets any further; but the next try from
/// the same port would be taken for one of them.
///
/// # Errors
/// As [`cut`].
pub fn end_audited() -> io::Result<usize> {
    cut_marked(AUDITED, AUDITED | ADMITTED, |_| true)
}

fn cut_entries(is_over: impl Fn(&[Flow]) -> bool) -> io::Result<usize> {
    cut_marked(ADMITTED, ADMITTED, is_over)
}

/// Ends the flows that are over among those with this `mark` under this `mask`.
fn cut_marked(mark: u32, mask: u32, is_over: impl Fn(&[Flow]) -> bool) -> io::Result<usize> {
    let mut table = Table::open()?;
    let mut cut = 0;
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        for entry in table.marked(family, mark, mask)? {
            if is_over(&entry.flows) && table.delete(family, entry.name)? {
                cut += 1;
            }
        }
    }
    Ok(cut)
}

/// A connection to the table of flows.
struct Table {
    socket: Socket,
    sequence: u32,
}

/// One entry of the table.
struct Entry {
    /// What the kernel calls it by: its original tuple, its id, its zone.
    name: Vec<ConntrackAttribute>,
    /// The flow as the client sent it and, where its destination is
    /// translated, as it went out: the rules may have seen either. None if it
    /// is neither TCP nor UDP.
    flows: Vec<Flow>,
}

impl Table {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Every entry of `family` with this `mark` under this `mask`.
    fn marked(&mut self, family: NetfilterProtoFamily, mark: u32, mask: u32) -> io::Result<Vec<Entry>> {
        let filter = vec![
            ConntrackAttribute::CtaMark(mark),
            ConntrackAttribute::Other(DefaultNla::new(MARK_MASK, mask.to_be_bytes().to_vec())),
        ];
        self.send(family, ConntrackMessage::Get(filter), NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut entries = Vec::new();
        loop {
            for payload in self.receive()? {
                match payload {
                    NetlinkPayload::Done(_) => return Ok(entries),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    payload => entries.extend(entry(payload, mark, mask)),
                }
            }
        }
    }

    /// Takes an entry out; whether it was still there.
    fn delete(&mut self, family: NetfilterProtoFamily, name: Vec<ConntrackAttribute>) -> io::Result<bool> {
        self.send(family, ConntrackMessage::Delete(name), NLM_F_REQUEST | NLM_F_ACK)?;
        loop {
            for payload in self.receive()? {
                let NetlinkPayload::Error(reply) = payload else { continue };
                let error = reply.to_io();
                return match (reply.code, error.raw_os_error()) {
                    (None, _) => Ok(true),
                    // It ended by itself meanwhile.
                    (_, Some(nix::libc::ENOENT)) => Ok(false),
                    _ => Err(error),
                };
            }
        }
    }

    fn send(&mut self, family: NetfilterProtoFamily, message: ConntrackMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let header = NetfilterHeader::new(family, 0, 0);
        let mut message = NetlinkMessage::from(NetfilterMessage::new(header, message));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.socket.send(&octets, 0).map(drop)
    }

    /// The messages of the next datagram that belong to the last request.
    fn receive(&self) -> io::Result<Vec<NetlinkPayload<NetfilterMessage>>> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        // The kernel answers inside `sendmsg` and, for a dump, inside this:
        // where nothing waits, nothing will come.
        self.socket.recv(&mut buffer, nix::libc::MSG_DONTWAIT)?;
        let messages = messages(&buffer)?.into_iter();
        let ours = messages.filter(|message| message.header.sequence_number == self.sequence);
        Ok(ours.map(|message| message.payload).collect())
    }
}

/// The admitted flows that a datagram of the kernel's tells, each as the
/// client sent it and as it went out.
///
/// # Errors
/// When a message in it cannot be read.
pub fn flows_in(datagram: &[u8]) -> io::Result<Vec<Flow>> {
    let entries = messages(datagram)?.into_iter().filter_map(|message| entry(message.payload, ADMITTED, ADMITTED));
    Ok(entries.flat_map(|entry| entry.flows).collect())
}

/// Every message of a datagram that is about flows or the request itself;
/// others are not looked into, as the decoder panics at some of their contents.
/// One that cannot be read is no reason to overlook the others in silence.
fn messages(datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<NetfilterMessage>>> {
    let mut rest = datagram;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX - 3).next_multiple_of(4);
        if SUBSYSTEMS.contains(&(message.message_type() >> 8)) {
            messages.push(NetlinkMessage::deserialize(rest).map_err(io::Error::other)?);
        }
        match rest.get(length..) {
            Some(next) if length > 0 => rest = next,
            _ => break,
        }
    }
    Ok(messages)
}

/// The entry that a message tells, if it tells one with this mark.
fn entry(payload: NetlinkPayload<NetfilterMessage>, mark: u32, mask: u32) -> Option<Entry> {
    match payload {
        NetlinkPayload::InnerMessage(NetfilterMessage {
            inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
            ..
        }) => Entry::of(attributes, mark, mask),
        _ => None,
    }
}

impl Entry {
    /// The entry of these attributes, if it has this mark.
    fn of(attributes: Vec<ConntrackAttribute>, wanted: u32, mask: u32) -> Option<Self> {
        let (mut there, mut back, mut is_marked) = (None, None, false);
        for attribute in &attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => there = Ends::of(tuple),
                ConntrackAttribute::CtaTupleReply(tuple) => back = Ends::of(tuple),
                ConntrackAttribute::CtaMark(mark) => is_marked = mark & mask == wanted,
                _ => {}
            }
        }
        if !is_marked {
            return None;
        }
        let flows = there.zip(back).map_or_else(Vec::new, |(there, back): (Ends, Ends)| {
            let client = Client::new(there.source);
            let protocol = there.protocol;
            let sent = Flow { client, address: there.destination, protocol, port: there.destination_port };
            let translated = Flow { client, address: back.source, protocol, port: back.source_port };
            vec![sent, translated]
        });
        let is_name = |attribute: &ConntrackAttribute| match attribute {
            ConntrackAttribute::CtaTupleOrig(_) => true,
            ConntrackAttribute::Other(other) => [ID, ZONE].contains(&other.kind()),
            _ => false,
        };
        Some(Self { name: attributes.into_iter().filter(is_name).collect(), flows })
    }
}

/// One direction of a flow.
struct Ends {
    source: IpAddr,
    source_port: Port,
    destination: IpAddr,
    destination_port: Port,
    protocol: Protocol,
}

impl Ends {
    fn of(tuple: &[Tuple]) -> Option<Self> {
        let (mut source, mut destination, mut protocol, mut ports) = (None, None, None, (None, None));
        for part in tuple {
            match part {
                Tuple::Ip(addresses) => {
                    for address in addresses {
                        match address {
                            IPTuple::SourceAddress(address) => source = Some(*address),
                            IPTuple::DestinationAddress(address) => destination = Some(*address),
                            _ => {}
                        }
                    }
                }
                Tuple::Proto(parts) => {
                    for part in parts {
                        match part {
                            ProtoTuple::Protocol(number) => {
                                protocol = Protocol::ALL.into_iter().find(|known| known.number() == u8::from(*number));
                            }
                            ProtoTuple::SourcePort(port) => ports.0 = Port::new(*port),
                            ProtoTuple::DestinationPort(port) => ports.1 = Port::new(*port),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self {
            source: source?,
            source_port: ports.0?,
            destination: destination?,
            destination_port: ports.1?,
            protocol: protocol?,
        })
    }
}
