//! The netlink socket: one batch goes out, its acknowledgement comes back.

use std::io;
use std::thread;
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    GenAttribute, GenMessage, NfTablesMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};
use thiserror::Error;

use super::element::{self, Batch, Renewal, Repair};
use super::members::Member;
use super::ruleset::FAMILIES;
use crate::core::config::TableName;
use crate::core::ledger::Change;
use crate::core::statics::StaticChange;

/// `MSG_DONTWAIT`: the kernel handles a batch inside `sendmsg`, so every reply
/// is already waiting when that returns.
const DO_NOT_WAIT: i32 = nix::libc::MSG_DONTWAIT;
/// Room for the replies to one batch: at most one per message, 36 octets each
/// with `NETLINK_CAP_ACK`.
const RECEIVE_BUFFER: usize = 1 << 20;
/// What fits into one datagram on any system.
const MODEST: usize = 64 << 10;
/// How long to wait before something that the system could not do is tried
/// again.
const PAUSES: [Duration; 3] = [Duration::from_micros(200), Duration::from_millis(1), Duration::from_millis(5)];
/// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST` (linux/netfilter/nf_tables.h).
const OWNER_AND_PERSIST: u32 = 0x2 | 0x4;
/// `NFT_MSG_NEWGEN` of `NFNL_SUBSYS_NFTABLES` (linux/netfilter/nf_tables.h).
const NEW_GENERATION: u16 = 10 << 8 | 15;
/// Changes in one batch; the kernel's time per batch grows with its length.
pub const MAX_CHANGES: usize = 500;

/// A connection to nftables.
pub struct Connection {
    socket: Socket,
    table: TableName,
    renewal: Renewal,
    sequence: u32,
    /// Octets that are sure to fit into one datagram.
    room: usize,
    /// The netlink port the kernel knows it by.
    port: u32,
    /// The generation of the ruleset that the next batch is made for; our own
    /// commits are counted along. Without one, any will do.
    made_for: Option<u32>,
    /// The one before our last batch: a batch that changes nothing is
    /// acknowledged, and not counted.
    before: Option<u32>,
}

/// Why a batch was not applied. Then none of it was.
#[derive(Debug, Error)]
pub enum Refused {
    /// The table, or a set of it, is not there.
    #[error("the table is gone")]
    NoSuchTable,
    /// A set is full.
    #[error("a set is full")]
    Full,
    /// Somebody else has changed the ruleset since we looked at it.
    #[error("somebody else has changed the ruleset meanwhile")]
    Overtaken,
    /// Any other answer of the kernel.
    #[error("the kernel refused the batch: {0}")]
    Kernel(io::Error),
    /// The socket failed, or the acknowledgement never came.
    #[error("no acknowledgement came from the kernel: {0}")]
    Unacknowledged(io::Error),
}

impl Connection {
    /// Opens a connection for changes to `table`.
    ///
    /// # Errors
    /// When the kernel has no nftables, or gives no socket.
    pub fn open(table: TableName, renewal: Renewal) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Replies need not repeat the request.
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX))?;
        Ok(Self { socket, table, renewal, sequence: 1, room: MODEST, port, made_for: None, before: None })
    }

    /// The netlink port the kernel knows it by, as its notifications tell it.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// From here on batches are made for `generation` of the ruleset, and for
    /// those that they bring about themselves; for any other one they are
    /// refused as [`Refused::Overtaken`].
    pub const fn rest_on(&mut self, generation: u32) {
        self.made_for = Some(generation);
        self.before = None;
    }

    /// The generation that the next batch is made for; `None` before
    /// [`rest_on`](Self::rest_on), and when it is not known whether the last
    /// batch took effect.
    pub const fn made_for(&self) -> Option<u32> {
        self.made_for
    }

    /// Whether nobody else has committed anything since.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_undisturbed(&mut self) -> io::Result<bool> {
        let generation = Some(self.generation()?);
        if self.before == generation {
            self.made_for = generation;
        }
        self.before = None;
        Ok(self.made_for == generation)
    }

    /// Applies all `changes` of leases in one transaction.
    ///
    /// # Errors
    /// When it was not applied, or it is not certain that it was.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), Refused> {
        self.commit(element::leases(&self.table, changes, self.renewal))
    }

    /// Applies all `changes` of statics in one transaction.
    ///
    /// # Errors
    /// When it was not applied, or it is not certain that it was.
    pub fn apply_statics(&mut self, changes: &[StaticChange]) -> Result<(), Refused> {
        self.commit(element::statics(&self.table, changes, self.renewal))
    }

    /// Applies all `repairs` in one transaction.
    ///
    /// # Errors
    /// When it was not applied, or it is not certain that it was.
    pub fn repair(&mut self, repairs: &[Repair]) -> Result<(), Refused> {
        self.commit(element::repairs(&self.table, repairs, self.renewal))
    }

    /// Puts members into sets and takes others out, one transaction for each
    /// family.
    ///
    /// # Errors
    /// When one was not applied, or it is not certain that it was; those before
    /// it are.
    pub fn exchange(&mut self, gone: &[&Member], come: &[&Member]) -> Result<(), Refused> {
        for family in FAMILIES {
            let of_family = |member: &&&Member| member.family == family;
            let deletions = gone.iter().filter(of_family).map(|member| member.deletion(&self.table));
            let additions = come.iter().filter(of_family).map(|member| member.addition(&self.table));
            let operations: Vec<_> = deletions.chain(additions).collect();
            if !operations.is_empty() {
                self.send(|first, made_for| element::batch_for(number_of(family), operations, first, made_for))?;
            }
        }
        Ok(())
    }

    /// Makes the tables of this name in these `families`, or those there are,
    /// its own: nobody else can change them until it is closed, and then they
    /// stay.
    ///
    /// # Errors
    /// When the kernel does not have that, the table was not made for it, or
    /// belongs to somebody else.
    pub fn adopt(&mut self, families: &[&str]) -> Result<(), Refused> {
        for family in families {
            let table = TableMessage {
                attributes: vec![
                    TableAttribute::Name(self.table.as_str().to_owned()),
                    TableAttribute::Flags(TableFlags::from_bits_retain(OWNER_AND_PERSIST)),
                ],
            };
            self.send(|first, made_for| {
                element::batch_for(number_of(family), vec![NfTablesMessage::NewTable(table)], first, made_for)
            })?;
        }
        Ok(())
    }

    /// Deletes the table `name` of `family`, with all that is in it.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses.
    pub fn delete_table(&mut self, family: &str, name: &str) -> Result<(), Refused> {
        let table = TableMessage { attributes: vec![TableAttribute::Name(name.to_owned())] };
        self.send(|first, made_for| {
            element::batch_for(number_of(family), vec![NfTablesMessage::DeleteTable(table)], first, made_for)
        })
    }

    fn commit(&mut self, operations: Vec<NfTablesMessage>) -> Result<(), Refused> {
        self.send(|first, made_for| element::batch(operations, first, made_for))
    }

    fn send(&mut self, batch: impl FnOnce(u32, Option<u32>) -> Batch) -> Result<(), Refused> {
        self.drain();
        let batch = batch(self.sequence, self.made_for);
        let first = self.sequence;
        self.sequence = batch.last.wrapping_add(2).max(1);
        self.make_room(batch.bytes.len()).map_err(Refused::Unacknowledged)?;
        // What was not sent has changed nothing.
        persistently(|| self.socket.send(&batch.bytes, 0)).map_err(Refused::Unacknowledged)?;
        let result = self.acknowledgement(first, batch.last);
        match (&result, self.made_for) {
            (Ok(()), Some(generation)) => {
                self.before = Some(generation);
                // The kernel skips zero, too (nf_tables_commit).
                self.made_for = Some(generation.wrapping_add(1).max(1));
            }
            // Nobody knows what the ruleset is now.
            (Err(Refused::Unacknowledged(_)), _) => self.made_for = None,
            _ => {}
        }
        result
    }

    /// A transaction is one datagram, however long.
    fn make_room(&mut self, octets: usize) -> io::Result<()> {
        if octets > self.room {
            setsockopt(&self.socket, SndBufForce, &octets)?;
            self.room = octets;
        }
        Ok(())
    }

    /// The ruleset's generation: the kernel counts every commit, whoever made
    /// it. Packets that update a set do not count.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn generation(&mut self) -> io::Result<u32> {
        self.drain();
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
        let question = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        let mut message = NetlinkMessage::from(NetfilterMessage::new(header, question));
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1).max(1);
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        persistently(|| self.socket.send(&octets, 0))?;
        let mut reply = Vec::with_capacity(8192);
        persistently(|| self.socket.recv(&mut reply, DO_NOT_WAIT))?;
        if let Some((_, Err(error))) = replies(&reply).pop() {
            return Err(error);
        }
        generation_in(&reply).ok_or_else(|| io::Error::other("the kernel does not tell its ruleset's generation"))
    }

    /// Every reply to the batch: one error is enough to refuse it, and without
    /// the last message's acknowledgement nothing is certain.
    fn acknowledgement(&self, first: u32, last: u32) -> Result<(), Refused> {
        let mut acknowledged = false;
        loop {
            let mut buffer = Vec::with_capacity(8192);
            match self.socket.recv(&mut buffer, DO_NOT_WAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Refused::Unacknowledged(error)),
            }
            for (sequence, result) in replies(&buffer) {
                if !(first..=last + 1).contains(&sequence) {
                    continue;
                }
                match result {
                    Ok(()) => acknowledged |= sequence == last,
                    Err(error) => return Err(Refused::from_kernel(error)),
                }
            }
        }
        if acknowledged {
            return Ok(());
        }
        Err(Refused::Unacknowledged(io::Error::other("no reply")))
    }

    /// Replies left over from a batch that was given up.
    fn drain(&self) {
        let mut buffer = Vec::with_capacity(8192);
        while self.socket.recv(&mut buffer, DO_NOT_WAIT).is_ok() {
            buffer.clear();
        }
    }
}

impl Refused {
    fn from_kernel(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(nix::libc::ENOENT) => Self::NoSuchTable,
            Some(nix::libc::ENFILE) => Self::Full,
            Some(nix::libc::ERESTART) => Self::Overtaken,
            _ => Self::Kernel(error),
        }
    }
}

/// A family's number.
pub(super) fn number_of(family: &str) -> NetfilterProtoFamily {
    match family {
        "netdev" => NetfilterProtoFamily::NetDev,
        "bridge" => NetfilterProtoFamily::Bridge,
        "arp" => NetfilterProtoFamily::ARP,
        _ => NetfilterProtoFamily::Inet,
    }
}

/// Does `work` again, a few times, where the system had no room for it at the
/// moment or a signal came in between.
fn persistently<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for pause in PAUSES {
        match work() {
            Err(error) if is_passing(&error) => thread::sleep(pause),
            done => return done,
        }
    }
    work()
}

/// Whether the same may well succeed a moment later.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || is_shortage(error)
}

/// Whether the system is short of something, or a signal came: the socket
/// itself is sound.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EBUSY, EINTR, ENFILE, ENOBUFS, ENOMEM};
    error.raw_os_error().is_some_and(|code| [EBUSY, EINTR, ENFILE, ENOBUFS, ENOMEM].contains(&code))
}

/// The ruleset's generation that the kernel's answer tells.
pub fn generation_in(datagram: &[u8]) -> Option<u32> {
    if NetlinkBuffer::new_checked(datagram).ok()?.message_type() != NEW_GENERATION {
        return None;
    }
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(datagram).ok()?;
    let NetlinkPayload::InnerMessage(NetfilterMessage { inner: NetfilterMessageInner::NfTables(told), .. }) =
        message.payload
    else {
        return None;
    };
    let NfTablesMessage::NewGen(told) = told else { return None };
    told.attributes.iter().find_map(|attribute| match attribute {
        GenAttribute::Id(generation) => Some(*generation),
        _ => None,
    })
}

/// The sequence number and result of each reply in one datagram. Messages of
/// other kinds are not looked into: the decoder panics at some of their
/// contents.
pub fn replies(datagram: &[u8]) -> Vec<(u32, io::Result<()>)> {
    let mut rest = datagram;
    let mut found = Vec::new();
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        if message.message_type() == NLMSG_ERROR
            && let Ok(decoded) = NetlinkMessage::<NetfilterMessage>::deserialize(rest)
            && let NetlinkPayload::Error(reply) = decoded.payload
        {
            let error = reply.code.map(|code| io::Error::from_raw_os_error(code.get().saturating_neg()));
            found.push((message.sequence_number(), error.map_or(Ok(()), Err)));
        }
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX - 3).next_multiple_of(4);
        match rest.get(length..) {
            Some(next) if length > 0 => rest = next,
            _ => break,
        }
    }
    found
}
