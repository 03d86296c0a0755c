//! Addresses: where a host's own actors send messages.
//!
//! What is not here is not to be reached: the messages among larder's own actors carry the slot
//! protocol, and a commit or a reclaim of somebody else would break it. See
//! [`messages`](crate::messages).

use actix::{Actor, Addr, Recipient};

use crate::actors::desk::Desk;
use crate::error::Error;
use crate::larder::{DriverHandle, Larder, down};
use crate::messages::{memory, storage, supervise};

/// Where the memory driver takes messages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryAddress {
    /// Another budget.
    pub resize: Recipient<memory::Resize>,
    /// Free what no read would show.
    pub sweep: Recipient<memory::Sweep>,
    /// What the table holds.
    pub measure: Recipient<memory::Measure>,
}

/// Where a storage driver answers questions.
///
/// It says what its store holds, byte by byte, and not what larder knows: memory may hold something
/// newer. Values are asked of the [`desk`](Larder::desk).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverAddress {
    /// One record.
    pub get: Recipient<storage::Get>,
    /// Some records as they stood at one moment.
    pub get_many: Recipient<storage::GetMany>,
    /// A page of records.
    pub scan: Recipient<storage::Scan>,
    /// How much is stored.
    pub measure: Recipient<storage::Measure>,
}

impl Larder {
    /// The address of the desk, which takes everything that a handle can do as a message: see
    /// [`messages`](crate::messages). After a restart of the desk there is a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while it is being restarted, [`Error::Closed`].
    pub fn desk(&self) -> Result<Addr<Desk>, Error> {
        self.present("desk", self.parts.book.desk.read().clone())
    }

    /// The addresses of the memory driver. After a restart of it there are new ones.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while it is being restarted, [`Error::Closed`].
    pub fn memory(&self) -> Result<MemoryAddress, Error> {
        let addr = self.present(crate::cache::MEMORY, self.parts.book.memory.read().clone())?;
        Ok(MemoryAddress {
            resize: addr.clone().recipient(),
            sweep: addr.clone().recipient(),
            measure: addr.recipient(),
        })
    }

    /// The address of an actor's supervisor, which outlives the actor.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no actor of this name; see [`actors`](Larder::actors).
    /// [`Error::Closed`].
    pub fn supervisor(&self, actor: &str) -> Result<Recipient<supervise::Restart>, Error> {
        self.parts.tiers.check_open()?;
        let found = self.parts.book.supervisor_of(actor);
        found.ok_or_else(|| self.no_actor(actor))
    }

    fn present<A>(&self, name: &str, addr: Option<Addr<A>>) -> Result<Addr<A>, Error>
    where
        A: Actor<Context = actix::Context<A>>,
    {
        self.parts.tiers.check_open()?;
        let addr = addr.filter(|addr| addr.connected() && self.parts.book.is_up(name));
        addr.ok_or_else(|| down(name))
    }
}

impl DriverHandle {
    /// Where this driver answers questions about what its store holds. After a restart of it there are
    /// new addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while it is not up, [`Error::Closed`].
    pub fn addresses(&self) -> Result<DriverAddress, Error> {
        let parts = &self.larder.parts;
        let addr = parts.book.drivers.read().get(self.name()).cloned();
        let addr = addr.filter(|_| self.port.is_up());
        let addr = self.larder.present(self.name(), addr)?;
        Ok(DriverAddress {
            get: addr.clone().recipient(),
            get_many: addr.clone().recipient(),
            scan: addr.clone().recipient(),
            measure: addr.recipient(),
        })
    }
}
