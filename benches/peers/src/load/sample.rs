//! Some of the names that were answered, spread evenly over all.

/// At least half as many are kept, once there were so many.
const MOST: usize = 512;

/// Every so many-th of all that was given to it.
#[derive(Default)]
pub struct Sample {
    numbers: Vec<u32>,
    seen: u64,
    /// As a power of two.
    every: u32,
}

impl Sample {
    /// Takes a number, or passes it over.
    pub fn see(&mut self, number: u32) {
        if self.seen & ((1 << self.every) - 1) == 0 {
            self.numbers.push(number);
            if self.numbers.len() > MOST {
                let mut place = 0;
                self.numbers.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.every += 1;
            }
        }
        self.seen += 1;
    }

    /// What was kept.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_evenly_over_all() {
        let mut sample = Sample::default();
        (0..100_000).for_each(|number| sample.see(number));
        let numbers = sample.numbers();
        assert!((MOST / 2..=MOST).contains(&numbers.len()), "{}", numbers.len());
        let step = numbers[1] - numbers[0];
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == step));
        assert!(numbers[0] == 0 && 100_000 - numbers[numbers.len() - 1] <= step);
    }
}
