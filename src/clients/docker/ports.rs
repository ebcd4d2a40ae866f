//! Which port of a bridge leads into which network namespace: the host's end
//! of each virtual link, as rtnetlink(7) tells of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket};

use crate::core::config::InterfaceName;

/// Room for one datagram of a dump; the kernel fills at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 << 10;
/// `RTMGRP_LINK` (linux/rtnetlink.h).
const LINK_CHANGES: u32 = 1;
/// The kernel answers a question inside `sendmsg`.
const DO_NOT_WAIT: i32 = nix::libc::MSG_DONTWAIT;

/// The host's links at one moment.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<Link>);

#[derive(Debug)]
struct Link {
    index: u32,
    name: String,
    /// The bridge it is a port of.
    controller: Option<u32>,
    /// The namespace of its other end, as this one numbers it.
    namespace: Option<i32>,
}

impl Ports {
    /// Those there are now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn look() -> io::Result<Self> {
        let socket = connected(0)?;
        ask(&socket, RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let mut links = Vec::new();
        loop {
            for payload in told(&socket)? {
                match payload {
                    NetlinkPayload::Done(_) => return Ok(Self(links)),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => links.push(link(&message)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// The port of `bridge` whose other end is in the namespace of that number,
    /// if there is just one.
    pub(super) fn leading_to(&self, namespace: i32, bridge: &InterfaceName) -> Option<InterfaceName> {
        let bridge = self.0.iter().find(|link| link.name == bridge.as_str())?.index;
        let leads = |link: &&Link| link.controller == Some(bridge) && link.namespace == Some(namespace);
        let mut found = self.0.iter().filter(leads);
        match (found.next(), found.next()) {
            (Some(link), None) => InterfaceName::parse(&link.name),
            _ => None,
        }
    }
}

/// How this namespace numbers the one that `file` keeps, or else that of the
/// process `pid`; `None` if it has no link there.
///
/// # Errors
/// When neither is to be had.
pub(super) fn number_of(file: &Path, pid: Option<u32>) -> io::Result<Option<i32>> {
    let kept = File::open(file);
    let which = match (&kept, pid) {
        (Ok(kept), _) => NsidAttribute::Fd(u32::try_from(kept.as_raw_fd()).map_err(io::Error::other)?),
        (Err(_), Some(pid)) => NsidAttribute::Pid(pid),
        (Err(error), None) => return Err(io::Error::new(error.kind(), error.to_string())),
    };
    let mut message = NsidMessage::default();
    message.attributes = vec![which];
    let socket = connected(0)?;
    ask(&socket, RouteNetlinkMessage::GetNsId(message), 0)?;
    for payload in told(&socket)? {
        match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(message)) => {
                let number = message.attributes.iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(number) => Some(*number),
                    _ => None,
                });
                return Ok(number.filter(|number| *number >= 0));
            }
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
    }
    Err(io::Error::other("the kernel does not number its namespaces"))
}

/// Hears of every change of a link.
pub(super) struct Changes(TokioSocket);

impl Changes {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub(super) fn listen() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, LINK_CHANGES))?;
        Ok(Self(socket))
    }

    /// Comes back when something has changed since the last time.
    ///
    /// # Errors
    /// When the socket failed.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        match self.0.recv(&mut buffer).await {
            // More than it has room for is a change, too.
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOBUFS) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // One look at the links is enough for all that has come meanwhile.
        loop {
            buffer.clear();
            match self.0.socket_ref().recv(&mut buffer, DO_NOT_WAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn connected(groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn ask(socket: &Socket, question: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut message = NetlinkMessage::from(question);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = 1;
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    socket.send(&octets, 0).map(drop)
}

/// What is in one datagram.
fn told(socket: &Socket) -> io::Result<Vec<NetlinkPayload<RouteNetlinkMessage>>> {
    let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
    socket.recv(&mut buffer, DO_NOT_WAIT)?;
    let (mut rest, mut payloads) = (buffer.as_slice(), Vec::new());
    while !rest.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4).max(16);
        payloads.push(message.payload);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(payloads)
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, name: String::new(), controller: None, namespace: None };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => name.clone_into(&mut link.name),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::LinkNetNsId(number) => link.namespace = Some(*number),
            _ => {}
        }
    }
    link
}
