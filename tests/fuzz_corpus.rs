//! G11: no input crashes or hangs what reads it, or makes it say what is not
//! so. Every examination of `fuzz/`, over its kept inputs and some thousands of
//! mutations of them; `make fuzz` searches further.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

#[path = "../fuzz/src/lib.rs"]
mod examinations;

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Mutations tried of each corpus, if there is time.
const MUTATIONS: usize = 20_000;
/// No longer than this for each corpus.
const TIME: Duration = Duration::from_secs(20);
/// An input that takes longer hangs: the slowest ones take milliseconds.
const HANG: Duration = Duration::from_secs(10);
/// All corpora together hold no more than this.
const MOST_OCTETS: u64 = 1 << 20;

/// The seed of the mutations: always the same, unless `FUZZ_SEED` says another.
fn seed() -> u64 {
    std::env::var("FUZZ_SEED").map_or(0xcedab, |text| text.parse().expect("FUZZ_SEED is a number"))
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// An input with some of its octets changed, moved, doubled or left out, or
/// joined with another.
fn mutated(random: &mut SmallRng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs[random.random_range(0..inputs.len())].clone();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(0..17)).min(input.len());
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xc0, 0xff][random.random_range(0..6)],
            2 => drop(input.drain(at..end)),
            3 => input.splice(at..at, (0..random.random_range(0..9)).map(|_| random.random())).for_each(drop),
            4 => input.splice(at..at, input[at..end].to_vec()).for_each(drop),
            5 => input.truncate(at),
            6 => {
                let other = &inputs[random.random_range(0..inputs.len())];
                let from = random.random_range(0..=other.len());
                input.splice(at..end, other[from..].iter().copied().take(64)).for_each(drop);
            }
            _ => {
                let to = random.random_range(0..=input.len());
                let moved = input[at..end].to_vec();
                input.splice(to..to, moved).for_each(drop);
            }
        }
    }
    input
}

/// Examines every input on a thread of its own, so that one that hangs is
/// told.
fn examine(name: &'static str, examination: fn(&[u8])) {
    let files = corpus(name);
    assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
    let (begin, begun) = mpsc::channel::<(String, Vec<u8>)>();
    let worker = thread::spawn(move || {
        let inputs: Vec<_> = files.iter().map(|(_, octets)| octets.clone()).collect();
        for (path, octets) in files {
            let _ = begin.send((path.display().to_string(), octets.clone()));
            examination(&octets);
        }
        let (start, mut random) = (Instant::now(), SmallRng::seed_from_u64(seed()));
        let mut count = 0;
        while count < MUTATIONS && start.elapsed() < TIME {
            let input = mutated(&mut random, &inputs);
            let _ = begin.send((format!("mutation {count} of seed {}", seed()), input.clone()));
            examination(&input);
            count += 1;
        }
        count
    });
    let mut last = (String::new(), Vec::new());
    loop {
        match begun.recv_timeout(HANG) {
            Ok(input) => last = input,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{name}: {} takes longer than {HANG:?}: {}", last.0, last.1.escape_ascii())
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match worker.join() {
        Ok(count) => eprintln!("{name}: {count} mutations of seed {}", seed()),
        Err(_) => panic!("{name}: {} breaks a promise: {}", last.0, last.1.escape_ascii()),
    }
}

#[test]
fn no_message_of_a_client_breaks_a_promise() {
    examine("client", examinations::client::examine);
}

#[test]
fn no_message_of_an_upstream_server_breaks_a_promise() {
    examine("upstream", examinations::upstream::examine);
}

#[test]
fn no_policy_text_breaks_a_promise() {
    examine("policy", examinations::policy::examine);
}

#[test]
fn no_configuration_breaks_a_promise() {
    examine("config", examinations::config::examine);
}

#[test]
fn no_journal_breaks_a_promise() {
    examine("journal", examinations::journal::examine);
}

#[test]
fn no_datagram_of_the_kernel_breaks_a_promise() {
    examine("netlink", examinations::netlink::examine);
}

#[test]
fn every_corpus_is_examined_and_small() {
    let mut folders: Vec<_> = fs::read_dir("fuzz/corpus").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    let mut examined = examinations::ALL.map(|(name, _)| name);
    examined.sort_unstable();
    assert_eq!(folders, examined);
    let octets: u64 = examined.iter().flat_map(|name| corpus(name)).map(|(_, octets)| octets.len() as u64).sum();
    assert!(octets < MOST_OCTETS, "{octets} octets");
}
