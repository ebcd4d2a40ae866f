//! What clients get on the wire, from the real daemon: response codes, flags,
//! EDNS and extended errors, over UDP and TCP, IPv4 and IPv6.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::svcb::SvcParamKey;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use support::client::{addresses, ask, ask_tcp, exchange, has_soa, question, verdict};
use support::lab::{Lab, UPSTREAM, WALL, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Asked, Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

const WALL6: &str = "[fd77::1]:53";
const PATIENCE: Duration = Duration::from_secs(8);

const POLICY: &str = r#"
@id("web")
permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
@id("texts")
permit(principal, action == Action::"dns.query", resource in Domain::"example.com")
    when { context.qtype == "TXT" };
@id("no-telemetry")
forbid(principal, action, resource in Domain::"telemetry.example.com");
"#;

fn setup() -> Setup<'static> {
    Setup { policy: POLICY, ..Setup::default() }
}

/// TXT and HTTPS records as nobody's library would write them.
const ODD_TXT: &[u8] = b"\x00\x05\xff\x00\"\\;\x01A\x00";
const HTTPS_HEAD: &[u8] = b"\x00\x01\x00\x00\x01\x00\x03\x02h2";
const HTTPS_HINTS: &[u8] =
    b"\x00\x04\x00\x04\xcb\x00\x71\x42\x00\x06\x00\x10\x20\x01\x0d\xb8\x00\x02\0\0\0\0\0\0\0\0\0\x66";

fn raw(query: &Message, kind: RecordType, rdata: &[u8]) -> Record {
    let data = RData::Unknown { code: kind, rdata: NULL::with(rdata.to_vec()) };
    Record::from_rdata(query.queries[0].name().clone(), 300, data)
}

fn upstream(asked: &Asked, query: &Message) -> Option<Vec<u8>> {
    let many = |count| (1..=count).map(|host| address(query, 300, &format!("203.0.113.{host}"))).collect();
    let records = match (asked.kind, asked.name.as_str()) {
        (RecordType::A, "fifteen.example.com") => many(15),
        (RecordType::A, "thirty.example.com") => many(30),
        (RecordType::A, _) => vec![address(query, 300, "203.0.113.7")],
        (RecordType::AAAA, _) => vec![address(query, 300, "2001:db8:2::7")],
        (RecordType::HTTPS, _) => vec![raw(query, RecordType::HTTPS, &[HTTPS_HEAD, HTTPS_HINTS].concat())],
        (RecordType::TXT, "large.example.com") if !asked.over_tcp => {
            let mut cut = answer(query, Vec::new());
            cut.metadata.truncation = true;
            return wire(&cut);
        }
        (RecordType::TXT, "large.example.com") => (0..20)
            .map(|index| raw(query, RecordType::TXT, &[&[100], [b'a' + index; 100].as_slice()].concat()))
            .collect(),
        (RecordType::TXT, _) => vec![raw(query, RecordType::TXT, ODD_TXT)],
        _ => Vec::new(),
    };
    wire(&answer(query, records))
}

/// What `wire` gets as an answer over UDP.
fn reply_to_octets(lab: &Lab, wire: &[u8]) -> Message {
    let reply = lab.within("agent", || exchange(WALL, wire, PATIENCE)).expect("an answer");
    assert!(reply.len() <= 1232, "a datagram of {} octets", reply.len());
    Message::from_vec(&reply).unwrap()
}

fn reply_to(lab: &Lab, message: &Message) -> Message {
    reply_to_octets(lab, &message.to_vec().unwrap())
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

#[test]
fn a_denied_name_does_not_exist_and_the_answer_says_why_on_every_transport() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        let by_default = "no policy permits this name";
        let by_policy = "a policy forbids this name (policy no-telemetry)";
        for (name, why) in [("Sneaky.Example.NET", by_default), ("TELEMETRY.example.com", by_policy)] {
            for server in [WALL, WALL6] {
                for asked in [ask, ask_tcp] {
                    for kind in [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::MX] {
                        let reply = lab.within("agent", || asked(server, name, kind)).unwrap();
                        let metadata = &reply.metadata;
                        assert!(metadata.authoritative && metadata.recursion_available && metadata.recursion_desired);
                        assert!(!metadata.truncation && !metadata.authentic_data);
                        assert_eq!(reply.queries[0].name().to_ascii(), format!("{name}."), "the case is the client's");
                        assert_eq!((reply.answers.len(), has_soa(&reply)), (0, true));
                        assert_eq!(reply.authorities[0].ttl, 10, "a short negative TTL");
                        let (code, extended) = verdict(&reply);
                        assert_eq!((code, extended.as_ref().unwrap().0), (ResponseCode::NXDomain, 15), "{name} {kind}");
                        if kind.is_ip_addr() {
                            assert_eq!(extended.unwrap().1, why);
                        }
                    }
                }
            }
        }
        assert_eq!(upstream.asked(), [], "a denied name is nobody else's business");
    });
}

#[test]
fn a_permitted_name_is_answered_alike_on_every_transport() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        for server in [WALL, WALL6] {
            for asked in [ask, ask_tcp] {
                for (kind, address) in [(RecordType::A, "203.0.113.7"), (RecordType::AAAA, "2001:db8:2::7")] {
                    let reply = lab.within("agent", || asked(server, "aPi.eXample.com", kind)).unwrap();
                    assert_eq!(
                        (verdict(&reply), addresses(&reply)),
                        ((ResponseCode::NoError, None), vec![address.into()])
                    );
                    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
                    assert_eq!(reply.queries[0].name().to_ascii(), "aPi.eXample.com.");
                    assert!((1..=300).contains(&reply.answers[0].ttl));
                }
            }
        }
    });
}

#[test]
fn deny_refused_is_honest_about_it() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &Setup { dns: "deny = \"refused\"", ..setup() });
        for asked in [ask, ask_tcp] {
            let reply = lab.within("agent", || asked(WALL, "telemetry.example.com", RecordType::A)).unwrap();
            let why = "a policy forbids this name (policy no-telemetry)";
            assert_eq!(verdict(&reply), (ResponseCode::Refused, Some((15, why.into()))));
            assert!(reply.answers.is_empty() && reply.authorities.is_empty());
        }
        assert_eq!(upstream.asked(), []);
    });
}

#[test]
fn a_client_nobody_configured_is_refused_whatever_it_asks() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        run("ip", &["-n", "agent", "addr", "add", "10.77.0.99/24", "dev", "eth0"]);
        let mut wall = Wall::start(lab, &setup());
        for name in ["api.example.com", "telemetry.example.com", "nobody.example.net"] {
            for kind in [RecordType::A, RecordType::TXT, RecordType::ANY] {
                let wire = question(name, kind).to_vec().unwrap();
                let reply = lab.within("agent", || {
                    let socket = UdpSocket::bind("10.77.0.99:0").unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.connect(WALL).unwrap();
                    socket.send(&wire).unwrap();
                    let mut buffer = [0; 1232];
                    let length = socket.recv(&mut buffer).unwrap();
                    Message::from_vec(&buffer[..length]).unwrap()
                });
                let why = "no agent is known for this client";
                assert_eq!(verdict(&reply), (ResponseCode::Refused, Some((18, why.into()))));
                assert!(reply.metadata.recursion_available && reply.answers.is_empty());
            }
        }
        assert_eq!((upstream.asked(), elements("lease4")), (vec![], vec![]));
        assert_eq!(wall.events("client.unknown", 9)[0]["reason"], "unknown_client");
        assert!(wall.process().is_running());
    });
}

#[test]
fn edns_is_spoken_to_those_who_speak_it() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        let with = |name: &str, kind, payload: Option<u16>| {
            let mut message = question(name, kind);
            message.edns = message.edns.filter(|_| payload.is_some());
            let mut wire = message.to_vec().unwrap();
            if let Some(payload) = payload {
                // The class of the OPT record, which is the last: hickory would
                // not write less than 512 itself.
                let class = wire.len() - 8..wire.len() - 6;
                wire[class].copy_from_slice(&payload.to_be_bytes());
            }
            reply_to_octets(lab, &wire)
        };

        let mut future = question("api.example.com", RecordType::A);
        future.edns.as_mut().unwrap().set_version(1);
        let reply = reply_to(lab, &future);
        assert_eq!((u16::from(code(&reply)), reply.edns.as_ref().unwrap().version()), (16, 0), "BADVERS");
        assert!(reply.answers.is_empty());

        for name in ["api.example.com", "telemetry.example.com"] {
            assert_eq!(with(name, RecordType::A, None).edns, None, "no OPT unless asked");
            let edns = with(name, RecordType::A, Some(4096)).edns.unwrap();
            assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
        }
        // 15 addresses take 290 octets, 30 take 530: what a client announces
        // is read as at least 512.
        for (name, payload, count) in [
            ("fifteen.example.com", None, Some(15)),
            ("fifteen.example.com", Some(0), Some(15)),
            ("fifteen.example.com", Some(100), Some(15)),
            ("thirty.example.com", None, None),
            ("thirty.example.com", Some(100), None),
            ("thirty.example.com", Some(512), None),
            ("thirty.example.com", Some(1000), Some(30)),
            ("thirty.example.com", Some(65_535), Some(30)),
        ] {
            let reply = with(name, RecordType::A, payload);
            assert_eq!(reply.metadata.truncation, count.is_none(), "{name} {payload:?}");
            assert_eq!(reply.answers.len(), count.unwrap_or(0), "{name} {payload:?}");
            assert_eq!(reply.edns.is_some(), payload.is_some(), "{name} {payload:?}: OPT stays under truncation");
            assert_eq!(code(&reply), ResponseCode::NoError);
        }
        // And as at most 1232.
        let reply = with("large.example.com", RecordType::TXT, Some(4096));
        assert!(reply.metadata.truncation && reply.edns.is_some() && reply.answers.is_empty());
        for (name, kind, count) in
            [("large.example.com", RecordType::TXT, 20), ("thirty.example.com", RecordType::A, 30)]
        {
            let reply = lab.within("agent", || ask_tcp(WALL, name, kind)).unwrap();
            assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, count), "TCP gives all");
        }
    });
}

#[test]
fn what_is_not_a_question_gets_its_response_code_and_asks_nobody() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        let mut wall = Wall::start(lab, &setup());
        let good = question("api.example.com", RecordType::A);
        let with = |change: &dyn Fn(&mut Message)| {
            let mut message = good.clone();
            change(&mut message);
            code(&reply_to(lab, &message))
        };
        assert_eq!(with(&|message| message.queries.clear()), ResponseCode::FormErr, "no question");
        assert_eq!(with(&|message| message.queries.push(good.queries[0].clone())), ResponseCode::FormErr, "two");
        for opcode in [OpCode::Notify, OpCode::Update, OpCode::Status, OpCode::Unknown(6), OpCode::Unknown(15)] {
            assert_eq!(with(&|message| message.metadata.op_code = opcode), ResponseCode::NotImp, "{opcode:?}");
        }
        for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::from(249), RecordType::from(250)] {
            let refused = with(&|message| {
                message.queries[0].set_query_type(kind);
            });
            assert_eq!(refused, ResponseCode::Refused, "{kind}");
            let over_tcp = lab.within("agent", || ask_tcp(WALL, "api.example.com", kind)).unwrap();
            assert_eq!(code(&over_tcp), ResponseCode::Refused, "{kind} over TCP");
        }
        for class in [DNSClass::HS, DNSClass::NONE, DNSClass::ANY, DNSClass::Unknown(42)] {
            let refused = with(&|message| {
                message.queries[0].set_query_class(class);
            });
            assert_eq!(refused, ResponseCode::Refused, "{class}");
        }
        let cut = lab.within("agent", || exchange(WALL, &good.to_vec().unwrap()[..20], PATIENCE)).unwrap();
        assert_eq!((cut[..2] == good.to_vec().unwrap()[..2], cut[3] & 0x0f), (true, 1), "FORMERR with its id");
        assert_eq!((upstream.asked(), elements("lease4")), (vec![], vec![]));
        assert!(wall.process().is_running());
    });
}

#[test]
fn the_wall_speaks_of_itself_in_the_chaos_class() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        let chaos = |name: &str| {
            let mut message = question(name, RecordType::TXT);
            message.queries[0].set_query_class(DNSClass::CH);
            reply_to(lab, &message)
        };
        let text = |reply: &Message| reply.answers[0].data.to_string().trim_matches('"').to_owned();
        let version = chaos("version.cedarwall");
        assert_eq!((text(&version), version.answers[0].dns_class), (env!("CARGO_PKG_VERSION").into(), DNSClass::CH));
        assert_eq!(version.answers[0].ttl, 0);
        assert_eq!(text(&chaos("denied.cedarwall")), "0");
        for denied in 1..=3 {
            lab.within("agent", || ask(WALL, "telemetry.example.com", RecordType::A)).unwrap();
            assert_eq!(text(&chaos("Denied.Cedarwall")), denied.to_string(), "counted before the denial is answered");
        }
        // Each asker sees its own.
        let other = lab.within("other", || {
            let mut message = question("denied.cedarwall", RecordType::TXT);
            message.queries[0].set_query_class(DNSClass::CH);
            exchange("10.77.1.1:53", &message.to_vec().unwrap(), PATIENCE)
        });
        assert_eq!(text(&Message::from_vec(&other.unwrap()).unwrap()), "0");
        assert_eq!(code(&chaos("version.bind")), ResponseCode::Refused);
        assert_eq!(code(&chaos("api.example.com")), ResponseCode::Refused);
    });
}

#[test]
fn any_gets_the_least_there_is_and_asks_nobody() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        for asked in [ask, ask_tcp] {
            let reply = lab.within("agent", || asked(WALL, "api.example.com", RecordType::ANY)).unwrap();
            assert_eq!((code(&reply), reply.answers.len()), (ResponseCode::NoError, 1));
            assert!(matches!(&reply.answers[0].data, RData::HINFO(info) if &*info.cpu == b"RFC8482"), "{reply:?}");
            let reply = lab.within("agent", || asked(WALL, "telemetry.example.com", RecordType::ANY)).unwrap();
            assert_eq!((code(&reply), reply.answers.len()), (ResponseCode::NXDomain, 0));
        }
        assert_eq!((upstream.asked(), elements("lease4")), (vec![], vec![]));
    });
}

#[test]
fn an_answer_or_noise_is_never_answered_and_the_daemon_lives() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, upstream);
        let mut wall = Wall::start(lab, &setup());
        let good = question("api.example.com", RecordType::A);
        let wire = good.to_vec().unwrap();
        let mut answer = wire.clone();
        answer[2] |= 0x80;
        let mut malformed = answer.clone();
        malformed[4..12].fill(0xff);
        let mut bad = vec![answer.clone(), malformed, answer[..12].to_vec(), answer[..14].to_vec(), Vec::new()];
        for opcode in 0..16 {
            answer[2] = 0x80 | opcode << 3;
            bad.push(answer.clone());
        }
        bad.extend((1..12).map(|length| wire[..length].to_vec()));
        bad.extend((1..12).map(|length| vec![0; length]));
        for server in [WALL, WALL6] {
            lab.within("agent", || {
                let any: SocketAddr = if server == WALL { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(server).unwrap();
                for octets in &bad {
                    socket.send(octets).unwrap();
                }
                // Queued behind them all: what comes back is for this alone.
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut buffer = [0; 1232];
                for id in [77_u16, 78, 79] {
                    let mut message = good.clone();
                    message.metadata.id = id;
                    socket.send(&message.to_vec().unwrap()).unwrap();
                    let length = socket.recv(&mut buffer).unwrap();
                    let reply = Message::from_vec(&buffer[..length]).unwrap();
                    assert_eq!((reply.metadata.id, addresses(&reply)), (id, vec!["203.0.113.7".into()]));
                }
                socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                assert!(socket.recv(&mut buffer).is_err(), "an answer to an answer");
            });
        }
        assert!(wall.process().is_running());
    });
}

#[test]
fn service_bindings_lose_their_hints_and_other_types_need_their_own_permit() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, upstream);
        let _wall = Wall::start(lab, &setup());
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::HTTPS)).unwrap();
        let RData::HTTPS(https) = &reply.answers[0].data else { panic!("{reply:?}") };
        let keys: Vec<_> = https.0.svc_params.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [SvcParamKey::Alpn], "hints are addresses that nobody opened");
        assert_eq!(elements("lease4"), []);

        let octets = |name: &str, kind| {
            let wire = question(name, kind).to_vec().unwrap();
            lab.within("agent", || exchange(WALL, &wire, PATIENCE)).unwrap()
        };
        let reply = octets("api.example.com", RecordType::TXT);
        let record = [&u16::try_from(ODD_TXT.len()).unwrap().to_be_bytes(), ODD_TXT].concat();
        assert!(reply.windows(record.len()).any(|window| window == record), "a TXT record passes as it is: {reply:?}");

        // The name exists, so its other types must not be said to be missing
        // with it; but nobody asks for them.
        let before = upstream.asked().len();
        for kind in [RecordType::MX, RecordType::SRV, RecordType::NS, RecordType::PTR, RecordType::from(65_280)] {
            let reply = Message::from_vec(&octets("api.example.com", kind)).unwrap();
            assert_eq!(
                (code(&reply), reply.answers.len(), has_soa(&reply)),
                (ResponseCode::NoError, 0, true),
                "{kind}"
            );
            assert_eq!(verdict(&reply).1.unwrap().0, 15, "{kind}");
        }
        let reply = Message::from_vec(&octets("api.example.net", RecordType::TXT)).unwrap();
        assert_eq!(code(&reply), ResponseCode::NXDomain);
        assert_eq!(upstream.asked().len(), before);
    });
}
