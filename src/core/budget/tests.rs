use proptest::prelude::*;

use super::*;

const LIMITS: NameLimits = NameLimits { per_minute: 20, octets_per_minute: 400, bits_per_minute: 900 };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn client(last: u8) -> Client {
    Client::new([192, 0, 2, last].into())
}

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn limits(per_minute: u32, octets_per_minute: u32, bits_per_minute: u32) -> NameLimits {
    NameLimits { per_minute, octets_per_minute, bits_per_minute }
}

#[test]
fn only_what_no_permit_names_counts() {
    assert_eq!(leftmost("a.bc.example.com", 0), "a");
    assert_eq!(leftmost("a.bc.example.com", 2), "a.bc");
    assert_eq!(leftmost("a.bc.example.com", 4), "a.bc.example.com");
    assert_eq!(leftmost("a.bc.example.com", 9), "a.bc.example.com");
    let mut budgets = Budgets::new(limits(1, 4, 100));
    for _ in 0..100 {
        assert_eq!(budgets.charge(client(1), &name("api.example.com"), RecordKind::A, 0, at(0)), Ok(()));
    }
    assert_eq!(budgets.charge(client(1), &name("a.bc.example.com"), RecordKind::A, 2, at(0)), Ok(()));
}

#[test]
fn each_part_of_the_budget_has_a_reason_of_its_own() {
    let told = |limits, names: &[&str]| {
        let mut budgets = Budgets::new(limits);
        names.iter().map(|label| budgets.charge(client(1), &name(label), RecordKind::A, 1, at(0))).collect::<Vec<_>>()
    };
    assert_eq!(told(limits(2, 1000, 9999), &["a.x", "b.x", "c.x"]), [Ok(()), Ok(()), Err(Reason::TooManyNames)]);
    assert_eq!(
        told(limits(9, 5, 9999), &["abc.x", "abcd.x", "ab.x"]),
        [Ok(()), Err(Reason::TooManyNameOctets), Ok(())]
    );
    assert_eq!(told(limits(9, 1000, 40), &["abc.x", "d.x"]), [Ok(()), Err(Reason::TooManyNameBits)]);
}

#[test]
fn a_name_counts_once_a_minute_and_a_client_for_itself() {
    let mut budgets = Budgets::new(limits(1, 1000, 100_000));
    let mut ask =
        |last, label: &str, seconds| budgets.charge(client(last), &name(label), RecordKind::A, 1, at(seconds));
    assert_eq!(ask(1, "a.example.com", 0), Ok(()));
    assert_eq!(ask(1, "a.example.com", 30), Ok(()));
    assert_eq!(ask(1, "b.example.com", 59), Err(Reason::TooManyNames));
    assert_eq!(ask(2, "b.example.com", 59), Ok(()), "another client has a budget of its own");
    assert_eq!(ask(1, "b.example.com", 61), Ok(()), "what was told a minute ago is forgotten");
}

#[test]
fn asking_again_costs_what_the_choice_can_tell() {
    let mut budgets = Budgets::new(limits(100, 10_000, 5_000));
    for index in 0..16 {
        assert_eq!(budgets.charge(client(1), &name(&format!("n{index}.x")), RecordKind::A, 1, at(0)), Ok(()));
    }
    let spent = budgets.windows[&client(1)].bits;
    budgets.charge(client(1), &name("n3.x"), RecordKind::A, 1, at(1)).unwrap();
    assert_eq!(budgets.windows[&client(1)].bits, spent + 4 + BITS_OF_CONNECTING);
    budgets.charge(client(1), &name("n3.x"), RecordKind::Other(16), 1, at(1)).unwrap();
    assert_eq!(budgets.windows[&client(1)].bits, spent + 8 + BITS_OF_CONNECTING + BITS_OF_OTHER);
    let mut again = 0;
    while budgets.charge(client(1), &name(&format!("n{}.x", again % 16)), RecordKind::A, 1, at(2)).is_ok() {
        again += 1;
    }
    assert!(again < 500, "16 names asked over and over carry data, too: {again} questions");
}

#[test]
fn who_asks_no_more_costs_no_memory() {
    let mut budgets = Budgets::new(limits(1_000_000, 100_000_000, 1_000_000_000));
    for last in 1..200 {
        for index in 0..20 {
            budgets.charge(client(last), &name(&format!("n{index}.x")), RecordKind::A, 1, at(0)).unwrap();
        }
    }
    assert_eq!(budgets.windows.len(), 199);
    budgets.charge(client(1), &name("late.x"), RecordKind::A, 1, at(100)).unwrap();
    assert_eq!(budgets.windows.len(), 1);
    assert_eq!(budgets.windows[&client(1)].seen.len(), 1);
}

/// Over all texts of one to three symbols of the alphabet: the sum of 2^-bits
/// is at most one, so they are lengths of a prefix code.
#[test]
fn the_bits_of_a_name_are_lengths_of_a_prefix_code() {
    let alphabet: Vec<char> = ('a'..='z').chain('0'..='9').chain(['-', '_', '.']).collect();
    let mut texts = vec![String::new()];
    let (mut begin, mut sum) = (0, 0.0);
    for _ in 0..3 {
        let end = texts.len();
        for index in begin..end {
            let longer: Vec<_> = alphabet.iter().map(|symbol| format!("{}{symbol}", texts[index])).collect();
            texts.extend(longer);
        }
        begin = end;
    }
    for text in &texts {
        sum += (-(f64::from(u32::try_from(bits(text)).unwrap()))).exp2();
    }
    assert!(sum <= 1.0, "{sum}");
}

#[test]
fn random_labels_cost_more_than_they_carry_and_usual_ones_little() {
    // 52 symbols of base 32 carry 260 bits.
    let random = "mfrggzdfmy4tqmjrgi3dinzvgq2dqnbxgy2dombrgqytgmjshaydcmrr";
    assert!(bits(random) >= 5 * 52, "{}", bits(random));
    assert!(bits("www") <= 25, "{}", bits("www"));
    assert!(bits("registry") <= 50, "{}", bits("registry"));
    // The number of letters is a message as well.
    assert!(bits(&"a".repeat(63)) >= 6);
}

#[derive(Clone, Debug)]
struct Step {
    millis: u64,
    label: u32,
    length: usize,
    is_other: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..9_000u64, 0..60u32, 0..30usize, any::<bool>());
    let step = step.prop_map(|(millis, label, length, is_other)| Step { millis, label, length, is_other });
    prop::collection::vec(step, 1..150)
}

proptest! {
    /// The budget itself, by the plainest means: whatever was let through
    /// within any 60 seconds is within every limit.
    #[test]
    fn no_minute_lets_more_through_than_the_budget(steps in steps()) {
        let mut budgets = Budgets::new(LIMITS);
        let mut now = 0;
        let mut passed: Vec<(u64, Name, usize)> = Vec::new();
        let mut counted = 0;
        for step in steps {
            now += step.millis / if step.label % 3 == 0 { 1 } else { 100 };
            let label = format!("n{}{}", step.label, "q".repeat(step.length));
            let asked = name(&format!("{label}.example.com"));
            let kind = if step.is_other { RecordKind::Other(16) } else { RecordKind::A };
            budgets.windows.entry(client(1)).or_default().slide(Moment::from_millis(now));
            let known = budgets.windows[&client(1)].seen.len();
            let _ = budgets.charge(client(1), &asked, kind, 1, Moment::from_millis(now));
            let window = &budgets.windows[&client(1)];
            if window.seen.len() > known {
                passed.push((now, asked, label.len()));
                counted += 1;
            }
            prop_assert!(window.seen.len() <= LIMITS.per_minute as usize);
            prop_assert!(window.slots.len() <= 62, "the memory of a client is bounded");
            prop_assert_eq!(window.bits, window.slots.iter().map(|slot| slot.bits).sum::<u64>());
        }
        prop_assert!(counted > 0);
        for (index, (start, _, _)) in passed.iter().enumerate() {
            let minute: Vec<_> = passed[index..].iter().take_while(|(time, _, _)| time - start < 60_000).collect();
            let distinct: std::collections::BTreeMap<_, _> =
                minute.iter().map(|(_, name, length)| (name.clone(), *length)).collect();
            prop_assert!(distinct.len() <= LIMITS.per_minute as usize);
            prop_assert!(distinct.values().sum::<usize>() <= LIMITS.octets_per_minute as usize);
            let carried: u64 = distinct.keys().map(|name| bits(leftmost(name.as_str(), 1))).sum();
            prop_assert!(carried <= u64::from(LIMITS.bits_per_minute));
        }
    }
}
