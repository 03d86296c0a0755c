//! Deleting what a store must not show, where more keys were in doubt than could be remembered one by
//! one (the slot protocol, rule 11, SEMANTICS.md).

use std::sync::Arc;

use bytes::Bytes;

use crate::drivers::lanes::Doubtful;
use crate::key::split_stored_key;
use crate::port::Port;
use crate::shelf::Shelf;

/// Deletes what is in doubt, page by page, and then believes the store again. A failure leaves the
/// doubt to the next run: then it is `false`.
///
/// IMPORTANT: while nothing of this lane is under way: what is stored meanwhile may have been set
/// before the doubt arose, and would be taken for what it is about.
pub(super) async fn purge(shelf: &Arc<Shelf>, port: &Port) -> bool {
    let Some(doubts) = shelf.doubts(port.id) else {
        return true;
    };
    let doubts = Arc::new(doubts);
    let (table, about) = (Arc::clone(shelf), Arc::clone(&doubts));
    let doubtful: Doubtful = Arc::new(move |key, version| {
        split_stored_key(key)
            .is_some_and(|(cache, name)| table.doubted(&about, cache, name, version))
    });
    let mut after = Bytes::new();
    loop {
        match port.purge(after, Arc::clone(&doubtful)).await {
            Ok(Some(next)) => after = next,
            Ok(None) => {
                shelf.settle_doubts(port.id, &doubts);
                return true;
            }
            Err(_) => return false,
        }
    }
}
