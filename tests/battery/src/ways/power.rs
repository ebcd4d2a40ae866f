//! By what root may do with Docker's default capabilities: marks, other users,
//! other namespaces, the kernel's own tables.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use socket2::Type;

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::Attempt;
use crate::dns::{A, Message};
use crate::send;

/// The bits that a wall may keep in marks, and some that others do.
const MARKS: &[u32] = &[1, 0x1000_0000, 0x2000_0000, 0x4000, 0x8000, 0xffff_ffff];
const NOT_GRANTED: &str = "Docker's default capabilities do not allow it";
const SAME_USER: &str = "with SETUID root can be the wall's own user, and ask its DNS server as the wall does";

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for &to in &aim.targets {
        let f = family(to);
        all.push(
            Attempt::new(format!("mark-{f}"), "datagrams with marks of the kernel's (SO_MARK)", move |this| {
                each(MARKS, |&mark| {
                    let socket = send::socket(to, Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
                    socket.set_mark(mark)?;
                    socket.send_to(this.payload(), &SocketAddr::new(to, 443).into()).map(drop)
                })
            })
            .root()
            .may_fail("before Linux 5.17 NET_RAW does not suffice"),
        );
        all.push(Attempt::new(format!("device-{f}"), "bound to the interface, with high priority", move |this| {
            let socket = send::socket(to, Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
            socket.bind_device(Some(this.aim.interface.as_bytes()))?;
            socket.set_priority(6)?;
            socket.send_to(this.payload(), &SocketAddr::new(to, 443).into())?;
            Ok("sent".into())
        }));
        all.push(
            Attempt::new(format!("user-{f}"), "datagrams as other users, the wall's own among them", move |this| {
                each(users(this.aim), |user| as_user(user, SocketAddr::new(to, 443), this.port, this.payload()))
            })
            .root(),
        );
        all.push(
            Attempt::new(
                format!("user-namespace-{f}"),
                "from a user namespace of its own, where it is root",
                move |this| {
                    child(
                        &["user", &SocketAddr::new(to, 443).to_string(), &this.port.to_string()],
                        this.payload(),
                        None,
                    )?;
                    Ok("sent".into())
                },
            )
            .may_fail("a container engine may forbid it"),
        );
        all.push(
            Attempt::new(format!("net-namespace-{f}"), "from a network namespace of its own", move |this| {
                child(&["net", &SocketAddr::new(to, 443).to_string(), &this.port.to_string()], this.payload(), None)?;
                Ok("sent".into())
            })
            .may_fail("a new network namespace leads nowhere"),
        );
    }
    for (index, &upstream) in aim.upstream.iter().enumerate() {
        let what = format!("a question to {upstream}, the wall's own DNS server");
        all.push(Attempt::new(format!("upstream-{index}"), what, move |this| {
            let octets = Message::question(&this.denied_name(), A).octets(0x77);
            send::datagram(upstream, this.port, &octets)?;
            Ok("sent".into())
        }));
        let what = format!("a question to {upstream} as other users, the wall's own among them");
        all.push(
            Attempt::new(format!("upstream-as-user-{index}"), what, move |this| {
                let octets = Message::question(&this.denied_name(), A).octets(0x78);
                each(users(this.aim), |user| as_user(user, upstream, this.port, &octets))
            })
            .root()
            .beyond_sidecar(SAME_USER),
        );
    }
    all.extend(powers());
    all
}

fn users(aim: &Aim) -> Vec<u32> {
    [1, 33, 53, 65_534].into_iter().chain(aim.users.iter().copied()).collect()
}

/// Has another process send it, which has that user id.
fn as_user(user: u32, to: SocketAddr, port: u16, payload: &[u8]) -> io::Result<()> {
    child(&["plain", &to.to_string(), &port.to_string()], payload, Some(user))
}

fn child(words: &[&str], payload: &[u8], user: Option<u32>) -> io::Result<()> {
    let hexadecimal: String = payload.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut command = Command::new("/proc/self/exe");
    command.arg("send").args(words).arg(hexadecimal).stdin(Stdio::null()).stderr(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the child could not")) }
}

/// What the child of [`child`] does: `WHERE ADDRESS PORT HEXADECIMAL`.
pub fn send_as_told(words: &[String]) -> io::Result<()> {
    let [place, to, port, payload] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let port = port.parse().map_err(io::Error::other)?;
    let octet = |at| u8::from_str_radix(payload.get(at..at + 2).unwrap_or(""), 16).map_err(io::Error::other);
    let payload = (0..payload.len()).step_by(2).map(octet).collect::<io::Result<Vec<u8>>>()?;
    match place.as_str() {
        "user" => {
            unshare(CloneFlags::CLONE_NEWUSER)?;
            // As its root it may try what needs NET_ADMIN; it does not count.
            let _ = add_table();
        }
        "net" => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?,
        _ => {}
    }
    send::datagram(to, port, &payload)
}

/// What root could use against a wall. Nothing arrives anywhere by these:
/// they say `gained` where they were let.
fn powers() -> Vec<Attempt> {
    let all = vec![
        Attempt::new("other-namespaces", "into every other network namespace that can be seen", |this| {
            let own = fs::read_link("/proc/self/ns/net")?;
            let folders = ["/run/netns", "/var/run/docker/netns", "/run/docker/netns"];
            let named = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
            let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path().join("ns/net"));
            let places = named.map(|entry| entry.path()).chain(processes);
            let mut entered = 0;
            for place in places.filter(|place| fs::read_link(place).is_ok_and(|other| other != own)) {
                let (targets, port, payload) = (this.aim.targets.clone(), this.port, this.payload().to_vec());
                let outcome = thread::spawn(move || -> io::Result<()> {
                    setns(fs::File::open(place)?, CloneFlags::CLONE_NEWNET)?;
                    for to in targets {
                        send::datagram((to, 443).into(), port, &payload)?;
                    }
                    Ok(())
                });
                entered += usize::from(outcome.join().is_ok_and(|sent| sent.is_ok()));
            }
            if entered == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(format!("gained {entered} namespaces")) }
        }),
        Attempt::new("rules", "adds a table to nftables", |_| {
            add_table()?;
            Ok("gained: the kernel took a table".into())
        }),
        Attempt::new("routes", "adds an address to the loopback interface", |_| {
            // RTM_NEWADDR of 192.0.2.97/32 (rtnetlink(7)).
            let body = [
                &[2, 32, 0, 0][..],
                &1_u32.to_ne_bytes(),
                &8_u16.to_ne_bytes(),
                &2_u16.to_ne_bytes(),
                &[192, 0, 2, 97],
            ]
            .concat();
            netlink(SockProtocol::NetlinkRoute, &[(20, 0x5, body)])?;
            Ok("gained: the kernel took an address".into())
        }),
        Attempt::new("settings", "writes to the kernel's network settings", |_| {
            let mut wrote = Vec::new();
            for path in ["net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/ipv4/ping_group_range"] {
                let path = format!("/proc/sys/{path}");
                let Ok(value) = fs::read(&path) else { continue };
                if fs::write(&path, value).is_ok() {
                    wrote.push(path);
                }
            }
            if wrote.is_empty() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(format!("gained {wrote:?}")) }
        }),
        Attempt::new("processes", "signals and opens processes of other namespaces", |_| {
            let mut gained = Vec::new();
            for entry in fs::read_dir("/proc")?.flatten() {
                let path = entry.path();
                let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
                let is_wall = name.trim() == "cedarwall";
                if is_wall && fs::read_dir(path.join("root")).is_ok() {
                    gained.push(format!("{} {}", path.display(), name.trim()));
                }
            }
            if gained.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(format!("gained {gained:?}")) }
        }),
    ];
    all.into_iter().map(|attempt| attempt.root().may_fail(NOT_GRANTED)).collect()
}

/// NFT_MSG_NEWTABLE for a table that nobody has, in a batch (nfnetlink).
fn add_table() -> io::Result<()> {
    const NF_TABLES: u16 = 10 << 8;
    let batch = |kind| (kind, 0x1, vec![0, 0, 0, 10]);
    let name = b"battery\0";
    let length = u16::try_from(4 + name.len()).unwrap_or(0).to_ne_bytes();
    let table = [&[1, 0, 0, 0][..], &length, &1_u16.to_ne_bytes(), name].concat();
    netlink(SockProtocol::NetlinkNetFilter, &[batch(0x10), (NF_TABLES, 0x405, table), batch(0x11)])
}

/// Sends messages and returns the kernel's first refusal (netlink(7)).
fn netlink(family: SockProtocol, messages: &[(u16, u16, Vec<u8>)]) -> io::Result<()> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, family)?;
    let mut octets = Vec::new();
    for (sequence, (kind, flags, body)) in (1_u32..).zip(messages) {
        let length = u32::try_from(16 + body.len()).unwrap_or(0);
        for part in [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &sequence.to_ne_bytes(),
            &[0; 4],
            body,
        ] {
            octets.extend_from_slice(part);
        }
    }
    sendto(socket.as_raw_fd(), &octets, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut reply = [0; 512];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    let code =
        reply.get(16..20).filter(|_| length >= 20).and_then(|octets| octets.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
