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
    pub condition: Condition,
    pub durability: Durability,
    pub by_name: bool,
    pub wait: Option<Duration>,
    pub drivers: Option<Vec<String>>,
}

impl<'a, V: Value> Call<'a, V> {
    pub fn new(cache: &'a Cache<V>, key: &'a str, durability: Durability) -> Self {
        Self {
            cache,
            key,
            condition: Condition::None,
            durability,
            by_name: false,
            wait: None,
            drivers: None,
        }
    }

    pub fn order(&self, change: Change, condition: Condition) -> Order<'a> {
        Order {
            name: self.key,
            change,
            condition,
            targets: None,
            durability: self.durability,
            by_name: self.by_name,
            ticket: None,
            wait: self.wait,
        }
    }

    pub async fn write(&self, change: Change) -> Result<WriteOutcome, Error> {
        self.cache.check_key(self.key)?;
        let mut order = self.order(change, self.condition);
        if let Some(names) = &self.drivers {
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
            self.call.wait = Some(after);
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
