//! The two system interfaces for which no library here has safe words.
#![allow(unsafe_code, reason = "setsockopt(2) with options of our own, and rings shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// PACKET_QDISC_BYPASS (packet(7)).
pub fn bypass_queueing(socket: RawFd) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32)
}

/// Sends a frame over an AF_XDP socket in copy mode, for which no program
/// needs to be loaded: past the queueing discipline and every netfilter hook.
pub fn frame_over_xdp(interface: u32, frame: &[u8]) -> io::Result<()> {
    const CHUNK: usize = 4096;
    const CHUNKS: usize = 16;
    const SLOTS: usize = 16;
    if frame.len() > CHUNK {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a new descriptor, owned from here on.
    let socket = unsafe { OwnedFd::from_raw_fd(checked(libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0))?) };
    let fd = socket.as_raw_fd();
    let memory = Mapping::new(-1, CHUNK * CHUNKS, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, 0)?;
    memory.write(0, frame);
    let chunk_size = u32::try_from(CHUNK).unwrap_or(0);
    let registration = libc::xdp_umem_reg {
        addr: memory.start as u64,
        len: (CHUNK * CHUNKS) as u64,
        chunk_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        set(fd, libc::SOL_XDP, ring, &(SLOTS as u32))?;
    }
    // SAFETY: plain numbers, for which zero is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
    let place = ptr::from_mut(&mut offsets).cast();
    // SAFETY: `place` has `size` octets.
    checked(unsafe { libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, place, &raw mut size) })?;
    let descriptors = usize::try_from(offsets.tx.desc).unwrap_or(0);
    let ring = Mapping::new(fd, descriptors + SLOTS * 16, libc::MAP_SHARED, libc::XDP_PGOFF_TX_RING)?;
    // SAFETY: plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_xdp = unsafe { std::mem::zeroed() };
    address.sxdp_family = u16::try_from(libc::AF_XDP).unwrap_or(0);
    address.sxdp_flags = libc::XDP_COPY;
    address.sxdp_ifindex = interface;
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    // SAFETY: `address` has `length` octets.
    checked(unsafe { libc::bind(fd, ptr::from_ref(&address).cast(), length) })?;
    // One descriptor: chunk 0, so many octets, no options.
    memory_order(|| {
        let octets = u32::try_from(frame.len()).unwrap_or(0);
        ring.write(descriptors, &[0_u64.to_ne_bytes().as_slice(), &octets.to_ne_bytes(), &[0; 4]].concat());
    });
    memory_order(|| ring.write(usize::try_from(offsets.tx.producer).unwrap_or(0), &1_u32.to_ne_bytes()));
    // SAFETY: no octets are read.
    checked(unsafe { libc::sendto(fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) as i32 })?;
    // The kernel copies while it sends; the memory stays until then.
    std::thread::sleep(std::time::Duration::from_millis(20));
    Ok(())
}

/// What is written inside is seen by the kernel before what follows.
fn memory_order(write: impl FnOnce()) {
    write();
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

struct Mapping {
    start: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    fn new(fd: RawFd, length: usize, flags: i32, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags | libc::MAP_POPULATE, fd, offset) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { start, length }) }
    }

    fn write(&self, offset: usize, octets: &[u8]) {
        if offset + octets.len() > self.length {
            return;
        }
        // SAFETY: inside the mapping, as just seen.
        unsafe { ptr::copy_nonoverlapping(octets.as_ptr(), self.start.cast::<u8>().add(offset), octets.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: a mapping of ours, used no more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

fn set<T>(socket: RawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `value` has `length` octets.
    checked(unsafe { libc::setsockopt(socket, level, option, ptr::from_ref(value).cast(), length) })?;
    Ok(())
}

fn checked(outcome: i32) -> io::Result<i32> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
