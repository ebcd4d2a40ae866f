//! The packets that the rules refused, as far as the kernel tells of them: the
//! netfilter log (`log group` in nft/gateway.nft and nft/sidecar.nft).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::attributes::{ERROR, Unreadable, attribute, messages, request};
use crate::core::packet::Packet;

/// `NFNL_SUBSYS_ULOG`, `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`
/// (linux/netfilter/nfnetlink_log.h).
const LOG: u8 = 4;
const PACKET: u8 = 0;
const CONFIG: u8 = 1;
/// `NFULA_PAYLOAD`
const PAYLOAD: u16 = 9;
/// `NFULA_CFG_*`, `NFULNL_CFG_CMD_BIND`, `NFULNL_COPY_PACKET`.
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_TIMEOUT: u16 = 4;
const CFG_THRESHOLD: u16 = 5;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// Octets of each packet: an IPv6 header, some extensions, TCP's first.
const SNAPLEN: u32 = 128;
/// Packets that the kernel keeps until it tells of them, unless the rule says
/// fewer; and for how long at most, in hundredths of a second.
const THRESHOLD: u32 = 64;
const TIMEOUT: u32 = 10;
/// Room for what is told while we are busy; taken only when used.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Room for one datagram: the kernel fills a page or so, or as many packets as
/// the threshold says.
const DATAGRAM: usize = 64 << 10;
/// Datagrams read in one go.
const AT_ONCE: usize = 256;

/// A socket that hears of refused packets.
#[derive(Debug)]
pub struct PacketLog {
    socket: Socket,
}

/// What was heard in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The packets.
    pub packets: Vec<Packet>,
    /// Whether there were more than the socket had room for.
    pub overrun: bool,
}

impl PacketLog {
    /// Listens to `group`.
    ///
    /// # Errors
    /// When the kernel gives no such socket; `EBUSY` if another program
    /// listens to that group.
    pub fn open(group: u16) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Without CAP_NET_ADMIN in the first user namespace it is less.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX))?;
        }
        let log = Self { socket };
        log.configure(group, CFG_CMD, vec![BIND])?;
        let [range, mode] = [SNAPLEN.to_be_bytes().to_vec(), vec![COPY_PACKET, 0]];
        log.configure(group, CFG_MODE, [range, mode].concat())?;
        log.configure(group, CFG_THRESHOLD, THRESHOLD.to_be_bytes().to_vec())?;
        log.configure(group, CFG_TIMEOUT, TIMEOUT.to_be_bytes().to_vec())?;
        Ok(log)
    }

    fn configure(&self, group: u16, kind: u16, value: Vec<u8>) -> io::Result<()> {
        let mut octets = request(LOG, CONFIG, NLM_F_REQUEST | NLM_F_ACK, 0, &[(kind, value)]);
        // The group is the resource of the netfilter header.
        if let Some(place) = octets.get_mut(18..20) {
            place.copy_from_slice(&group.to_be_bytes());
        }
        self.socket.send(&octets, 0)?;
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            // The kernel answers inside `sendmsg`; packets may come in between.
            self.socket.recv(&mut datagram, nix::libc::MSG_DONTWAIT)?;
            for message in messages(&datagram).map_err(io::Error::other)? {
                if (message.subsystem, message.kind) == (0, ERROR) {
                    let code = message.attributes.first_chunk().map_or(0, |octets| i32::from_ne_bytes(*octets));
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) };
                }
            }
        }
    }

    /// What has been heard, without waiting.
    ///
    /// # Errors
    /// When the socket failed.
    pub fn read(&self) -> io::Result<Heard> {
        let mut heard = Heard::default();
        for _ in 0..AT_ONCE {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            match self.socket.recv_from(&mut datagram, nix::libc::MSG_DONTWAIT) {
                // From a port: not from the kernel.
                Ok((_, from)) if from.port_number() != 0 => {}
                // What cannot be read is counted in the kernel all the same.
                Ok(_) => heard.packets.extend(decode(&datagram).unwrap_or_default()),
                Err(error) => match error.raw_os_error() {
                    Some(nix::libc::EAGAIN) => break,
                    Some(nix::libc::EINTR) => {}
                    Some(nix::libc::ENOBUFS) => heard.overrun = true,
                    _ => return Err(error),
                },
            }
        }
        Ok(heard)
    }
}

/// Waits until there is something to read in `log`, `other` is readable or
/// closed, or `patience` is over.
pub fn wait(log: Option<&PacketLog>, other: BorrowedFd<'_>, patience: Duration) {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut sockets = vec![PollFd::new(other, PollFlags::POLLIN)];
    sockets.extend(log.map(|log| PollFd::new(log.socket.as_fd(), PollFlags::POLLIN)));
    // Whatever ends the waiting, the caller looks at everything.
    let _ = poll(&mut sockets, patience);
}

/// Whether `file` can be read now, or is closed at its other end.
pub fn is_readable(file: BorrowedFd<'_>) -> bool {
    matches!(poll(&mut [PollFd::new(file, PollFlags::POLLIN)], PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// The packets that a datagram of the kernel's tells. One whose headers make
/// no sense is left out.
///
/// # Errors
/// When the datagram is not in its form.
pub fn decode(datagram: &[u8]) -> Result<Vec<Packet>, Unreadable> {
    let mut packets = Vec::new();
    for message in messages(datagram)? {
        if (message.subsystem, message.kind) == (LOG, PACKET) {
            let payload = attribute(message.attributes, PAYLOAD)?;
            packets.extend(payload.and_then(Packet::parse));
        }
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: [u8; 28] =
        [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 2, 192, 0, 2, 7, 0xc0, 1, 0, 53, 0, 8, 0, 0];

    fn told(payload: &[u8]) -> Vec<u8> {
        // NFULA_PACKET_HDR and NFULA_PREFIX stand beside it.
        let attributes = [(1, vec![8, 0, 2, 0]), (10, b"\0".to_vec()), (PAYLOAD, payload.to_vec())];
        request(LOG, PACKET, 0, 2, &attributes)
    }

    #[test]
    fn each_packet_of_a_datagram_is_told_and_other_messages_are_passed_over() {
        let done = request(0, super::super::attributes::DONE, 0, 0, &[]);
        let datagram = [told(&UDP), told(&[]), told(&[0xff; 40]), done, told(&UDP)].concat();
        let packets = decode(&datagram).unwrap();
        assert_eq!(packets, [Packet::parse(&UDP).unwrap(); 2]);
        assert_eq!(packets[0].ports, Some((49153, 53)));
    }

    #[test]
    fn a_datagram_that_is_cut_off_is_unreadable_and_no_guess() {
        let datagram = told(&UDP);
        for length in 1..datagram.len() {
            assert_eq!(decode(&datagram[..length]), Err(Unreadable), "{length} octets");
        }
    }
}
