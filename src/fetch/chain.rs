//! What the load is about that a task is part of, and what that is loaded for: a loader may fetch, too.
//!
//! A load that waits for another one has no place at its source meanwhile: or those that wait could have all
//! the places that those need which they wait for.

use std::sync::Arc;

use hashbrown::HashSet;

use super::circuit::Ended;
use super::source::{Held, LoadSource};
use super::table::Id;

/// What a load is about.
pub(crate) struct Chain {
    ids: HashSet<Id>,
    /// What it is loaded for.
    outer: Option<Arc<Chain>>,
    /// What it has of its source, while that is asked.
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
    pub fn new(ids: impl IntoIterator<Item = Id>, outer: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            ids: ids.into_iter().collect(),
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

    /// Whether it is loaded for one that is asking this source.
    pub(super) fn is_part_of_asking(&self, source: &LoadSource) -> bool {
        Self::links(self.outer.as_ref()).any(|link| link.held.asks(source))
    }

    /// Tells those that ask this source and need this for it how it has ended.
    pub(super) fn part_ended(&self, source: &LoadSource, ended: Ended) {
        Self::links(self.outer.as_ref()).for_each(|link| link.held.part_ended(source, ended));
    }

    /// The present task begins to wait for another load, until what this gives is asked to
    /// [`go_on`](Lent::go_on), or dropped.
    pub fn lend(this: Option<Arc<Self>>) -> Option<Lent> {
        let link = this?;
        link.held.waits();
        Self::links(Some(&link)).for_each(|link| link.held.lend());
        Some(Lent(Some(link)))
    }
}

/// That a load waits for another one.
pub(crate) struct Lent(Option<Arc<Chain>>);

impl Lent {
    /// It goes on, once it has a place again if it had one.
    pub async fn go_on(mut self) {
        if let Some(link) = self.0.take() {
            link.held.go_on().await;
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            link.held.waits_no_more();
        }
    }
}
