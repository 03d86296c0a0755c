//! A probe: writes, reads back and deletes a sentinel, so that a driver shows that it works before
//! calls go to it. Reads alone would not show that a store takes no writes.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Port;
use crate::clock::NEVER;
use crate::drivers::lanes::{Answer, Command, Lanes, Read};
use crate::drivers::{Failure, StoreDurability, Write};
use crate::key::stored_key;
use crate::version::Version;

/// The reserved cache that the sentinel is filed in. No host can name it.
const PROBES: &str = "\u{0}probes";

impl Port {
    /// Probes the present generation until the breaker closes; not while it is forced open.
    ///
    /// # Errors
    ///
    /// Why a probe failed; the generation gets no calls then.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the breaker stays half open and the sentinel may be left in the store.
    pub async fn prove(&self, generation: u64) -> Result<(), Failure> {
        while !self.breaker.lock().is_proven() {
            self.allowed().await;
            let lanes = self.lanes.read().clone();
            let Some((_, lanes)) = lanes.filter(|(present, _)| *present == generation) else {
                return Err(self.why());
            };
            let passed = self.probe(&lanes).await;
            drop(lanes);
            self.turn(|breaker, now_ms| breaker.probed(passed.is_ok(), now_ms));
            if let Err(failure) = passed {
                self.close(generation, &failure.to_string());
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn probe(&self, lanes: &Lanes) -> Result<(), Failure> {
        let key = Bytes::from(stored_key(PROBES, &self.name));
        let record = Bytes::from(fastrand::u64(..).to_le_bytes().to_vec());
        let write = Write::Put {
            key: key.clone(),
            record: record.clone(),
            version: Version::at(0),
            keep_ms: NEVER,
        };
        match self.store(lanes, write).await {
            // It is in order: reads and deletions go on.
            Err(Failure::Full { .. }) => return Ok(()),
            stored => stored?,
        }
        let permit = self.gate.try_pass();
        let permit =
            permit.map_err(|error| Failure::reopen(format!("cannot be probed, {error}")))?;
        let get = |answer| lanes.read(Read::Get(key.clone(), answer), permit);
        if self.answered(lanes, get).await? != Some(record) {
            return Err(Failure::reopen(
                "what was stored in it could not be read back",
            ));
        }
        self.store(lanes, Write::Delete { key }).await
    }

    async fn store(&self, lanes: &Lanes, write: Write) -> Result<(), Failure> {
        let durability = StoreDurability::Written;
        self.answered(lanes, |answer| {
            lanes.command(Command::Commit(vec![write], durability, answer))
        })
        .await
    }

    /// What a lane answers, or why the generation was given up meanwhile.
    async fn answered<T>(
        &self,
        lanes: &Lanes,
        ask: impl FnOnce(Answer<T>) -> Result<(), Failure>,
    ) -> Result<T, Failure> {
        let (answer, waiting) = oneshot::channel();
        ask(answer)?;
        // A generation that hangs is given up by its watchdog.
        match self.unless_given_up(lanes.pulse(), waiting).await {
            Some(Ok(answered)) => answered,
            Some(Err(_)) | None => Err(self.why()),
        }
    }

    fn why(&self) -> Failure {
        let reason = self.reason();
        Failure::reopen(reason.as_deref().unwrap_or("it ended"))
    }
}
