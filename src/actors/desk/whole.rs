//! What concerns larder as a whole.

use actix::prelude::*;

use super::{Desk, Reply};
use crate::messages::larder::{Flush, SetBreaker, TakeHealth, TakeStats, Warm, Warmed};
use crate::stats::{Health, Stats};

impl Handler<Flush> for Desk {
    type Result = Reply<()>;

    fn handle(&mut self, flush: Flush, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| (lines.flush)(flush.durability))
    }
}

impl Handler<Warm> for Desk {
    type Result = Reply<Warmed>;

    fn handle(&mut self, warm: Warm, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| (lines.warm)(warm.entries))
    }
}

impl Handler<TakeStats> for Desk {
    type Result = Reply<Stats>;

    fn handle(&mut self, _: TakeStats, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| (lines.stats)())
    }
}

impl Handler<TakeHealth> for Desk {
    type Result = Reply<Health>;

    fn handle(&mut self, _: TakeHealth, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| {
            let health = (lines.health)();
            Box::pin(async move { health })
        })
    }
}

impl Handler<SetBreaker> for Desk {
    type Result = Reply<()>;

    fn handle(&mut self, set: SetBreaker, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| {
            let done = (lines.set_breaker)(&set.driver, set.mode);
            Box::pin(async move { done })
        })
    }
}
