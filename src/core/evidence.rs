//! What can be learned from a journal afterwards: its lines, read again.
//!
//! A [`record`] is one [`mod@line`]. [`review`] makes the story of a session of many,
//! [`suggest`] Cedar for what was denied in it, and [`replay`] puts its
//! questions to another policy. What they share: what was refused
//! ([`refusal`]), by which processes ([`chain`]), how often ([`tally`]), and
//! what would permit it ([`remedy`], [`wanted`]).
//!
//! Text in, values out: who opens the files is an edge. A journal may be
//! larger than memory and may have been written to by anybody, so all that is
//! kept of it is [`limited`], and what is shown of it is made [`plain`].

pub mod chain;
pub mod limited;
pub mod line;
pub mod ocsf;
pub mod plain;
pub mod record;
pub mod refusal;
pub mod remedy;
pub mod replay;
pub mod review;
#[cfg(test)]
pub mod sample;
pub mod suggest;
pub mod tally;
pub mod told;
pub mod wanted;
