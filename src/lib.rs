//! Cedarwall: a DNS-layer firewall for containers that run code nobody has
//! read.
//!
//! A query's journey is one function, [`gate::Gate::pass`]: the policy
//! decides, the upstream servers answer, the answer is screened, and the
//! kernel acknowledges every address before the client hears of it.
//!
//! # The house
//!
//! [`core`] is pure. It knows what a [name](core::name), a
//! [query](core::query), a [policy](core::policy), a
//! [decision](core::decision) and a [lease](core::lease) are, and every rule
//! about them; it performs no I/O and reads no clock. The
//! [ledger](core::ledger) of leases plans what the kernel has to be told, and
//! [screening](core::screen) decides what of an upstream answer may be told to
//! a client.
//!
//! The edges are thin: [`dns`] speaks to clients and upstream servers, [`nft`]
//! to the kernel, [`clients`] knows who is asking, [`attribution`] which of
//! their processes it was, [`journal`] keeps the evidence, [`control`] answers the operator. They know the core and not each
//! other, but that `dns` asks `clients`, and `control` shows the `journal`. [`host`], [`config_file`] and [`policy_files`] are the edges to
//! this machine and its files.
//!
//! [`daemon`] wires them together. [`run`] puts one command behind a wall of
//! its own, [`demo`] tells the whole story on a real kernel, and [`cli`] is
//! the command line.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod attribution;
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
