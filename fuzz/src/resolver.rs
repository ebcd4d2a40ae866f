//! The wall's resolver without network and kernel: what the gate would let
//! out is given, and the handler makes octets of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cedarwall::clients::Clients;
use cedarwall::core::config::{ClientEntry, DenyAnswer, Transport};
use cedarwall::core::decision::{Answered, Decision, Denial, Empty, Outcome, Permit, Reason};
use cedarwall::core::event::{Event, Report};
use cedarwall::core::identities::Identities;
use cedarwall::core::process::{Ends, Traced};
use cedarwall::core::query::{Agent, Client, Protocol, Query};
use cedarwall::core::rate::Rate;
use cedarwall::core::screen::Screened;
use cedarwall::core::time::{Ttl, WallTime};
use cedarwall::dns::{Admission, Answer, Capture, Glance, Handler, Hooks, Pass, Settings};
use cedarwall::gate::Edition;
use hickory_proto::op::Message;

/// A client that the wall knows.
pub const KNOWN: &str = "10.77.0.2:4000";
/// One that it does not.
pub const STRANGER: &str = "10.77.0.9:4000";
/// The lifetime of every answer.
pub const TTL: u32 = 77;

/// What is screened for a query; `None`: the query is denied.
pub type Screener = Box<dyn Fn(&Query) -> Option<Arc<Screened>> + Send + Sync>;

/// Answers one message from `peer`.
pub fn reply(peer: &str, transport: Transport, deny: DenyAnswer, wire: &[u8], screener: Screener) -> Option<Vec<u8>> {
    let settings = Settings {
        deny,
        deny_ttl: Ttl::from_wire(10),
        max_in_flight: 4,
        in_flight_per_client: 4,
        rate: Rate { per_second: 1000, burst: 1000 },
        patience: Duration::from_secs(5),
        search: Arc::from([]),
    };
    let hooks = Hooks {
        now: || WallTime(1_767_225_600_000),
        denials: Arc::new(|_| 7),
        trace: Arc::new(|_| Box::pin(std::future::ready(Traced::Unasked))),
        capture: Capture::nothing(),
        glance: Arc::new(|| Glance::new(|| true)),
        edition: Edition::default(),
    };
    let handler = Handler::new(Given(screener), clients(), settings, hooks, Silent);
    let peer: SocketAddr = peer.parse().expect("an address");
    let protocol = match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    let local = SocketAddr::from(([10, 77, 0, 1], 53));
    let answer = runtime().block_on(handler.answer(Ends::new(protocol, peer, local), wire));
    check_repeated(&handler, peer, transport, wire, answer.as_deref());
    answer
}

/// What is given again is what was given, but for a second of its TTL.
fn check_repeated(handler: &impl Answer, peer: SocketAddr, transport: Transport, wire: &[u8], answer: Option<&[u8]>) {
    let admission = handler.admit(peer, transport, wire, &mut Glance::new(|| true));
    let (Admission::Answered(repeated), Some(answer)) = (admission, answer) else { return };
    let differing = repeated.iter().zip(answer).filter(|(new, old)| new != old);
    let is_a_second = |(new, old): (&u8, &u8)| *new == (TTL - 1) as u8 && *old == TTL as u8;
    assert!(repeated.len() == answer.len() && differing.into_iter().all(is_a_second), "{repeated:?} is not {answer:?}");
}

/// Every address that a message tells, in records of any section.
pub fn told(message: &Message) -> BTreeSet<IpAddr> {
    message.all_sections().filter_map(|record| record.data.ip_addr()).collect()
}

struct Given(Screener);

impl Pass for Given {
    async fn pass(&self, query: &Query, _now: WallTime) -> Outcome {
        let Some(screened) = (self.0)(query) else {
            return Outcome::Denied(Denial::by_default(Reason::NotPermitted));
        };
        let (policies, ttl) = (Arc::default(), Ttl::from_wire(TTL));
        if screened.negative.is_some() {
            return Outcome::Empty(Empty { policies, screened, ttl, would_deny: None });
        }
        let opened = Arc::clone(&screened.addresses);
        Outcome::Answered(Answered {
            policies,
            screened,
            ttl,
            opened,
            openings: Arc::default(),
            would_deny: None,
            stays: true,
        })
    }

    fn decide(&self, query: &Query, _now: WallTime) -> Decision {
        match (self.0)(query) {
            Some(_) => Decision::Permit(Permit {
                policies: Arc::default(),
                openings: Arc::default(),
                judges_addresses: false,
                valid_for: None,
                unnamed: 0,
                would_deny: None,
            }),
            None => Decision::Deny(Denial::by_default(Reason::NotPermitted)),
        }
    }
}

struct Silent;

impl Report for Silent {
    fn report(&self, _event: Event) {}
}

fn clients() -> Clients {
    let address = KNOWN.parse::<SocketAddr>().expect("an address").ip();
    let agent = Agent::parse("claude").expect("an agent");
    let entry = ClientEntry { addresses: [Client::new(address)].into(), agent };
    Clients::new(Arc::new(Identities::new(&[entry])))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}
