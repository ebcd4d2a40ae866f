//! What hostile octets are held against: one function for each of the places
//! where the wall reads what others wrote.
//!
//! `cargo fuzz` searches for inputs that break one (`make fuzz`), and
//! `tests/fuzz_corpus.rs` tries those that are kept, and mutations of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "an examination says what it expects by failing"
)]

pub mod client;
pub mod config;
pub mod journal;
pub mod netlink;
pub mod policy;
mod resolver;
pub mod upstream;

/// Every examination, by the name of its corpus.
pub const ALL: [(&str, fn(&[u8])); 6] = [
    ("client", client::examine),
    ("upstream", upstream::examine),
    ("policy", policy::examine),
    ("config", config::examine),
    ("journal", journal::examine),
    ("netlink", netlink::examine),
];
