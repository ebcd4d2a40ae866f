//! Random walks through the life of a wall: whatever happens in whatever
//! order, the kernel's sets never hold an element that may not be open, and
//! never lack one that an answer promised.
//!
//! `CEDARWALL_WALKS` says how many walks (a few unless told), each of a thousand
//! steps; `CEDARWALL_SEED` repeats those of an earlier run, which printed it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod model;
#[path = "../support/mod.rs"]
mod support;
mod walker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::lab::in_lab;

use crate::walker::{STEPS, Tally, Walker};

/// Walks where nobody says how many.
const WALKS: usize = 6;
/// Walks at once: most of a walk is waiting.
const AT_ONCE: usize = 6;

#[test]
fn the_kernel_holds_what_was_promised_and_nothing_that_is_not_permitted() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let walks = number("CEDARWALL_WALKS").map_or(WALKS, |walks| usize::try_from(walks).unwrap());
    let seed = number("CEDARWALL_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    eprintln!("{walks} walks of {STEPS} steps; CEDARWALL_SEED={seed} repeats them");

    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(walks) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    if index >= walks {
                        return;
                    }
                    let seed = seed + u64::try_from(index).unwrap();
                    let tally = walk(seed);
                    total.lock().unwrap().add(&tally);
                }
            });
        }
    });
    eprintln!("{}", total.lock().unwrap());
}

fn walk(seed: u64) -> Tally {
    let (sender, tally) = std::sync::mpsc::channel();
    let told = catch_unwind(AssertUnwindSafe(|| {
        in_lab(move |lab| sender.send(Walker::begin(lab, seed).walk()).unwrap());
    }));
    if let Err(panic) = told {
        eprintln!("the walk failed with CEDARWALL_SEED={seed} CEDARWALL_WALKS=1");
        std::panic::resume_unwind(panic);
    }
    tally.recv().unwrap_or_default()
}
