//! What can be learned from a journal afterwards: its lines, read again.
//!
//! Text in, values out: who opens the files is an edge.

pub mod ocsf;
pub mod record;
pub mod told;
