//! The ledger of a daemon that finds its table standing: what is open there,
//! from the kernel; what else is known of it, from the memory of the daemon
//! before. The kernel alone says what is open and until when.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::super::config::LeaseSettings;
use super::super::lease::{Aliases, Generation, Key, Ports};
use super::super::name::Name;
use super::super::query::Client;
use super::super::time::Moment;
use super::asked::Asked;
use super::{COMMENT_LENGTH, Holder, KEPT, Lease, Ledger, record};

/// What a daemon before this one has written down of its leases.
#[derive(Clone, Debug, Default)]
pub struct Remembered(HashMap<Key, Lease>);

/// An element of the kernel's lease sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it opens.
    pub key: Key,
    /// Until when the kernel keeps it.
    pub until: Moment,
    /// Its comment: the names that need it, as many as fit.
    pub comment: String,
}

impl Remembered {
    /// Takes in one line of a memory; whether it is one.
    pub fn read(&mut self, line: &str) -> bool {
        match record::read(line) {
            Some((key, Some(lease))) => _ = self.0.insert(key, lease),
            Some((key, None)) => _ = self.0.remove(&key),
            None => return false,
        }
        true
    }

    /// Every client it speaks of.
    pub fn clients(&self) -> impl Iterator<Item = Client> {
        self.0.keys().map(|key| key.client)
    }
}

impl Ledger {
    /// The ledger of what is `standing`, and of the leases that have run out
    /// as far as they are `remembered`. The policy in force has judged nothing
    /// of it yet: each holder is older than any policy.
    ///
    /// Also returns what is not explained: no name of ours beside it, or more
    /// of them than a set may now hold.
    pub fn adopt(
        settings: LeaseSettings,
        mut standing: Vec<Standing>,
        remembered: Remembered,
        now: Moment,
    ) -> (Self, Vec<Key>) {
        let mut ledger = Self::new(settings);
        let (mut strange, mut sizes) = (Vec::new(), HashMap::<_, u32>::new());
        // Where not all of them fit, those that would go first are left out.
        standing.sort_by_key(|element| std::cmp::Reverse((element.until, element.key)));
        let Remembered(mut remembered) = remembered;
        for mut element in standing {
            element.until = element.until - KEPT;
            let size = sizes.entry(set(&element.key)).or_default();
            let known = remembered.get(&element.key);
            match lease(&element, known, now) {
                Some(lease) if element.until > now && *size < settings.set_size => {
                    *size += 1;
                    remembered.remove(&element.key);
                    ledger.accounts.replace(None, Some(&lease));
                    ledger.leases.insert(element.key, lease);
                }
                // It has run out, and the kernel is about to let it go.
                Some(lease) if element.until <= now => _ = remembered.insert(element.key, lease),
                _ => strange.push(element.key),
            }
        }
        for (key, lease) in remembered {
            ledger.lapsed.remember(key, lease, settings.set_size);
        }
        (ledger, strange)
    }
}

/// Which of the kernel's sets a lease is in.
fn set(key: &Key) -> (bool, u8) {
    let kind = match key.ports {
        Ports::One(_) => 0,
        Ports::All => 1,
        Ports::Run(_) => 2,
    };
    (key.address.is_ipv4(), kind)
}

/// The lease that `element` is, with what is `known` of it; `None` where its
/// comment is none that we would have written.
fn lease(element: &Standing, known: Option<&Lease>, now: Moment) -> Option<Lease> {
    let known_as = |name: &str| known?.holders.iter().find(|holder| holder.name().as_str() == name);
    // Where the memory is in step with the kernel, it also has the names that
    // the comment had no room for.
    let mut holders: SmallVec<[Holder; 1]> = match known.filter(|known| known.comment() == element.comment) {
        Some(known) => known.holders.iter().filter(|holder| holder.until > now).cloned().collect(),
        None => SmallVec::new(),
    };
    if holders.is_empty() {
        let names = element.comment.split(' ').map(canonical);
        for name in names.collect::<Option<Vec<_>>>()? {
            let bare = || Holder {
                asked: Asked::new(element.key.client, name.clone()),
                aliases: Aliases::default(),
                generation: Generation::default(),
                until: element.until,
                is_told: false,
            };
            if holders.iter().all(|holder: &Holder| *holder.name() != name) {
                holders.push(known_as(name.as_str()).cloned().unwrap_or_else(bare));
            }
        }
    }
    for holder in &mut holders {
        holder.until = holder.until.min(element.until);
    }
    // Whoever needs it longest is the reason why it is still there.
    holders.iter_mut().max_by_key(|holder| holder.until)?.until = element.until;
    Some(Lease { account: known.map_or(element.key.client, |known| known.account), holders })
}

/// A name as a comment shows it. One that fills the comment may be a longer
/// one cut short.
fn canonical(word: &str) -> Option<Name> {
    Name::parse(word).ok().filter(|name| name.as_str() == word && word.len() < COMMENT_LENGTH)
}

#[cfg(test)]
mod tests;
