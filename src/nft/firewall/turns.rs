//! [`Turns`]: whose query goes next.

use std::collections::{HashMap, VecDeque};

use crate::core::query::Client;

/// Things that wait, each in the line of its client, and the lines take turns:
/// however long one line is, another's first waits for one thing of it.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// Never empty ones.
    lines: HashMap<Client, VecDeque<T>>,
    order: VecDeque<Client>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Puts `item` at the end of the line of `client`.
    pub(super) fn push(&mut self, client: Client, item: T) {
        let line = self.lines.entry(client).or_default();
        if line.is_empty() {
            self.order.push_back(client);
        }
        line.push_back(item);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next `at_most` things.
    pub(super) fn next(&mut self, at_most: usize) -> Vec<T> {
        let mut next = Vec::new();
        while next.len() < at_most
            && let Some(client) = self.order.pop_front()
        {
            let Some(line) = self.lines.get_mut(&client) else { continue };
            next.extend(line.pop_front());
            if line.is_empty() {
                self.lines.remove(&client);
            } else {
                self.order.push_back(client);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_does_not_hold_up_a_short_one() {
        let client = |last| Client::new([192, 0, 2, last].into());
        let mut turns = Turns::default();
        (0..1000).for_each(|number| turns.push(client(1), ("busy", number)));
        turns.push(client(2), ("quiet", 0));
        turns.push(client(2), ("quiet", 1));
        assert_eq!(turns.next(4), [("busy", 0), ("quiet", 0), ("busy", 1), ("quiet", 1)]);
        turns.push(client(2), ("quiet", 2));
        assert_eq!(turns.next(2), [("busy", 2), ("quiet", 2)]);
        assert_eq!(turns.next(2000).len(), 997);
        assert!(turns.is_empty() && turns.lines.is_empty());
    }
}
