//! The examples work, as far as one machine can tell: what they are made of is
//! taken by the programs it is for, what they say of each other is so, and what
//! can be run here is run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod checkers;
mod files;
mod manifests;
mod nodes;
mod pages;
mod pod_security;
mod sidecar;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod units;
mod walls;
