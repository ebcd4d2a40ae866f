//! The names of this host's users.
//!
//! Read from the file alone: a name service may ask the network, and whoever
//! waits for evidence must not wait for that.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

const FILE: &str = "/etc/passwd";
/// How often to look whether the file was changed.
const FRESH: Duration = Duration::from_secs(5);

/// Users by number.
#[derive(Default)]
pub(super) struct Users {
    names: HashMap<u32, String>,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Users {
    /// The name of the user with this number.
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        if self.looked.is_none_or(|looked| looked.elapsed() > FRESH) {
            self.looked = Some(Instant::now());
            self.look();
        }
        self.names.get(&uid).cloned()
    }

    fn look(&mut self) {
        let changed = fs::metadata(FILE).and_then(|metadata| metadata.modified()).ok();
        if changed.is_some() && changed != self.changed {
            self.names = fs::read_to_string(FILE).map(|text| names(&text)).unwrap_or_default();
            self.changed = changed;
        }
    }
}

/// The first name of each number (passwd(5)).
fn names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = names("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\nbroken\nnode:x:1000:1000::/:\n");
        assert_eq!(names.get(&0).unwrap(), "root");
        assert_eq!(names.get(&1000).unwrap(), "node");
        assert_eq!(names.len(), 2);
        assert_eq!(Users::default().name(0).as_deref(), Some("root"));
    }
}
