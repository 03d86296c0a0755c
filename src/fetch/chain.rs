//! What the load is about that a task is part of, and what that is loaded for: a loader may fetch, too.

use std::sync::Arc;

use super::source::Held;
use super::table::Id;

/// What a load is about.
pub(crate) struct Chain {
    ids: Vec<Id>,
    /// What it is loaded for.
    outer: Option<Arc<Chain>>,
    /// Its place at its source, while it is asked.
    pub held: Held,
}

tokio::task_local! {
    pub(super) static CHAIN: Arc<Chain>;
}

/// What the present task loads, if it does.
pub(crate) fn chain() -> Option<Arc<Chain>> {
    CHAIN.try_with(Arc::clone).ok()
}

impl Chain {
    /// A load of these, for that.
    pub fn new(ids: Vec<Id>, outer: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            ids,
            outer,
            held: Held::default(),
        })
    }

    fn links(this: Option<&Arc<Self>>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(this, |link| link.outer.as_ref())
    }

    /// Whether a load of this is waited for by itself.
    pub fn has(this: Option<&Arc<Self>>, id: &Id) -> bool {
        Self::links(this).any(|link| link.ids.contains(id))
    }

    /// Gives up the places of loads that wait for another one.
    ///
    /// IMPORTANT: or those that wait could have all the places that those need which they wait for.
    pub fn lend(this: Option<&Arc<Self>>) {
        for link in Self::links(this) {
            let place = link.held.lock().take();
            drop(place);
        }
    }
}
