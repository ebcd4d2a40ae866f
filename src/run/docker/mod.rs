//! `cedarwall docker run`: one container behind a wall of its own.
//!
//! As [`super`], but the network is a Docker network with room for this one
//! container, and the engine makes the container's namespaces:
//!
//! ```text
//! cedarwall docker run ──┬── janitor       undoes everything at the end
//!                        ├── serve         the daemon, on the network's bridge
//!                        └── docker run    its terminal is ours
//! ```
//!
//! With `-d` the last of them ends at once; `docker-keeper` waits for the
//! container in its stead and holds the janitor's pipe.
//!
//! What Docker is told is the caller's, but for what would put the container
//! somewhere else than behind the wall (`options.rs`, `binds.rs`).

mod binds;
mod conduct;
mod engine;
mod options;
mod refusal;
mod request;

pub use conduct::{Outcome, keep, run};
pub use refusal::Refusal;
pub use request::Request;

pub(super) use engine::{remove_containers, remove_network};
