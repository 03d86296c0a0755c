//! An actor that does everything by typed messages to larder's desk, and is told of changes by
//! messages too.

use std::time::Duration;

use actix::prelude::*;
use larder::messages::entry::{CompareAndSet, Set, Subscribe, Watching};
use larder::{Desk, EntryEvent, Error, Larder, Version};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const STOCK: &str = "stock";

/// Keeps books on a shop's stock.
struct Clerk {
    desk: Addr<Desk>,
    told: UnboundedSender<u32>,
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

/// Take one of it out of stock, if it is still as it was seen.
#[derive(Message)]
#[rtype(result = "Result<Version, Error>")]
struct TakeOne {
    item: String,
    seen: (u32, Version),
}

impl Handler<TakeOne> for Clerk {
    type Result = ResponseFuture<Result<Version, Error>>;

    fn handle(&mut self, take: TakeOne, _: &mut Self::Context) -> Self::Result {
        let (count, version) = take.seen;
        let taken = self.desk.send(CompareAndSet {
            set: Set::new(STOCK, take.item, count - 1),
            expected: Some(version),
        });
        Box::pin(async move { taken.await? })
    }
}

impl Handler<EntryEvent<u32>> for Clerk {
    type Result = ();

    fn handle(&mut self, event: EntryEvent<u32>, _: &mut Self::Context) {
        if let EntryEvent::Changed(change) = event {
            let left = change.new.as_deref().copied().unwrap_or(0);
            println!("{}: {left} left", change.key);
            // Nobody listens any more: then the example is over.
            let _ = self.told.send(left);
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Error> {
    let larder = Larder::builder().start().await?;
    let desk = larder.desk()?;
    let (told, mut heard) = unbounded_channel();
    let clerk = Clerk {
        desk: desk.clone(),
        told,
    }
    .start();
    let subscribe = Subscribe::<u32> {
        cache: STOCK.into(),
        watching: Watching::All,
        recipient: clerk.clone().recipient(),
    };
    desk.send(subscribe).await??;

    let version = desk.send(Set::new(STOCK, "shoes", 3_u32)).await??;
    let take = || TakeOne {
        item: "shoes".into(),
        seen: (3, version),
    };
    clerk.send(take()).await??;
    // The second one saw the same three pairs, and is told that they are no longer three.
    assert!(matches!(
        clerk.send(take()).await?,
        Err(Error::Conflict { .. })
    ));

    assert_eq!(heard.recv().await, Some(3));
    assert_eq!(heard.recv().await, Some(2));
    larder.shutdown(Duration::from_secs(5)).await
}
