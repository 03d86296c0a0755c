//! Typed messages: everything a handle can do, for those who send messages, and what larder's own
//! actors say to each other.
//!
//! The addresses for hosts are [`Larder::desk`](crate::Larder::desk),
//! [`memory`](crate::Larder::memory), [`driver`](crate::Larder::driver) and
//! [`supervisor`](crate::Larder::supervisor). A message sent after a shutdown, or to an actor that has
//! been replaced, gets actix's `MailboxError::Closed`; ask for the address again.
//!
//! # Catalogue: what hosts send
//!
//! | message | receiver | reply |
//! |---|---|---|
//! | [`entry::Get<V>`] | desk | `Result<Option<Entry<V>>>` |
//! | [`entry::Peek<V>`] | desk | `Result<Option<Entry<V>>>` |
//! | [`entry::Contains<V>`] | desk | `Result<bool>` |
//! | [`entry::GetMany<V>`] | desk | `Result<Vec<(String, Option<Entry<V>>)>>` |
//! | [`entry::Set<V>`] | desk | `Result<Version>` |
//! | [`entry::CompareAndSet<V>`] | desk | `Result<Version>` |
//! | [`entry::SetMany<V>`] | desk | `Result<BatchReport>` |
//! | [`entry::Remove<V>`] | desk | `Result<Version>` |
//! | [`entry::RemoveMany<V>`] | desk | `Result<BatchReport>` |
//! | [`entry::Touch<V>`] | desk | `Result<Option<Version>>` |
//! | [`entry::Expire<V>`] | desk | `Result<Option<Version>>` |
//! | [`entry::Explain<M>`] | desk | `Result<ReadOutcome<V>>`, `Result<WriteOutcome>` or `Result<Vec<ReadChunk<V>>>` |
//! | [`entry::Scan<V>`] | desk | `Result<Page<V>>` |
//! | [`entry::Clear`] | desk | `Result<Version>` |
//! | [`entry::Subscribe<V>`] | desk | `Result<SubscriptionId>` |
//! | [`entry::Unsubscribe`] | desk | `()` |
//! | [`larder::Flush`] | desk | `Result<()>` |
//! | [`larder::Warm`] | desk | `Result<Warmed>` |
//! | [`larder::TakeStats`] | desk | `Result<Stats>` |
//! | [`larder::TakeHealth`] | desk | `Result<Health>` |
//! | [`larder::WatchHealth`] | desk | `Result<SubscriptionId>` |
//! | [`larder::SetBreaker`] | desk | `Result<()>` |
//! | [`sealed::RotateKey`] | desk | `Result<()>` |
//! | [`sealed::Shred`] | desk | `Result<()>` |
//! | [`sealed::TakeSealProgress`] | desk | `Result<SealProgress>` |
//! | [`memory::Resize`] | memory driver | `Result<()>` |
//! | [`memory::Sweep`] | memory driver | `u64` |
//! | [`memory::Measure`] | memory driver | [`memory::Measured`] |
//! | [`storage::Get`] | storage driver | `Result<Option<Bytes>>` |
//! | [`storage::GetMany`] | storage driver | `Result<Vec<Option<Bytes>>>` |
//! | [`storage::Scan`] | storage driver | `Result<Vec<(Bytes, Bytes)>>` |
//! | [`storage::Measure`] | storage driver | `Result<Usage>` |
//! | [`supervise::Restart`] | supervisor | `()` |
//!
//! Those of `sealed` come with feature `secure`.
//!
//! A host's actor that has subscribed receives [`EntryEvent<V>`](crate::EntryEvent) from the desk and
//! replies `()`; one that watches health receives [`larder::HealthChanged`] likewise.
//!
//! # What larder's own actors say to each other
//!
//! No address that takes these is given out. A reclaim that does not come from the one who knows the time
//! would delete what is wanted; a wake-up too many does no harm but has no
//! use; what a host may want of them (flush, subscribe, restart) stands above.
//!
//! | message | receiver | reply | sent by |
//! |---|---|---|---|
//! | [`storage::Reclaim`] | storage driver | `Result<Reclaimed>` | TTL manager |
//! | [`write::Wake`] | batch writer | `()` | the shelf's bell |
//! | [`write::Flush`] | batch writer | `Result<()>` | handle |
//! | [`ttl::Wake`] | TTL manager | `()` | the shelf's bell |
//! | [`ttl::Attend`] | TTL manager | `()` | handle |
//! | [`ttl::ReclaimAt`] | TTL manager | `()` | batch writer's way down |
//! | [`hub::Subscribe`] | subscription hub | `Result<SubscriptionId>` | handle |
//! | [`hub::Unsubscribe`] | subscription hub | `()` | streams |
//! | [`hub::Close`] | subscription hub | `()` | shutdown |
//! | [`hub::Wake`] | subscription hub | `()` | the shelf's bell |
//! | [`supervise::Died`] | supervisor | `()` | death guard |
//! | [`supervise::Failed`] | supervisor | `()` | port |
//! | [`control::Stop`] | any actor | `()` | supervisors, tests |

pub mod control;
pub mod entry;
pub mod hub;
pub mod larder;
pub mod memory;
#[cfg(feature = "secure")]
pub mod sealed;
pub mod storage;
pub mod supervise;
pub mod ttl;
pub mod write;
