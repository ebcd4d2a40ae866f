//! Cedarwall: a DNS-layer firewall for containers that run code nobody has
//! read.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cli;
pub mod control;
pub mod core;
pub mod demo;
pub mod gate;
pub mod journal;
pub mod nft;
pub mod run;
