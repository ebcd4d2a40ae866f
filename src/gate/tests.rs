//! The order of things: what is never asked, never opened, never told.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::core::config::{CatchAllForbid, ClientEntry};
use crate::core::decision::{Failure, Opening};
use crate::core::policy::Sources;
use crate::core::query::{Agent, Client};
use crate::core::record::{Data, Record, Response, Verdict};
use crate::core::screen::{Rules, screen};

const NOW: WallTime = WallTime(1_700_000_000_000);

/// An upstream that answers every question with these records.
#[derive(Default)]
struct FakeUpstream {
    records: Vec<Record>,
    asked: AtomicUsize,
    cached: Mutex<Vec<Name>>,
}

impl Resolve for &FakeUpstream {
    fn at_hand(&self, question: &Question) -> Option<Resolved> {
        let is_cached = self.cached.lock().unwrap().contains(&question.name);
        is_cached.then(|| self.answer(question).unwrap())
    }

    async fn resolve(&self, question: &Question) -> Result<Resolved, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer(question)
    }
}

impl FakeUpstream {
    fn answer(&self, question: &Question) -> Result<Resolved, Failure> {
        let response = Response { verdict: Verdict::Exists, records: self.records.clone(), negative_ttl: None };
        let rules = Rules { allow_ranges: vec!["203.0.113.0/24".parse().unwrap()], max_ttl: Ttl::from_wire(3600) };
        let screened = screen(&question.name, question.kind, &response, &rules)?;
        Ok(Resolved { ttl: screened.ttl, screened: Arc::new(screened) })
    }
}

/// A kernel that does as it is told, once it is told to.
struct FakeKernel {
    result: Result<(), Refusal>,
    may_answer: Option<Notify>,
    wanted: Mutex<Vec<Wanted>>,
}

impl FakeKernel {
    fn that(result: Result<(), Refusal>) -> Self {
        Self { result, may_answer: None, wanted: Mutex::default() }
    }

    fn opened(&self) -> Vec<(IpAddr, IpAddr)> {
        let wanted = self.wanted.lock().unwrap();
        let grants = wanted.iter().flat_map(|wanted| &wanted.grants);
        grants.map(|grant| (grant.client.address(), grant.address)).collect()
    }
}

impl Open for &FakeKernel {
    async fn open(&self, wanted: Wanted) -> Result<Opened, Refusal> {
        let ttl = wanted.ttl;
        self.wanted.lock().unwrap().push(wanted);
        if let Some(may_answer) = &self.may_answer {
            may_answer.notified().await;
        }
        self.result.map(|()| Opened::acknowledged(ttl))
    }
}

fn policy(text: &str) -> Arc<ArcSwap<InForce>> {
    Arc::new(ArcSwap::from_pointee(in_force(text, Generation::FIRST)))
}

fn in_force(text: &str, generation: Generation) -> InForce {
    let sources = Sources { policies: vec![("p.cedar".into(), text.into())], ..Sources::default() };
    InForce {
        policy: Arc::new(Policy::load(&sources, CatchAllForbid::Strict).unwrap().policy),
        identities: asks_from("claude", &["10.77.0.2"]),
        allow_ranges: Arc::from(["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
        mode: PolicyMode::Enforce,
        generation,
    }
}

fn asks_from(agent: &str, addresses: &[&str]) -> Arc<Identities> {
    let addresses = addresses.iter().map(|address| Client::new(address.parse().unwrap())).collect();
    Arc::new(Identities::new(&[ClientEntry { addresses, agent: Agent::parse(agent).unwrap() }]))
}

const CLAUDE: &str = r#"permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"api.example.com:443");"#;
const API: &str = r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");"#;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn query(host: &str, kind: RecordKind) -> Query {
    let addresses: Vec<_> = ["10.77.0.2"].iter().map(|text| Client::new(text.parse().unwrap())).collect();
    Query {
        client: addresses[0],
        addresses: addresses.into(),
        agent: Agent::parse("claude").unwrap(),
        name: name(host),
        kind,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn address(owner: &str, text: &str) -> Record {
    Record { owner: name(owner), ttl: Ttl::from_wire(300), data: Data::Address(text.parse().unwrap()) }
}

fn alias(owner: &str, target: &str) -> Record {
    Record { owner: name(owner), ttl: Ttl::from_wire(300), data: Data::Alias(name(target)) }
}

fn upstream(records: Vec<Record>) -> FakeUpstream {
    FakeUpstream { records, ..FakeUpstream::default() }
}

#[tokio::test]
async fn a_denied_name_reaches_neither_upstream_nor_kernel() {
    let (upstream, kernel) = (upstream(vec![address("x.example.com", "203.0.113.7")]), FakeKernel::that(Ok(())));
    let gate = Gate::new(policy(API), &upstream, &kernel, NameLimits::default());
    let outcome = gate.pass(&query("x.example.com", RecordKind::A), NOW).await;
    assert_eq!(outcome, Outcome::Denied(Denial::by_default(Reason::NotPermitted)));
    assert_eq!((upstream.asked.load(Ordering::SeqCst), kernel.opened().len()), (0, 0));
}

/// What audit mode says of `name`, and which addresses it has opened.
async fn audited(text: &str, records: Vec<Record>, name: &str, limits: NameLimits) -> (Outcome, usize) {
    let (upstream, kernel) = (upstream(records), FakeKernel::that(Ok(())));
    let in_force = InForce { mode: PolicyMode::Audit, ..in_force(text, Generation::FIRST) };
    let gate = Gate::new(Arc::new(ArcSwap::from_pointee(in_force)), &upstream, &kernel, limits);
    (gate.pass(&query(name, RecordKind::A), NOW).await, kernel.opened().len())
}

fn would_deny(outcome: &Outcome) -> (Option<Reason>, Vec<Opening>) {
    let Outcome::Answered(answered) = outcome else { panic!("{outcome:?}") };
    (answered.would_deny.as_ref().map(|denial| denial.reason), answered.openings.to_vec())
}

#[tokio::test]
async fn audit_mode_opens_every_port_of_what_it_would_deny_and_says_so() {
    let none = NameLimits { per_minute: 0, ..NameLimits::default() };
    let domain = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com");"#;
    let no_alias =
        format!("{API}forbid(principal, action == Action::\"net.connect\", resource in Domain::\"example.net\");");
    let elsewhere = API.replace(");", ") when { context has ip && context.ip.isInRange(ip(\"192.0.2.0/24\")) };");
    let aliases = vec![alias("api.example.com", "cdn.example.net"), address("cdn.example.net", "203.0.113.7")];
    let usual = NameLimits::default();
    for (policy, records, name, limits, reason) in [
        (API, vec![address("x.example.org", "203.0.113.7")], "x.example.org", usual, Reason::NotPermitted),
        (&no_alias, aliases, "api.example.com", usual, Reason::ForbiddenAlias),
        (domain, vec![address("x.example.com", "203.0.113.7")], "x.example.com", none, Reason::TooManyNames),
        (&elsewhere, vec![address("api.example.com", "203.0.113.7")], "api.example.com", usual, Reason::NotPermitted),
    ] {
        let (outcome, opened) = audited(policy, records, name, limits).await;
        assert_eq!(would_deny(&outcome), (Some(reason), Opening::every().to_vec()), "{name}");
        assert_eq!(opened, 1);
    }
}

#[tokio::test]
async fn audit_mode_leaves_what_is_permitted_as_it_is_and_strangers_and_special_ranges_closed() {
    let limits = NameLimits::default();
    let (outcome, _) = audited(API, vec![address("api.example.com", "203.0.113.7")], "api.example.com", limits).await;
    let (reason, openings) = would_deny(&outcome);
    assert_eq!(reason, None);
    assert_ne!(openings, Opening::every());

    let special = vec![address("x.example.org", "10.0.0.7")];
    let (outcome, opened) = audited(API, special, "x.example.org", limits).await;
    assert_eq!(outcome, Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress)));
    assert_eq!(opened, 0);

    let (upstream, kernel) = (upstream(vec![address("api.example.com", "203.0.113.7")]), FakeKernel::that(Ok(())));
    let identities = asks_from("claude", &["10.77.0.9"]);
    let in_force = InForce { mode: PolicyMode::Audit, identities, ..in_force(API, Generation::FIRST) };
    let gate = Gate::new(Arc::new(ArcSwap::from_pointee(in_force)), &upstream, &kernel, limits);
    let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
    assert_eq!(outcome, Outcome::Denied(Denial::by_default(Reason::UnknownClient)));
}

#[tokio::test]
async fn an_answer_waits_for_the_kernel() {
    let upstream = upstream(vec![address("api.example.com", "203.0.113.7")]);
    let kernel = FakeKernel { may_answer: Some(Notify::new()), ..FakeKernel::that(Ok(())) };
    let gate = Gate::new(policy(API), &upstream, &kernel, NameLimits::default());
    let query = query("api.example.com", RecordKind::A);
    let mut passing = std::pin::pin!(gate.pass(&query, NOW));
    for _ in 0..100 {
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(passing.as_mut().poll(context).is_ready()));
        assert!(!polled.await, "answered before the kernel acknowledged");
        tokio::task::yield_now().await;
    }
    assert_eq!(kernel.opened().len(), 1);
    kernel.may_answer.as_ref().unwrap().notify_one();
    assert!(matches!(passing.await, Outcome::Answered(answered) if answered.opened.len() == 1));
}

#[tokio::test]
async fn what_the_kernel_refuses_is_never_told() {
    let upstream = upstream(vec![address("api.example.com", "203.0.113.7")]);
    for failure in [Failure::KernelRefused, Failure::KernelSilent] {
        let kernel = FakeKernel::that(Err(Refusal::Failed(failure)));
        let gate = Gate::new(policy(API), &upstream, &kernel, NameLimits::default());
        assert_eq!(gate.pass(&query("api.example.com", RecordKind::A), NOW).await, Outcome::Failed(failure));
    }
}

#[tokio::test]
async fn a_forbidden_name_on_the_chain_denies_and_opens_nothing() {
    let text = format!(
        "{API} forbid(principal, action == Action::\"net.connect\", resource in Domain::\"tracker.example.net\");"
    );
    let chain =
        vec![alias("api.example.com", "eu.tracker.example.net"), address("eu.tracker.example.net", "203.0.113.7")];
    let (upstream, kernel) = (upstream(chain), FakeKernel::that(Ok(())));
    let gate = Gate::new(policy(&text), &upstream, &kernel, NameLimits::default());
    let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
    assert!(matches!(outcome, Outcome::Denied(denial) if denial.reason == Reason::ForbiddenAlias));
    assert_eq!(kernel.opened(), []);
}

#[tokio::test]
async fn an_address_the_policy_forbids_is_neither_opened_nor_told() {
    let text = r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443")
        when { context has ip && context.ip.isInRange(ip("203.0.113.0/29")) };"#;
    let records = vec![address("api.example.com", "203.0.113.7"), address("api.example.com", "203.0.113.99")];
    let (upstream, kernel) = (upstream(records), FakeKernel::that(Ok(())));
    let gate = Gate::new(policy(text), &upstream, &kernel, NameLimits::default());
    let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
    let Outcome::Answered(answered) = outcome else { panic!("{outcome:?}") };
    let permitted: IpAddr = "203.0.113.7".parse().unwrap();
    assert_eq!(*answered.screened.addresses, [permitted]);
    assert_eq!(kernel.opened(), [("10.77.0.2".parse().unwrap(), permitted)]);
}

#[tokio::test]
async fn an_answer_opens_for_the_clients_address_of_its_own_family() {
    let (upstream, kernel) = (upstream(vec![address("api.example.com", "2606:4700::7")]), FakeKernel::that(Ok(())));
    let gate = Gate::new(policy(API), &upstream, &kernel, NameLimits::default());
    let only_four = query("api.example.com", RecordKind::Aaaa);
    assert!(matches!(gate.pass(&only_four, NOW).await, Outcome::Empty(empty) if empty.screened.addresses.is_empty()));
    assert_eq!(kernel.opened(), []);

    let both =
        InForce { identities: asks_from("claude", &["10.77.0.2", "fd77::2"]), ..in_force(API, Generation::FIRST) };
    let gate = Gate::new(Arc::new(ArcSwap::from_pointee(both)), &upstream, &kernel, NameLimits::default());
    assert!(matches!(gate.pass(&only_four, NOW).await, Outcome::Answered(_)));
    assert_eq!(kernel.opened(), [("fd77::2".parse().unwrap(), "2606:4700::7".parse().unwrap())]);
}

#[tokio::test]
async fn with_every_address_closed_there_is_no_answer() {
    let (upstream, kernel) = (upstream(vec![address("api.example.com", "169.254.169.254")]), FakeKernel::that(Ok(())));
    let gate = Gate::new(policy(API), &upstream, &kernel, NameLimits::default());
    let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
    assert_eq!(outcome, Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress)));
    assert_eq!(kernel.opened(), []);
}

/// An upstream during whose wait something else comes into force.
struct SlowUpstream<'a> {
    upstream: &'a FakeUpstream,
    in_force: Arc<ArcSwap<InForce>>,
    next: InForce,
}

impl Resolve for SlowUpstream<'_> {
    fn at_hand(&self, _: &Question) -> Option<Resolved> {
        None
    }

    async fn resolve(&self, question: &Question) -> Result<Resolved, Failure> {
        self.in_force.store(Arc::new(self.next.clone()));
        self.upstream.resolve(question).await
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_a_new_policy_is_judged_by_it() {
    let upstream = upstream(vec![address("api.example.com", "203.0.113.7")]);
    let other = r#"permit(principal, action == Action::"net.connect", resource == Resource::"b.example.com:443");"#;
    let second = |text| in_force(text, Generation::FIRST.next());
    let another_agent = InForce { identities: asks_from("ci", &["10.77.0.2"]), ..second(CLAUDE) };
    let a_stranger = InForce { identities: asks_from("claude", &["10.77.0.9"]), ..second(API) };
    let closed_range = InForce { allow_ranges: Arc::from([]), ..second(API) };
    for (next, expected) in
        [(second(other), 0), (second(API), 1), (another_agent, 0), (a_stranger, 0), (closed_range, 0)]
    {
        let (in_force, kernel) = (policy(API), FakeKernel::that(Ok(())));
        let slow = SlowUpstream { upstream: &upstream, in_force: Arc::clone(&in_force), next };
        let gate = Gate::new(in_force, slow, &kernel, NameLimits::default());
        let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
        assert_eq!(kernel.opened().len(), expected, "{outcome:?}");
        let wanted = kernel.wanted.lock().unwrap();
        assert!(wanted.iter().all(|wanted| wanted.generation == Generation::FIRST.next()));
    }
}

/// A firewall that knows of a newer policy than the gate, once.
struct Ahead<'a> {
    kernel: &'a FakeKernel,
    in_force: Arc<ArcSwap<InForce>>,
}

impl Open for Ahead<'_> {
    async fn open(&self, wanted: Wanted) -> Result<Opened, Refusal> {
        if wanted.generation < Generation::FIRST.next() {
            self.in_force.store(Arc::new(in_force(API, Generation::FIRST.next())));
            return Err(Refusal::Superseded);
        }
        (&self.kernel).open(wanted).await
    }
}

#[tokio::test]
async fn what_the_firewall_refuses_as_outdated_is_judged_again_and_answered() {
    let upstream = upstream(vec![address("api.example.com", "203.0.113.7")]);
    let (in_force, kernel) = (policy(API), FakeKernel::that(Ok(())));
    let gate = Gate::new(Arc::clone(&in_force), &upstream, Ahead { kernel: &kernel, in_force }, NameLimits::default());
    let outcome = gate.pass(&query("api.example.com", RecordKind::A), NOW).await;
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!((kernel.opened().len(), upstream.asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn what_labels_can_tell_is_counted_before_anything_leaves_the_house() {
    let upstream = upstream(vec![address("a.example.com", "203.0.113.7")]);
    let kernel = FakeKernel::that(Ok(()));
    let text = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com");
        permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");"#;
    let limits = NameLimits { per_minute: 1, ..NameLimits::default() };
    let gate = Gate::new(policy(text), &upstream, &kernel, limits);
    let ask = async |name| gate.pass(&query(name, RecordKind::Other(16)), NOW).await;
    let told = async |name| match gate.pass(&query(name, RecordKind::A), NOW).await {
        Outcome::Denied(denial) => Some(denial.reason),
        _ => None,
    };
    assert_eq!(told("a.example.com").await, None);
    let asked = upstream.asked.load(Ordering::SeqCst);
    assert_eq!(told("b.example.com").await, Some(Reason::TooManyNames));
    assert_eq!(upstream.asked.load(Ordering::SeqCst), asked, "nothing was asked upstream");
    assert_eq!(told("a.example.com").await, None, "a name of this minute");
    for free in ["api.example.com", "example.com"] {
        assert_eq!(told(free).await, None, "{free} is named by a permit");
    }
    upstream.cached.lock().unwrap().push(name("c.example.com"));
    assert_eq!(told("c.example.com").await, None, "what is at hand tells nobody anything");
    assert!(matches!(ask("b.example.com").await, Outcome::Denied(denial) if denial.reason == Reason::NotPermitted));
}
