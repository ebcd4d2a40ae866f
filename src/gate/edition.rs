//! [`Edition`]: whether what answers rest on is still what it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes to whatever answers rest on besides time: the law, the
/// clients, the rules and servers of the resolver, and leases that are closed
/// before their time. Clones count together.
///
/// Whoever changes any of it [turns](Self::turn) it: after what queries are
/// judged by is replaced, and before anything that was open is closed. So an
/// answer that was made under one edition may be given again as long as that
/// edition lasts.
#[derive(Clone, Debug, Default)]
pub struct Edition(Arc<AtomicU64>);

/// One edition. It has to be taken down before that is read which an answer
/// rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage(u64);

impl Edition {
    /// The edition of now.
    pub fn now(&self) -> Stage {
        Stage(self.0.load(Ordering::SeqCst))
    }

    /// From here on it is another one.
    pub fn turn(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
