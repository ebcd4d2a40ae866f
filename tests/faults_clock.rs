//! The wall clock is set while the wall stands: leases end when they would
//! have, and policies that look at the time follow the new one (G5, G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::released::asked_by_agent;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, binary};

const SECOND: Duration = Duration::from_secs(1);
const DAY: i64 = 86_400;

/// The library that tells a program another time of day, as Debian has it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(|folder| Some(folder.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("the package faketime is installed (see .ci/packages)")
}

/// Starts a wall whose clock on the wall [`set`] sets; its monotonic clock is
/// the kernel's.
fn start(lab: &Lab, setup: &Setup<'_>) -> Wall {
    let clock = set(lab, 0);
    let variables = [
        format!("LD_PRELOAD={}", library().display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let arguments: Vec<_> = variables.iter().map(String::as_str).chain(binary().to_str()).collect();
    Wall::start_through(lab, setup, Path::new("env"), &arguments)
}

/// Sets the clock this many seconds off the true time, in one step.
fn set(lab: &Lab, seconds: i64) -> PathBuf {
    let next = lab.write("clock.next", &format!("{seconds:+}\n"));
    let clock = lab.path("clock");
    std::fs::rename(next, &clock).unwrap();
    clock
}

/// The wall's own idea of the date, from the last event.
fn date(wall: &Wall) -> jiff::Timestamp {
    let events = wall.events("query.answered", 1);
    events.last().unwrap()["time"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_lease_lasts_as_long_as_it_would_have_whatever_the_clock_on_the_wall_says() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(4, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let api = "203.0.113.7:443".parse().unwrap();
        let mut wall = start(lab, &Setup { lease: "min = \"6s\"\nmax = \"1h\"\ngrace = \"2s\"", ..Setup::default() });
        for offset in [DAY, -DAY, 0] {
            asked_by_agent(lab, &mut wall, "api.example.com");
            let before = elements("lease4")[0].expires.unwrap();
            set(lab, offset);
            // Neither ended nor forgotten by it: the answer is still good for what is left.
            let (reply, _) = asked_by_agent(lab, &mut wall, "api.example.com");
            assert_eq!(addresses(&reply), ["203.0.113.7"]);
            assert!(reply.answers[0].ttl <= 6, "{}", reply.answers[0].ttl);
            eventually("the clock is set", 10 * SECOND, || {
                (date(&wall).as_second() - jiff::Timestamp::now().as_second() - offset).abs() < 60
            });
            assert!(lab.connects("agent", api, SECOND));
            let left = elements("lease4")[0].expires.unwrap();
            assert!(left + 3 >= before && left <= 9, "{left} s left after {before} s");
            let told = wall.operator(&["leases"]).unwrap();
            assert!(told.to_string().contains("203.0.113.7"), "{told}");

            eventually("the lease ends in the kernel", 15 * SECOND, || elements("lease4").is_empty());
            eventually("and in the ledger", 3 * SECOND, || {
                !wall.operator(&["leases"]).unwrap().to_string().contains("203.0.113.7")
            });
            assert!(!lab.connects("agent", api, SECOND / 2));
        }
        assert_eq!(wall.process().terminate(), Some(0));
    });
}

/// Permits until a day that has not come, one name and one address.
fn until_tomorrow() -> String {
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(DAY / 2);
    let date = tomorrow.strftime("%Y-%m-%dT%H:%M:%SZ");
    ["api.example.com:443", "203.0.113.9:443"]
        .map(|resource| {
            format!(
                "permit(principal, action == Action::\"net.connect\", resource == Resource::\"{resource}\")
                    when {{ context.now < datetime(\"{date}\") && context.protocol == Protocol::\"tcp\" }};\n"
            )
        })
        .concat()
}

#[test]
fn a_policy_that_looks_at_the_time_follows_a_clock_that_is_set_within_a_minute() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(3000, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let named = "203.0.113.9:443".parse().unwrap();
        let asked = || lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        let wall = start(lab, &Setup { policy: &until_tomorrow(), ..Setup::default() });
        assert_eq!(addresses(&asked()), ["203.0.113.7"]);
        assert!(lab.connects("agent", named, SECOND));
        // What was opened under the old time is open for a minute and the grace
        // at most, and two seconds if the daemon dies meanwhile.
        let left = elements("lease4")[0].expires.unwrap();
        assert!(left <= 77, "{left} s");

        set(lab, DAY);
        assert_eq!(verdict(&asked()).0, ResponseCode::NXDomain, "the next question is judged by the new time");
        eventually("the named address is closed", 65 * SECOND, || !lab.connects("agent", named, SECOND / 2));
        assert_eq!(elements("static4"), []);

        set(lab, 0);
        assert_eq!(addresses(&asked()), ["203.0.113.7"]);
        drop(wall);
    });
}
