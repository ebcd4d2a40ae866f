//! Cedarwall: a DNS-layer firewall for containers that run code nobody has
//! read.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cli;
pub mod clients;
pub mod config_file;
pub mod control;
pub mod core;
pub mod daemon;
pub mod demo;
pub mod dns;
pub mod gate;
pub mod host;
pub mod journal;
pub mod nft;
pub mod policy_files;
pub mod run;
