//! Names through a whole decision: labels, case, the trailing dot, IDNA.

use proptest::prelude::*;

use super::*;

/// A label, of letters that are near each other so that names meet.
fn label() -> impl Strategy<Value = String> {
    "[abx][ab0-]{0,2}[abx]|[abx]"
}

fn labels(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(label(), count)
}

/// A way of writing a name that means the same.
fn written(name: &str, upper: &[bool], has_dot: bool) -> String {
    let raised = name
        .chars()
        .zip(upper.iter().cycle())
        .map(|(character, upper)| if *upper { character.to_ascii_uppercase() } else { character });
    raised.chain(has_dot.then_some('.')).collect()
}

fn is_permitted(policy: &Policy, host: &str, kind: RecordKind) -> bool {
    matches!(policy.decide(&query(host, kind), NOW), Decision::Permit(_))
}

fn domain_policy(domain: &str) -> Policy {
    policy(&format!("permit(principal, action, resource in Domain::\"{domain}\");"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The model compares lists of labels and knows nothing of text.
    #[test]
    fn a_domain_is_its_own_labels_and_what_has_them_at_its_end(
        domain in labels(1..4), other in labels(1..5), below in labels(0..3),
        upper in proptest::collection::vec(any::<bool>(), 1..8), has_dot in any::<bool>(),
    ) {
        let policy = domain_policy(&domain.join("."));
        let inside = [below, domain.clone()].concat();
        for labels in [&inside, &other] {
            let host = written(&labels.join("."), &upper, has_dot);
            for kind in [RecordKind::A, RecordKind::Other(16)] {
                prop_assert_eq!(is_permitted(&policy, &host, kind), labels.ends_with(&domain), "{} in {}", host, domain.join("."));
            }
        }
    }

    #[test]
    fn text_in_front_of_a_label_makes_another_name(domain in labels(2..4), front in label()) {
        let policy = domain_policy(&domain.join("."));
        let glued = format!("{front}{}", domain.join("."));
        prop_assert!(!is_permitted(&policy, &glued, RecordKind::A), "{}", glued);
        let hyphened = format!("{front}-{}", domain.join("."));
        prop_assert!(!is_permitted(&policy, &hyphened, RecordKind::A), "{}", hyphened);
    }

    #[test]
    fn text_behind_a_domain_makes_another_name(domain in labels(2..4), behind in label()) {
        let policy = domain_policy(&domain.join("."));
        for host in [format!("{}{behind}", domain.join(".")), format!("{}.{behind}z", domain.join("."))] {
            prop_assert!(!is_permitted(&policy, &host, RecordKind::A), "{}", host);
        }
    }

    #[test]
    fn a_host_is_itself_alone_however_it_is_written(
        host in labels(1..4), other in labels(1..4),
        upper in proptest::collection::vec(any::<bool>(), 1..8), has_dot in any::<bool>(),
    ) {
        let name = host.join(".");
        let policy = policy(&format!("permit(principal, action, resource == Resource::\"{name}:443\");"));
        prop_assert!(is_permitted(&policy, &written(&name, &upper, has_dot), RecordKind::A));
        let other = other.join(".");
        prop_assert_eq!(is_permitted(&policy, &written(&other, &upper, has_dot), RecordKind::A), other == name);
        let below = format!("{other}.{name}");
        prop_assert!(!is_permitted(&policy, &below, RecordKind::A));
    }

    #[test]
    fn a_forbid_reaches_exactly_as_far_as_a_permit(domain in labels(1..3), other in labels(1..4)) {
        let permits = domain_policy(&domain.join("."));
        let forbids = policy(&format!(
            "permit(principal, action, resource);\nforbid(principal, action, resource in Domain::\"{}\");",
            domain.join(".")
        ));
        let host = other.join(".");
        prop_assert_ne!(is_permitted(&permits, &host, RecordKind::A), is_permitted(&forbids, &host, RecordKind::A));
    }
}

#[test]
fn an_internationalized_name_is_its_a_label() {
    let policy = domain_policy("xn--bcher-kva.example");
    for host in ["b\u{fc}cher.example", "B\u{dc}CHER.Example.", "XN--BCHER-KVA.example", "www.b\u{fc}cher.example"] {
        assert!(is_permitted(&policy, host, RecordKind::A), "{host}");
    }
    // Two code points that look like one: the same name only as IDNA has it.
    assert!(is_permitted(&policy, "bu\u{308}cher.example", RecordKind::A));
    for host in ["bucher.example", "xbu\u{308}cher.example", "b\u{fc}cher.example.com"] {
        assert!(!is_permitted(&policy, host, RecordKind::A), "{host}");
    }
    assert!(
        problems("permit(principal, action, resource in Domain::\"b\u{fc}cher.example\");")
            .contains("write `xn--bcher-kva.example`")
    );
}
