//! What a host is told of a header that cannot be used, and what to do.

use super::super::Failure;
use super::super::head::Unusable;
use super::Vault;
use crate::secret::MasterKey;

/// A master key that may open a header.
pub(super) struct Candidate {
    pub master: MasterKey,
    /// Where it is from.
    pub name: String,
    /// All that were tried.
    pub tried: String,
}

impl Vault {
    pub(super) fn unusable(&self, unusable: &Unusable, candidate: &Candidate) -> Failure {
        let (path, Candidate { name, tried, .. }) = (self.path.display(), candidate);
        Failure::fatal(match unusable {
            Unusable::Shredded => format!("{path}: its keys were destroyed"),
            Unusable::Damaged(why) => format!(
                "{path}: the header of a sealed store cannot be read, {why}; put a copy of it back, or \
                 move the whole directory away to begin anew; nothing was overwritten"
            ),
            Unusable::OtherKey => format!(
                "{path}: the store was sealed with another master key than that from {tried}; give the right \
                 one, or move the whole directory away to begin anew; nothing was overwritten"
            ),
            Unusable::Edited => format!(
                "{path}: the master key from {name} is the right one, and the header of the sealed store was \
                 edited; put a copy of it back, or move the whole directory away to begin anew; nothing \
                 was overwritten"
            ),
        })
    }

    /// A store without a header that is a sealed one.
    pub(in super::super) fn headless(&self) -> Failure {
        let path = self.path.display();
        Failure::fatal(format!(
            "{path}: the header of this sealed store is gone, or of another store; put it back from a copy, or \
             move the whole directory away to begin anew; nothing was overwritten"
        ))
    }
}
