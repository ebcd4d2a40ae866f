//! Where a client had sent what the rules sent on to the wall.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use super::{Ends as Way, Table};
use crate::core::process::Ends;

/// Asks the kernel about translated flows, over one connection.
#[derive(Default)]
pub struct Originals(Mutex<Option<Table>>);

impl Originals {
    /// Both ends as the client has them of a flow that has these ends here;
    /// `None` if the kernel knows of no such flow. The client's port may be
    /// another one, too, where it sends to two places from the same.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of(&self, ends: Ends) -> io::Result<Option<Ends>> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = match connection.take() {
            Some(table) => table,
            None => Table::open()?,
        };
        let original = table.original(ends)?;
        // After an error the next question gets a connection of its own.
        *connection = Some(table);
        Ok(original)
    }
}

impl Table {
    fn original(&mut self, ends: Ends) -> io::Result<Option<Ends>> {
        let family = if ends.client.is_ipv4() { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
        let reply = ConntrackAttribute::CtaTupleReply(tuple(ends));
        self.send(family, ConntrackMessage::Get(vec![reply]), NLM_F_REQUEST)?;
        loop {
            for payload in self.receive()? {
                match payload {
                    NetlinkPayload::Error(error) => {
                        let error = error.to_io();
                        return if error.raw_os_error() == Some(nix::libc::ENOENT) { Ok(None) } else { Err(error) };
                    }
                    payload => {
                        if let Some(original) = original_in(payload) {
                            return Ok(Some(original));
                        }
                    }
                }
            }
        }
    }
}

/// The direction from us to the client.
fn tuple(ends: Ends) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![IPTuple::SourceAddress(ends.server.ip()), IPTuple::DestinationAddress(ends.client.ip())]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(ends.protocol.number().into()),
            ProtoTuple::SourcePort(ends.server.port()),
            ProtoTuple::DestinationPort(ends.client.port()),
        ]),
    ]
}

fn original_in(payload: NetlinkPayload<NetfilterMessage>) -> Option<Ends> {
    let NetlinkPayload::InnerMessage(NetfilterMessage {
        inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
        ..
    }) = payload
    else {
        return None;
    };
    let way = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuple) => Way::of(tuple),
        _ => None,
    })?;
    let client = SocketAddr::new(way.source, way.source_port.number());
    Some(Ends::new(way.protocol, client, SocketAddr::new(way.destination, way.destination_port.number())))
}
