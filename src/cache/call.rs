//! What every mutation of one key can say, and how it becomes a future.

use std::time::Duration;

use super::Cache;
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Change, Condition};
use crate::tiers::Order;

/// What every mutation can say.
pub(super) struct Call<'a, V> {
    pub cache: &'a Cache<V>,
    pub key: &'a str,
    pub durability: Durability,
    pub by_name: bool,
    /// Out of line: few calls say more, and each is moved about.
    pub terms: Option<Box<Terms>>,
}

#[derive(Default)]
pub(super) struct Terms {
    pub condition: Condition,
    pub wait: Option<Duration>,
    pub drivers: Option<Vec<String>>,
}

impl<'a, V: Value> Call<'a, V> {
    pub fn new(cache: &'a Cache<V>, key: &'a str, durability: Durability) -> Self {
        Self {
            cache,
            key,
            durability,
            by_name: false,
            terms: None,
        }
    }

    pub fn terms(&mut self) -> &mut Terms {
        self.terms.get_or_insert_default()
    }

    /// How long it may take, if it says so.
    pub fn wait(&self) -> Option<Duration> {
        self.terms.as_ref()?.wait
    }

    /// The same call, which this one is no more.
    pub fn take(&mut self) -> Self {
        Self {
            terms: self.terms.take(),
            ..*self
        }
    }

    /// A change of its key under its condition.
    pub fn order(&self, change: Change) -> Order<'a> {
        let terms = self.terms.as_ref();
        Order {
            name: self.key,
            change,
            condition: terms.map_or(Condition::None, |terms| terms.condition),
            targets: None,
            durability: self.durability,
            by_name: self.by_name,
            ticket: None,
            wait: self.wait(),
        }
    }

    pub async fn write(&self, change: Change) -> Result<WriteOutcome, Error> {
        self.cache.check_key(self.key)?;
        let mut order = self.order(change);
        let terms = self.terms.as_ref();
        if let Some(names) = terms.and_then(|terms| terms.drivers.as_ref()) {
            let targets = self.cache.targets(names)?;
            if let Change::Put(draft) = &mut order.change {
                draft.skip(self.cache.place().tiers.minus(targets.tiers));
            }
            order.targets = Some(targets);
        }
        self.cache.tiers().write(self.cache.place(), order).await
    }
}

macro_rules! call_options {
    ($kind:ident) => {
        /// Waits until the mutation is this safe, or fails.
        pub fn durability(mut self, durability: Durability) -> Self {
            self.call.durability = durability;
            self.call.by_name = true;
            self
        }

        /// How long the call may take; the larder's `call_ms_max` where nothing is said.
        pub fn deadline(mut self, after: Duration) -> Self {
            self.call.terms().wait = Some(after);
            self
        }
    };
}

macro_rules! into_future {
    ($kind:ident, $output:ty, $span:literal, $this:ident => $call:expr) => {
        impl<'a, V: Value> IntoFuture for $kind<'a, V> {
            type Output = Result<$output, Error>;
            type IntoFuture = CallFuture<'a, $output>;

            fn into_future(self) -> Self::IntoFuture {
                let $this = self;
                let span = tracing::trace_span!($span, cache = $this.call.cache.name());
                Box::pin(tracing::Instrument::instrument(async move { $call }, span))
            }
        }
    };
}
