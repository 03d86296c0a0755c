//! What concerns the keys of sealed stores.

use actix::prelude::*;

use super::{Desk, Reply};
use crate::drivers::sealed::SealProgress;
use crate::error::Error;
use crate::messages::sealed::{RotateKey, Shred, TakeSealProgress};
use crate::tiers::Boxed;

type ProgressLine = dyn Fn(&str) -> Result<SealProgress, Error> + Send + Sync;

/// What the desk needs for them.
pub(crate) struct SealedLines {
    pub rotate_key: Box<dyn Fn(RotateKey) -> Boxed<Result<(), Error>> + Send + Sync>,
    pub shred: Box<dyn Fn(String) -> Boxed<Result<(), Error>> + Send + Sync>,
    pub progress: Box<ProgressLine>,
}

impl Handler<RotateKey> for Desk {
    type Result = Reply<()>;

    fn handle(&mut self, rotate: RotateKey, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| (lines.sealed.rotate_key)(rotate))
    }
}

impl Handler<Shred> for Desk {
    type Result = Reply<()>;

    fn handle(&mut self, shred: Shred, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| (lines.sealed.shred)(shred.driver))
    }
}

impl Handler<TakeSealProgress> for Desk {
    type Result = Reply<SealProgress>;

    fn handle(&mut self, take: TakeSealProgress, _: &mut Self::Context) -> Self::Result {
        self.whole(|lines| {
            let progress = (lines.sealed.progress)(&take.driver);
            Box::pin(async move { progress })
        })
    }
}
