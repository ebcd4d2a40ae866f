//! [`Glance`]: a look at the kernel, once for many questions.

use std::time::Duration;

use tokio::time::Instant;

/// How long it counts that all was there: no longer than a long batch of
/// questions takes. Short ones come one after the other, and to look each time
/// would take a third of what they take.
const COUNTS: Duration = Duration::from_micros(200);

/// Says whether the kernel still holds all that it was told. For questions that
/// arrive together or one right after the other it looks once.
pub struct Glance {
    look: Box<dyn FnMut() -> bool + Send>,
    /// Since when it is known for those that have arrived.
    held: Option<Instant>,
    /// What was seen for those that arrived last.
    seen: Option<bool>,
}

impl Glance {
    /// By `look`.
    pub fn new(look: impl FnMut() -> bool + Send + 'static) -> Self {
        Self { look: Box::new(look), held: None, seen: None }
    }

    /// Sees nothing, ever.
    pub fn blind() -> Self {
        Self::new(|| false)
    }

    /// More questions have arrived by `now`. What was missing may be there by
    /// now; what was there counts for a moment.
    pub(super) fn begin(&mut self, now: Instant) {
        self.held = self.held.filter(|held| now.saturating_duration_since(*held) < COUNTS);
        self.seen = self.held.map(|_| true);
    }

    pub(super) fn holds(&mut self, now: Instant) -> bool {
        if let Some(seen) = self.seen {
            return seen;
        }
        let seen = (self.look)();
        // Time that looking takes counts, too.
        self.held = seen.then_some(now);
        self.seen = Some(seen);
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_looks_once_for_what_comes_together_and_anew_after_a_moment() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        // The third look finds something missing.
        let mut glance = Glance::new(move || counted.fetch_add(1, Ordering::Relaxed) != 2);
        let start = Instant::now();
        let mut at = |micros: u64| {
            let now = start + Duration::from_micros(micros);
            glance.begin(now);
            let seen = [glance.holds(now), glance.holds(now)];
            assert_eq!(seen[0], seen[1], "nothing changes for those that came together");
            (seen[0], looks.load(Ordering::Relaxed))
        };
        assert_eq!(at(0), (true, 1));
        assert_eq!(at(199), (true, 1));
        assert_eq!(at(200), (true, 2), "since the look, and not since it counted last");
        assert_eq!(at(400), (false, 3));
        assert_eq!(at(401), (true, 4), "that something is missing counts for those alone");
        assert_eq!(at(402), (true, 4));
    }
}
