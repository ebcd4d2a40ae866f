//! The pure heart of the house: what a name, a query, a policy, a decision and
//! a lease are, and every rule about them.
//!
//! Nothing in here performs I/O, reads a clock, logs, or awaits. Time is an
//! argument ([`time::Moment`]), files are text that somebody else read, and
//! packets are values that somebody else parsed. A test keeps it that way.

pub mod budget;
pub mod cap;
pub mod config;
pub mod decision;
pub mod drops;
pub mod event;
pub mod evidence;
pub mod identities;
pub mod judge;
pub mod lease;
pub mod ledger;
pub mod name;
pub mod packet;
pub mod policy;
pub mod printable;
pub mod problem;
pub mod process;
pub mod query;
pub mod question;
pub mod ranges;
pub mod rate;
pub mod record;
pub mod roster;
pub mod rule;
pub mod screen;
pub mod search;
pub mod sharded;
pub mod sightings;
pub mod sinkhole;
pub mod statics;
pub mod table;
pub mod target;
pub mod time;
pub mod traffic;
