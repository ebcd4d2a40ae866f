//! G4: a lease is scoped to client, address, protocol and port.

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

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{UPSTREAM, WALL, enter, greeter, in_lab};
use support::nft::elements;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn no_client_profits_from_anothers_lease() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert!(lab.connects("agent", to("203.0.113.7:443"), SECOND));
        assert!(!lab.connects("other", to("203.0.113.7:443"), SECOND));
        lab.within("other", || ask("10.77.1.1:53", "api.example.com", RecordType::A)).unwrap();
        assert!(lab.connects("other", to("203.0.113.7:443"), SECOND));
    });
}

#[test]
fn a_lease_opens_its_address_its_port_and_its_protocol_and_no_other() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        for port in [80, 443, 8443] {
            greeter(port);
        }
        let heard = datagrams_heard_at("203.0.113.7:443");
        let _wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert!(lab.connects("agent", to("203.0.113.7:443"), SECOND));
        for other in ["203.0.113.7:80", "203.0.113.7:8443", "203.0.113.8:443", "[2001:db8:2::7]:443"] {
            assert!(!lab.connects("agent", to(other), SECOND / 2), "{other}");
        }
        lab.within("agent", || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "203.0.113.7:443").unwrap());
        assert!(heard.recv_timeout(SECOND / 2).is_err(), "UDP got through a TCP lease");
    });
}

#[test]
fn ports_and_protocols_of_the_policy_become_the_elements_of_the_kernel() {
    in_lab(|lab| {
        let policy = r#"
            @id("few") permit(principal, action == Action::"net.connect", resource in Domain::"few.example.com")
                when { context.protocol == Protocol::"tcp" && context.port >= 8000 && context.port < 8003 };
            @id("wide") permit(principal, action == Action::"net.connect", resource in Domain::"wide.example.com")
                when { context.protocol == Protocol::"udp" && context.port >= 1024 };
            @id("all") permit(principal, action == Action::"net.connect", resource in Domain::"all.example.com");
        "#;
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(8002);
        greeter(9000);
        let heard = datagrams_heard_at("203.0.113.7:5000");
        let _wall = Wall::start(lab, &Setup { policy, ..Setup::default() });

        let reply = lab.within("agent", || ask(WALL, "few.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        let mut ports: Vec<_> = elements("lease4").into_iter().map(|element| element.key[2..].join(" ")).collect();
        ports.sort();
        assert_eq!(ports, ["tcp 8000", "tcp 8001", "tcp 8002"]);
        assert!(lab.connects("agent", to("203.0.113.7:8002"), SECOND));
        assert!(!lab.connects("agent", to("203.0.113.7:9000"), SECOND / 2));

        lab.within("agent", || ask(WALL, "wide.example.com", RecordType::A)).unwrap();
        assert_eq!(elements("lease4_port_range")[0].key[2..], ["udp", r#"{"range":[1024,65535]}"#]);
        lab.within("agent", || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "203.0.113.7:5000").unwrap());
        assert!(heard.recv_timeout(SECOND).is_ok(), "a wide range opens");

        lab.within("agent", || ask(WALL, "all.example.com", RecordType::A)).unwrap();
        assert_eq!(elements("lease4_all_ports").len(), 2);
        assert!(lab.connects("agent", to("203.0.113.7:9000"), SECOND));
    });
}

/// Tells of each datagram that arrives at `address` on the internet.
fn datagrams_heard_at(address: &'static str) -> std::sync::mpsc::Receiver<()> {
    let (tell, told) = std::sync::mpsc::channel();
    let (ready, bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        enter("internet");
        let socket = UdpSocket::bind(address).unwrap();
        ready.send(()).unwrap();
        while socket.recv(&mut [0; 64]).is_ok() && tell.send(()).is_ok() {}
    });
    bound.recv().unwrap();
    told
}
