//! Policy text: the policies, then `entities.json` and `links.json` after a
//! line that is [`CUT`] each.

use cedarwall::core::config::CatchAllForbid;
use cedarwall::core::decision::Decision;
use cedarwall::core::name::Name;
use cedarwall::core::policy::{Policy, Sources, format, leash};
use cedarwall::core::problem::Problem;
use cedarwall::core::query::{Agent, Client, Query, RecordKind};
use cedarwall::core::time::WallTime;

/// Stands between the files of one input.
const CUT: &str = "\n----\n";
/// Longer ones only take longer.
const LONGEST: usize = 8 << 10;

/// Whatever somebody writes: it is loaded, or refused with a reason; it
/// decides the same each time, and the same once it is laid out.
pub fn examine(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.len() > LONGEST {
        return;
    }
    let mut files = text.splitn(3, CUT);
    let policies = files.next().unwrap_or_default();
    let mut json = |name: &str| files.next().map(|text| (name.to_owned(), text.to_owned()));
    let (entities, links) = (json("entities.json"), json("links.json"));
    let load = |policies: &str, reading| {
        let policies = vec![("p.cedar".to_owned(), policies.to_owned())];
        Policy::load(&Sources { policies, entities: entities.clone(), links: links.clone() }, reading)
    };

    // Leash's policies are Cedar, too.
    let _ = leash::imported("l.cedar", policies, "p.cedar", None);
    let laid_out = format::formatted("p.cedar", policies);
    for reading in [CatchAllForbid::Strict, CatchAllForbid::DefaultDeny] {
        let loaded = match load(policies, reading) {
            Ok(loaded) => loaded.policy,
            Err(problems) => {
                assert!(problems.iter().any(Problem::is_error), "refused without a reason");
                continue;
            }
        };
        let decided = decisions(&loaded);
        assert_eq!(decisions(&loaded), decided, "remembered otherwise than decided");
        if let Ok(laid_out) = &laid_out {
            let again = load(laid_out, reading).expect("what is laid out loads").policy;
            assert_eq!(permits(&decisions(&again)), permits(&decided), "laid out, it means something else");
        }
    }
    if let Ok(laid_out) = laid_out {
        assert_eq!(format::formatted("p.cedar", &laid_out).expect("it can be laid out again"), laid_out);
    }
}

fn permits(decisions: &[Decision]) -> Vec<bool> {
    decisions.iter().map(|decision| matches!(decision, Decision::Permit(_))).collect()
}

fn decisions(policy: &Policy) -> Vec<Decision> {
    let names = ["api.example.com", "registry.example.com", "telemetry.example.com", "example.org"];
    let kinds = [RecordKind::A, RecordKind::Other(16)];
    let asked = names.iter().flat_map(|name| kinds.map(|kind| query(name, kind)));
    asked.map(|query| policy.decide(&query, WallTime(1_767_225_600_000))).collect()
}

fn query(name: &str, kind: RecordKind) -> Query {
    let client = Client::new("10.77.0.2".parse().expect("an address"));
    Query {
        client,
        addresses: [client].into(),
        agent: Agent::parse("claude").expect("an agent"),
        name: Name::parse(name).expect("a name"),
        kind,
        dnssec_ok: false,
        checking_disabled: false,
    }
}
