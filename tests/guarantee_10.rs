//! G10: an error in the evaluation of a policy denies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{UPSTREAM, WALL, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

/// Cedar skips a `forbid` that fails to evaluate and would permit: the sum
/// overflows, which no validator can see.
const FAILING_FORBID: &str = r#"
@id("everything") permit(principal, action == Action::"net.connect", resource in Domain::"example.com");
@id("overflow") forbid(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443")
    when { context.now.toTime().toMilliseconds() + 9223372036854775807 > 0 };
"#;

#[test]
fn a_forbid_that_fails_to_evaluate_denies() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup { policy: FAILING_FORBID, ..Setup::default() });
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), Vec::<String>::new());
        let (_, extended) = verdict(&reply);
        assert!(extended.as_ref().is_some_and(|(code, text)| *code == 15 && text.contains("overflow")), "{extended:?}");
        assert_eq!(wall.events("query.denied", 1)[0]["reason"], "policy_error");
        assert_eq!(upstream.asked(), []);

        let reply = lab.within("agent", || ask(WALL, "other.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
    });
}
