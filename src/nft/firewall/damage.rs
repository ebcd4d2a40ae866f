//! What others have done to the table and is not undone yet. Pure: notices of
//! the kernel come in, what there is to do comes out.

use std::collections::BTreeMap;

use super::super::place::Place;
use super::super::watch::notice::Notice;

/// What there is to undo.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The whole table has to be loaded anew.
    has_to_reload: bool,
    /// Rules, chains or sets were touched: the table has to be read back.
    has_to_compare: bool,
    /// Something may have been admitted of which no element tells; also by the
    /// commit whose end has not been heard yet.
    may_have_admitted: bool,
    may_admit: bool,
    /// Elements of lease and static sets that somebody has touched, and those
    /// that a table just loaded has to be given.
    places: BTreeMap<Place, Touched>,
    /// A chain that our own loading makes and takes away again, to know its
    /// commit by; once seen, all up to the end of that commit is void.
    mark: Option<String>,
    is_marked: bool,
}

/// An element as somebody has left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// It is there, in whatever form.
    pub(super) is_there: bool,
    /// It was there at some time, and may have admitted a flow.
    pub(super) was_there: bool,
}

impl Damage {
    /// Takes in what was heard, and returns the generation of the last commit
    /// that was heard to its end.
    pub(super) fn note(&mut self, notices: Vec<Notice>) -> Option<u32> {
        let mut heard = None;
        for notice in notices {
            match notice {
                Notice::Element { place, is_there } => {
                    let touched = self.places.entry(place).or_default();
                    *touched = Touched { is_there, was_there: touched.was_there || is_there };
                }
                Notice::OddElement => self.reload_and_judge(),
                Notice::Structure { chain: Some(chain), .. } if self.mark.as_ref() == Some(&chain) => {
                    self.is_marked = true;
                }
                Notice::Structure { may_admit, .. } => {
                    self.has_to_compare = true;
                    self.may_admit |= may_admit;
                }
                // It is never changed while the wall stands; its flags would
                // not be seen in a listing.
                Notice::Table => self.has_to_reload = true,
                Notice::Committed { generation } => {
                    heard = Some(generation);
                    if self.is_marked {
                        self.mend_all();
                    }
                    self.may_have_admitted |= std::mem::take(&mut self.may_admit);
                }
            }
        }
        heard
    }

    /// What was done is not known in full.
    pub(super) const fn reload_and_judge(&mut self) {
        self.has_to_reload = true;
        self.may_have_admitted = true;
    }

    /// The kernel does not hold what it should, by no fault of others.
    pub(super) const fn reload(&mut self) {
        self.has_to_reload = true;
    }

    /// The structure has to be looked at.
    pub(super) const fn compare(&mut self) {
        self.has_to_compare = true;
    }

    /// The structure is as it was loaded.
    pub(super) const fn compared(&mut self) {
        self.has_to_compare = false;
    }

    /// The table is about to be loaded, in a commit that makes and deletes the
    /// chain `mark`.
    pub(super) fn expect(&mut self, mark: String) {
        self.mark = Some(mark);
    }

    /// Whether that commit has been heard to its end.
    pub(super) const fn is_loaded(&self) -> bool {
        self.mark.is_none()
    }

    /// An element that has to be put in, and is not there.
    pub(super) fn put_back(&mut self, place: Place) {
        self.places.entry(place).or_default();
    }

    /// Whether there is nothing to undo.
    pub(super) fn is_none(&self) -> bool {
        !self.has_to_reload && !self.has_to_compare && self.places.is_empty()
    }

    pub(super) const fn has_to_reload(&self) -> bool {
        self.has_to_reload
    }

    pub(super) const fn has_to_compare(&self) -> bool {
        self.has_to_compare
    }

    /// Whether flows have to be judged that no element accounts for. Says so
    /// once.
    pub(super) const fn take_may_have_admitted(&mut self) -> bool {
        std::mem::replace(&mut self.may_have_admitted, false)
    }

    /// Elements for one transaction: at most `at_most` leases, or all statics.
    pub(super) fn next(&self, at_most: usize) -> Vec<(Place, Touched)> {
        let leases = self.places.iter().filter(|(place, _)| place.set().starts_with("lease"));
        let leases: Vec<_> = leases.take(at_most).map(|(place, touched)| (place.clone(), *touched)).collect();
        if !leases.is_empty() {
            return leases;
        }
        self.places.iter().map(|(place, touched)| (place.clone(), *touched)).collect()
    }

    /// An element is as it should be.
    pub(super) fn mended(&mut self, place: &Place) {
        self.places.remove(place);
    }

    /// The places that may have admitted a flow, for the day they are lost
    /// with the whole table.
    pub(super) fn suspects(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|(_, touched)| touched.was_there).map(|(place, _)| place)
    }

    /// The table was loaded anew: nothing that was done to the one before
    /// counts.
    fn mend_all(&mut self) {
        *self = Self { may_have_admitted: self.may_have_admitted, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::lease::{Key, Ports};
    use crate::core::query::{Client, Protocol};

    fn place(address: &str) -> Place {
        let client = Client::new("10.77.0.2".parse().unwrap());
        Place::of_lease(&Key { client, address: address.parse().unwrap(), protocol: Protocol::Tcp, ports: Ports::All })
    }

    fn element(address: &str, is_there: bool) -> Notice {
        Notice::Element { place: place(address), is_there }
    }

    #[test]
    fn the_last_word_about_an_element_counts_and_that_it_was_there_is_not_forgotten() {
        let mut damage = Damage::default();
        let notices = vec![element("192.0.2.1", true), element("192.0.2.1", false), element("192.0.2.2", false)];
        assert_eq!(damage.note(notices), None);
        let touched = |is_there, was_there| Touched { is_there, was_there };
        let expected = [(place("192.0.2.1"), touched(false, true)), (place("192.0.2.2"), touched(false, false))];
        assert_eq!(damage.next(500), expected);
        assert_eq!(damage.next(1), expected[..1]);
        assert_eq!(damage.suspects().collect::<Vec<_>>(), [&place("192.0.2.1")]);
    }

    #[test]
    fn our_own_loading_voids_what_was_before_it_and_nothing_after_it() {
        let mut damage = Damage::default();
        damage.expect("loading_1".into());
        let chain = |name: &str| Notice::Structure { may_admit: true, chain: Some(name.into()) };
        let committed = |generation| Notice::Committed { generation };
        damage.note(vec![element("192.0.2.1", true), Notice::OddElement, committed(7)]);
        assert!(damage.has_to_reload() && !damage.is_loaded());
        damage.note(vec![Notice::Table, chain("loading_1"), chain("leaving")]);
        assert!(!damage.is_loaded(), "the commit is not over");
        let heard = damage.note(vec![committed(8), element("192.0.2.2", true), committed(9)]);
        assert_eq!(heard, Some(9));
        assert!(damage.is_loaded() && !damage.has_to_reload() && !damage.has_to_compare());
        assert_eq!(damage.next(500).len(), 1, "what came after it");
        assert!(damage.take_may_have_admitted() && !damage.take_may_have_admitted());
        damage.note(vec![chain("loading_1"), committed(10)]);
        assert!(damage.has_to_compare(), "a mark counts once");
    }
}
