//! The ways from the paths to the actors, as closures over the address book, and from the desk to all of
//! larder.
//!
//! Each looks up the present generation when it is used, so a restart needs no new line.

use std::sync::Arc;

use super::{HealthWatch, Parts};
use crate::actors::desk::DeskLines;
use crate::error::Error;
use crate::messages::hub::{Subscribe, Unsubscribe};
use crate::messages::ttl::Attend;
use crate::messages::write::Flush;
use crate::tiers::{BATCH, Boxed, Home, Lines};

/// Hangs them.
pub(super) async fn hang(parts: &Arc<Parts>) -> Result<(), Error> {
    let book = Arc::clone(&parts.book);
    let flush = move |durability| {
        let batch = book.batch.read().clone();
        let sent: Boxed<_> = Box::pin(async move {
            let down = || Error::Unavailable {
                driver: BATCH.into(),
                retry_after: std::time::Duration::from_millis(250),
            };
            let batch = batch.ok_or_else(down)?;
            batch.send(Flush { durability }).await.map_err(|_| down())?
        });
        sent
    };
    let book = Arc::clone(&parts.book);
    let subscribe = move |ask: Subscribe| {
        let hub = book.hub.read().clone();
        let sent: Boxed<_> = Box::pin(async move {
            let down = || Error::Unavailable {
                driver: "hub".into(),
                retry_after: std::time::Duration::from_millis(250),
            };
            hub.ok_or_else(down)?.send(ask).await.map_err(|_| down())?
        });
        sent
    };
    let book = Arc::clone(&parts.book);
    let unsubscribe = move |id| {
        if let Some(hub) = &*book.hub.read() {
            // One message per subscription.
            hub.do_send(Unsubscribe(id));
        }
    };
    let book = Arc::clone(&parts.book);
    let attend = move |key| {
        if let Some(ttl) = &*book.ttl.read() {
            // A full mailbox: then the record's own reclaim announces it.
            let _ = ttl.try_send(Attend(key));
        }
    };
    let lines = Lines {
        subscribe: Box::new(subscribe),
        unsubscribe: Arc::new(unsubscribe),
        attend: Box::new(attend),
        flush: Box::new(flush),
        loads: parts.runtime.loads().await?,
    };
    let _ = parts.tiers.lines.set(lines);
    Ok(())
}

/// What the desk needs. None of it keeps a larder alive.
pub(super) fn desk(parts: &Arc<Parts>, home: &Arc<Home>) -> DeskLines {
    #[cfg(feature = "secure")]
    let desk_parts = parts;
    // One for each line.
    let parts = || {
        let parts = Arc::downgrade(parts);
        move || parts.upgrade().ok_or(Error::Closed)
    };
    let (flush, warm, stats) = (parts(), parts(), parts());
    let (health, watch_health, set_breaker) = (parts(), parts(), parts());
    DeskLines {
        home: Arc::downgrade(home),
        flush: Box::new(move |durability| {
            let parts = flush();
            Box::pin(async move { parts?.flush(durability).await })
        }),
        warm: Box::new(move |entries| {
            let parts = warm();
            Box::pin(async move { parts?.warm(entries).await })
        }),
        stats: Box::new(move || {
            let parts = stats();
            Box::pin(async move { Ok(parts?.stats().await) })
        }),
        health: Box::new(move || Ok(health()?.health())),
        watch_health: Box::new(move || Ok(Box::pin(HealthWatch::new(&watch_health()?)))),
        set_breaker: Box::new(move |driver, mode| {
            let parts = set_breaker()?;
            parts.set_breaker(&*parts.port_named(driver)?, mode);
            Ok(())
        }),
        #[cfg(feature = "secure")]
        sealed: super::sealed::lines(desk_parts),
    }
}
