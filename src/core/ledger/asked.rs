//! [`Asked`]: a name, and who asked for it.

use std::borrow::Borrow;
use std::sync::Arc;

use super::super::name::Name;
use super::super::query::Client;

/// A name, and who asked for it. It is written down once, however many leases
/// and counts are about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Asked(Arc<(Client, Name)>);

impl Asked {
    pub(super) fn new(client: Client, name: Name) -> Self {
        (client, name).into()
    }

    /// Who asked.
    pub(super) fn client(&self) -> Client {
        self.0.0
    }

    /// For which name.
    pub(super) fn name(&self) -> &Name {
        &self.0.1
    }
}

impl From<(Client, Name)> for Asked {
    fn from(asked: (Client, Name)) -> Self {
        Self(Arc::new(asked))
    }
}

impl Borrow<(Client, Name)> for Asked {
    fn borrow(&self) -> &(Client, Name) {
        &self.0
    }
}
