//! Says on standard error how far it is.

use std::time::Instant;

/// How far it is.
pub struct Progress {
    begun: Instant,
    row_begun: Instant,
}

impl Progress {
    /// From now on.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), row_begun: Instant::now() }
    }

    /// A row begins.
    pub fn row(&mut self, name: &str, place: usize, all: usize) {
        self.row_begun = Instant::now();
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        self.say(&format!("row {} of {all}: {name} ({minutes:.1} min so far)", place + 1));
    }

    /// A measurement begins.
    pub fn step(&self, row: &str, name: &str, (done, all): (usize, usize)) {
        let left = if done == 0 {
            String::new()
        } else {
            let each = self.row_begun.elapsed().as_secs_f64() / done as f64;
            format!(", about {:.0} s left in this row", each * (all - done) as f64)
        };
        self.say(&format!("  {row} {:>3}/{all} {name}{left}", done + 1));
    }

    /// Says it.
    pub fn say(&self, what: &str) {
        eprintln!("{what}");
    }
}
