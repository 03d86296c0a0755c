//! The same calls with their explanations.

use actix::prelude::*;

use super::{Desk, Reply, as_call, as_read, as_reads, as_removal};
use crate::cache::{Cache, ReadChunk};
use crate::codec::Value;
use crate::messages::entry::{Explain, Get, GetMany, Remove, Set};

impl<V: Value> Handler<Explain<Get<V>>> for Desk {
    type Result = Reply<crate::ReadOutcome<V>>;

    fn handle(&mut self, Explain(get): Explain<Get<V>>, _: &mut Self::Context) -> Self::Result {
        let name = get.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_read(&cache, &get).outcome().await
        })
    }
}

impl<V: Value> Handler<Explain<Set<V>>> for Desk {
    type Result = Reply<crate::WriteOutcome>;

    fn handle(&mut self, Explain(set): Explain<Set<V>>, _: &mut Self::Context) -> Self::Result {
        let name = set.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_call(&cache, &set).outcome().await
        })
    }
}

impl<V: Value> Handler<Explain<Remove<V>>> for Desk {
    type Result = Reply<crate::WriteOutcome>;

    fn handle(&mut self, Explain(ask): Explain<Remove<V>>, _: &mut Self::Context) -> Self::Result {
        let name = ask.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            as_removal(&cache, &ask).outcome().await
        })
    }
}

impl<V: Value> Handler<Explain<GetMany<V>>> for Desk {
    type Result = Reply<Vec<ReadChunk<V>>>;

    fn handle(&mut self, Explain(get): Explain<GetMany<V>>, _: &mut Self::Context) -> Self::Result {
        let name = get.cache.clone();
        self.on(&name, |cache: Cache<V>| async move {
            let mut chunks = as_reads(&cache, get);
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.push(chunk?);
            }
            Ok(all)
        })
    }
}
