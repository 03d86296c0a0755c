//! What concerns larder as a whole.

use actix::prelude::*;

use super::{Desk, Reply};
use crate::messages::larder::{Flush, TakeStats, Warm, Warmed};
use crate::stats::Stats;

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
