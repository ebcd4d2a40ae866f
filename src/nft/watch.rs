//! What others do to the ruleset, as the kernel tells it after each commit.

pub mod notice;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::{SockFilter, SockRef};
use thiserror::Error;

use self::notice::Notice;
use super::attributes::Unreadable;
use crate::core::config::TableName;

/// `NFNLGRP_NFTABLES`: every commit to the ruleset, whoever makes it
/// (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 7;
/// Room for what others do while the firewall is busy; taken only when used.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Room for one datagram: the kernel fills at most a page or two.
const DATAGRAM: usize = 64 << 10;
/// Datagrams read in one go.
const AT_ONCE: usize = 1024;
/// Where in a netlink message the port of whoever caused it is.
const PORT_OFFSET: u32 = 12;
/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`
/// (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A socket that hears of every commit but our own.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: TableName,
}

/// Why nobody knows what was done.
#[derive(Debug, Error)]
pub enum Missed {
    /// More was done than the socket has room for.
    #[error("too much was done to the ruleset to hear of all of it")]
    Overrun,
    /// It was heard and not understood.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The socket failed.
    #[error("the kernel's notifications cannot be read: {0}")]
    Broken(#[from] io::Error),
}

impl Watch {
    /// Listens to what others do to the tables named `table`; what the socket
    /// with the netlink port `own` does is not heard.
    ///
    /// # Errors
    /// When the kernel gives no such socket.
    pub fn open(table: TableName, own: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Without CAP_NET_ADMIN in the first user namespace it is less.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX))?;
        }
        let watch = Self { socket, table };
        watch.except(own)?;
        watch.socket.add_membership(GROUP)?;
        Ok(watch)
    }

    /// From here on it is the socket with the netlink port `own` that is not
    /// heard.
    ///
    /// # Errors
    /// When the kernel does not take the filter.
    pub fn except(&self, own: u32) -> io::Result<()> {
        // BPF reads words as the network writes them, and the port is as this
        // machine writes it.
        let own = u32::from_be_bytes(own.to_ne_bytes());
        SockRef::from(&self.socket).attach_filter(&[
            SockFilter::new(LOAD_WORD, 0, 0, PORT_OFFSET),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, own),
            SockFilter::new(RETURN, 0, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ])
    }

    /// What has been heard, without waiting; empty if nothing.
    ///
    /// # Errors
    /// When something was missed. Then nothing that came before that is left.
    pub fn read(&self) -> Result<Vec<Notice>, Missed> {
        let mut notices = Vec::new();
        let (mut missed, mut datagrams) = (None, 0);
        // After an overrun nothing is heard until nothing waits any more.
        while missed.is_some() || datagrams < AT_ONCE {
            datagrams += 1;
            let mut datagram = Vec::with_capacity(DATAGRAM);
            let from = match self.socket.recv_from(&mut datagram, nix::libc::MSG_DONTWAIT) {
                Ok((_, from)) => from,
                Err(error) => match error.raw_os_error() {
                    Some(nix::libc::EAGAIN) => break,
                    Some(nix::libc::EINTR) => continue,
                    Some(nix::libc::ENOBUFS) => {
                        missed = Some(Missed::Overrun);
                        continue;
                    }
                    _ => return Err(Missed::Broken(error)),
                },
            };
            if from.port_number() != 0 {
                // Not from the kernel.
                continue;
            }
            match notice::decode(&datagram, self.table.as_str()) {
                Ok(read) => notices.extend(read),
                Err(unreadable) => missed = Some(unreadable.into()),
            }
        }
        missed.map_or(Ok(notices), Err)
    }

    /// Waits until there is something to read; whether there is.
    pub fn wait(&self, patience: Duration) -> bool {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut sockets, patience), Ok(ready) if ready > 0)
    }
}
