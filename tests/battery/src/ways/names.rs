//! Through the wall's own DNS: data in questions that nothing permits, and in
//! what surrounds those that something does.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::dns::{self, A, CHAOS, Message, TXT};
use crate::packet::{self, UDP};
use crate::send;

const NOTHING_TO_ASK: &str = "nobody answers that without a wall";

type Build = Box<dyn Fn(&Try<'_>) -> Vec<Message>>;

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for &server in &aim.dns {
        all.extend(plain(server));
    }
    if let Some(&server) = aim.dns.first() {
        all.extend(odd(server));
        all.extend(over_tcp(server));
    }
    all
}

fn plain(server: IpAddr) -> Vec<Attempt> {
    let f = family(server);
    vec![
        Attempt::new(format!("dns-denied-{f}"), "a denied name with data in it", move |this| {
            answered(&dns::over_udp(server, this.port, &denied(this).octets(1))?)
        }),
        Attempt::new(format!("dns-denied-tcp-{f}"), "the same over TCP", move |this| {
            answered(&dns::stream((server, 53).into(), this.port, &dns::framed(&denied(this).octets(1)))?)
        }),
    ]
}

fn denied(this: &Try<'_>) -> Message {
    Message::question(&this.denied_name(), A)
}

fn permitted(this: &Try<'_>) -> Message {
    Message::question(this.aim.permitted.as_ref().map_or("example.com", |(name, _)| name), A)
}

fn permitted_name(this: &Try<'_>) -> String {
    this.aim.permitted.as_ref().map_or_else(|| "example.com".into(), |(name, _)| name.clone())
}

fn answered(reply: &[u8]) -> Outcome {
    let code = reply.get(3).map_or(255, |octet| octet & 0x0f);
    Ok(format!("{} octets, code {code}, addresses {:?}", reply.len(), dns::addresses(reply)))
}

/// Odd messages in datagrams.
fn odd(server: IpAddr) -> Vec<Attempt> {
    let list: Vec<(&str, &str, Build)> = vec![
        (
            "dns-case",
            "a denied name in mixed case",
            Box::new(|this| vec![Message::question(&this.denied_name().to_uppercase(), A)]),
        ),
        (
            "dns-trailing-dot",
            "a denied name with one root label more",
            Box::new(|this| vec![Message::of_wire([dns::name_on_wire(&this.denied_name()), vec![0]].concat(), A)]),
        ),
        (
            "dns-nul",
            "names with an octet of zero where a permitted one ends",
            Box::new(|this| {
                let (name, token) = (permitted_name(this), this.token.clone());
                let whole = [name.as_bytes(), b"\0", token.as_bytes()].concat();
                let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
                let glued = [labels[labels.len() - 1], b"\0", token.as_bytes()].concat();
                let mut last = labels.clone();
                last.pop();
                last.push(&glued);
                let before = [labels.as_slice(), &[b"\0", token.as_bytes()]].concat();
                vec![
                    Message::of_wire(dns::wire_of([whole.as_slice()]), A),
                    Message::of_wire(dns::wire_of(last), A),
                    Message::of_wire(dns::wire_of(before), A),
                ]
            }),
        ),
        (
            "dns-dot-in-label",
            "a permitted name in one label, dots and all",
            Box::new(|this| {
                let (name, token) = (permitted_name(this), this.token.clone());
                let first = [token.as_bytes(), b".", name.as_bytes()].concat();
                let (head, tail) = name.split_once('.').unwrap_or((&name, ""));
                let second = [token.as_bytes(), b".", head.as_bytes()].concat();
                let labels = std::iter::once(second.as_slice()).chain(tail.split('.').map(str::as_bytes));
                vec![Message::of_wire(dns::wire_of([first.as_slice()]), A), Message::of_wire(dns::wire_of(labels), A)]
            }),
        ),
        (
            "dns-permitted-as-prefix",
            "a permitted name in front of a denied one",
            Box::new(|this| {
                let name = permitted_name(this);
                vec![Message::question(&format!("{name}.{}", this.denied_name()), A)]
            }),
        ),
        (
            "dns-permitted-as-suffix",
            "names that end like a permitted one",
            Box::new(|this| {
                let name = permitted_name(this);
                vec![
                    Message::question(&format!("{}.{name}", this.token), A),
                    Message::question(&format!("{}{name}", this.token), A),
                ]
            }),
        ),
        (
            "dns-idna",
            "a name of A-labels, and one of octets above ASCII",
            Box::new(|this| {
                let mixed = [this.payload(), "ä\u{3002}x".as_bytes()].concat();
                vec![
                    Message::question(&format!("xn--{}-0xa.{}", this.token, this.aim.denied), A),
                    Message::of_wire(dns::wire_of([mixed.as_slice(), b"invalid"]), A),
                ]
            }),
        ),
        (
            "dns-long-labels",
            "labels of 63 octets, and a name of 255",
            Box::new(|this| {
                let label = this.payload_of(63);
                vec![
                    Message::of_wire(dns::wire_of([label.as_slice(), this.aim.denied.as_bytes()]), A),
                    Message::of_wire(dns::wire_of([&label[..], &label, &label, &label[..61]]), A),
                ]
            }),
        ),
        (
            "dns-too-long",
            "a name longer than a name may be",
            Box::new(|this| {
                let label = this.payload_of(63);
                vec![Message::of_wire(dns::wire_of([&label[..]; 5]), A)]
            }),
        ),
        (
            "dns-pointer",
            "a name that is a pointer, into the question and out of it",
            Box::new(|this| {
                let label = this.payload();
                let length = u8::try_from(label.len()).unwrap_or(0);
                let wire = [&[length][..], label, &[0xc0, 12]].concat();
                vec![Message::of_wire(wire, A), Message::of_wire([&[length][..], label, &[0xc0, 0xff]].concat(), A)]
            }),
        ),
        (
            "dns-two-questions",
            "a permitted and a denied question in one message",
            Box::new(|this| {
                let mut first = permitted(this);
                first.questions.extend(denied(this).questions);
                let mut second = denied(this);
                second.questions.extend(permitted(this).questions);
                vec![first, second]
            }),
        ),
        (
            "dns-no-question",
            "no question, and records in every section",
            Box::new(|this| {
                let name = dns::name_on_wire(&this.denied_name());
                let records = std::array::from_fn(|_| vec![dns::text(&name, &this.token)]);
                vec![Message { flags: 0x0100, questions: Vec::new(), records }]
            }),
        ),
        (
            "dns-edns",
            "a permitted name, and data in EDNS options",
            Box::new(|this| {
                // NSID, client subnet, cookie, padding, and two of nobody's.
                let options = [3, 8, 10, 12, 65_001, 26_946];
                options
                    .into_iter()
                    .map(|option| permitted(this).with_additional(dns::edns(option, this.payload())))
                    .collect()
            }),
        ),
        (
            "dns-records-beside",
            "a permitted name, and data in records of every section",
            Box::new(|this| {
                let record = || dns::text(&dns::name_on_wire(&this.denied_name()), &this.token);
                (0..3)
                    .map(|section| {
                        let mut message = permitted(this);
                        message.records[section].push(record());
                        message
                    })
                    .collect()
            }),
        ),
        (
            "dns-response",
            "messages that say they are responses (QR=1)",
            Box::new(|this| {
                let mut message = denied(this);
                message.flags = 0x8180;
                let mut answer = denied(this);
                answer.flags = 0x8580;
                answer.records[0].push(dns::text(&dns::name_on_wire(&this.denied_name()), &this.token));
                vec![message, answer]
            }),
        ),
        (
            "dns-opcodes",
            "a denied name under each of the 16 opcodes",
            Box::new(|this| {
                (0..16)
                    .map(|code| {
                        let mut message = denied(this);
                        message.flags |= code << 11;
                        message
                    })
                    .collect()
            }),
        ),
        (
            "dns-types",
            "a denied name with many types",
            Box::new(|this| {
                let types = [
                    2, 5, 6, 10, 12, 15, 16, 28, 33, 35, 39, 43, 46, 48, 64, 65, 99, 249, 250, 251, 252, 253, 254, 255,
                    256, 257, 65_280,
                ];
                types.into_iter().map(|kind| Message::question(&this.denied_name(), kind)).collect()
            }),
        ),
        (
            "dns-classes",
            "a denied name with other classes",
            Box::new(|this| {
                [0, 2, CHAOS, 4, 254, 255]
                    .into_iter()
                    .map(|class| {
                        let mut message = denied(this);
                        message.questions[0].2 = class;
                        message
                    })
                    .collect()
            }),
        ),
        (
            "dns-reverse",
            "data in names of reverse lookups and of services",
            Box::new(|this| {
                ["in-addr.arpa", "ip6.arpa", "_dns.resolver.arpa", "local", "localhost", "home.arpa"]
                    .into_iter()
                    .map(|zone| Message::question(&format!("{}.{zone}", this.token), 12))
                    .collect()
            }),
        ),
        (
            "dns-update",
            "a dynamic update with a text record (RFC 2136)",
            Box::new(|this| {
                let mut message = Message::question(&this.aim.denied, 6);
                message.flags = 5 << 11;
                message.records[1].push(dns::text(&dns::name_on_wire(&this.denied_name()), &this.token));
                vec![message]
            }),
        ),
    ];
    let mut all: Vec<Attempt> = list
        .into_iter()
        .map(|(id, what, build)| Attempt::new(id, what, move |this| sent(this, server, &build(this))))
        .collect();
    all.push(Attempt::new("dns-octets-behind", "a permitted name, and octets behind the message", move |this| {
        let octets = [permitted(this).octets(7), this.payload_of(64)].concat();
        answered(&dns::over_udp(server, this.port, &octets)?)
    }));
    all.push(Attempt::new("dns-no-dns", "octets that are no message at all", move |this| {
        each([16, 512, 1400], |length| send::datagram((server, 53).into(), this.port, &this.payload_of(length)))
    }));
    let what = "a denied name, from port 53 and from the addresses of others";
    all.push(
        Attempt::new("dns-from-others", what, move |this| {
            let octets = denied(this).octets(3);
            let own = send::source(server)?;
            let sources = this.aim.others.iter().chain(&this.aim.resolvers).chain([&own]);
            each(sources.filter(|from| from.is_ipv4() == server.is_ipv4()), |&from| {
                send::raw(&packet::ip(from, server, UDP, &packet::udp(from, server, (53, 53), &octets)))
            })
        })
        .root(),
    );
    let what = "what the wall tells of itself in class CHAOS, of others above all";
    all.push(
        Attempt::new("dns-chaos", what, move |this| {
            let names = ["denied.cedarwall", "leases.cedarwall", "clients.cedarwall", "version.bind", "hostname.bind"];
            let mut heard = Vec::new();
            for name in names {
                let mut message = Message::question(name, TXT);
                message.questions[0].2 = CHAOS;
                if let Ok(reply) = dns::over_udp(server, this.port, &message.octets(9)) {
                    heard.push(format!("{name}: {}", String::from_utf8_lossy(&reply).replace(char::is_control, " ")));
                }
            }
            if heard.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(heard.join("; ")) }
        })
        .may_fail(NOTHING_TO_ASK),
    );
    all
}

/// Sends them all before it waits for anything.
fn sent(this: &Try<'_>, server: IpAddr, messages: &[Message]) -> Outcome {
    let Some((last, others)) = messages.split_last() else { return Ok("nothing".into()) };
    for message in others {
        send::datagram((server, 53).into(), this.port, &message.octets(0x0fff))?;
    }
    answered(&dns::over_udp(server, this.port, &last.octets(0x0ffe))?)
}

/// What a stream allows and a datagram does not.
fn over_tcp(server: IpAddr) -> Vec<Attempt> {
    let server = SocketAddr::new(server, 53);
    let attempt = |id: &str, what: &str, build: fn(&Try<'_>) -> Vec<u8>| {
        Attempt::new(id, what, move |this| {
            let reply = dns::stream(server, this.port, &build(this))?;
            Ok(format!("heard {} octets", reply.len()))
        })
    };
    vec![
        attempt("dns-tcp-pipelined", "permitted and denied names in turn, in one segment", |this| {
            let pair = [dns::framed(&permitted(this).octets(1)), dns::framed(&denied(this).octets(2))].concat();
            pair.repeat(20)
        }),
        attempt("dns-tcp-glued", "a message of two, under one length", |this| {
            dns::framed(&[permitted(this).octets(1), denied(this).octets(2)].concat())
        }),
        attempt("dns-tcp-long-length", "a length that says more than follows, then a denied name", |this| {
            let octets = permitted(this).octets(1);
            [&600_u16.to_be_bytes()[..], &octets, &dns::framed(&denied(this).octets(2))].concat()
        }),
        attempt("dns-tcp-short-length", "a length that ends in the middle, then a denied name", |this| {
            let octets = permitted(this).octets(1);
            [&12_u16.to_be_bytes()[..], &octets, &dns::framed(&denied(this).octets(2))].concat()
        }),
        attempt("dns-tcp-transfer", "transfers of a denied zone (AXFR, IXFR)", |this| {
            let question = |kind| dns::framed(&Message::question(&this.denied_name(), kind).octets(5));
            [question(252), question(251)].concat()
        }),
        attempt("dns-tcp-no-dns", "HTTP and nonsense on the DNS port", |this| {
            format!("GET http://{}/ HTTP/1.1\r\nhost: {}\r\n\r\n", this.denied_name(), this.denied_name()).into_bytes()
        }),
        Attempt::new("dns-tcp-slowly", "a denied name, octet by octet", move |this| {
            let reply = dns::slowly(server, this.port, &dns::framed(&denied(this).octets(4)))?;
            Ok(format!("heard {} octets", reply.len()))
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_the_standard_says() {
        let octets = Message::question("a.example", A).octets(0x1234);
        let expected = [
            0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 0, 0, 1, 0,
            1,
        ];
        assert_eq!(octets, expected);
    }
}
