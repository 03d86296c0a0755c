//! Typed messages: everything a handle can do, for those who send messages, and what larder's own
//! actors say to each other.
//!
//! The address for hosts is [`Larder::desk`](crate::Larder::desk). A message sent after a shutdown, or
//! to a desk that has been replaced, gets actix's `MailboxError::Closed`; ask for the address again.
//!
//! # Catalogue
//!
//! | message | receiver | reply | sent by |
//! |---|---|---|---|
//! | [`entry::Get<V>`] | desk | `Result<Option<Entry<V>>>` | hosts |
//! | [`entry::Contains<V>`] | desk | `Result<bool>` | hosts |
//! | [`entry::GetMany<V>`] | desk | `Result<Vec<(String, Option<Entry<V>>)>>` | hosts |
//! | [`entry::Set<V>`] | desk | `Result<Version>` | hosts |
//! | [`entry::CompareAndSet<V>`] | desk | `Result<Version>` | hosts |
//! | [`entry::SetMany<V>`] | desk | `Result<BatchReport>` | hosts |
//! | [`entry::Remove<V>`] | desk | `Result<Version>` | hosts |
//! | [`entry::RemoveMany<V>`] | desk | `Result<BatchReport>` | hosts |
//! | [`entry::Touch<V>`] | desk | `Result<Option<Version>>` | hosts |
//! | [`entry::Expire<V>`] | desk | `Result<Option<Version>>` | hosts |
//! | [`entry::Scan<V>`] | desk | `Result<Page<V>>` | hosts |
//! | [`entry::Clear`] | desk | `Result<Version>` | hosts |
//! | [`entry::Subscribe<V>`] | desk | `Result<SubscriptionId>` | hosts |
//! | [`entry::Unsubscribe`] | desk | `()` | hosts |
//! | [`larder::Flush`] | desk | `Result<()>` | hosts |
//! | [`larder::Warm`] | desk | `Result<Warmed>` | hosts |
//! | [`larder::TakeStats`] | desk | `Result<Stats>` | hosts |
//! | [`EntryEvent<V>`](crate::EntryEvent) | the host's actor | `()` | desk |
//! | [`storage::Get`], [`storage::GetMany`], [`storage::Scan`], [`storage::Measure`] | storage driver | bytes, [`Usage`](crate::drivers::Usage) | desk's statistics, hosts |
//! | [`storage::Commit`] | storage driver | `Result<()>` | batch writer |
//! | [`storage::Reclaim`] | storage driver | `Result<Reclaimed>` | TTL manager |
//! | [`memory::Resize`] | memory driver | `()` | handle |
//! | [`memory::Sweep`] | memory driver | `u64` | fences |
//! | [`memory::Measure`] | memory driver | [`memory::Measured`] | hosts |
//! | [`write::Wake`] | batch writer | `()` | the shelf's bell |
//! | [`write::Flush`] | batch writer | `Result<()>` | handle |
//! | [`ttl::Wake`] | TTL manager | `()` | the shelf's bell |
//! | [`ttl::Attend`] | TTL manager | `()` | handle |
//! | [`ttl::ReclaimAt`] | TTL manager | `()` | batch writer's way down |
//! | [`hub::Subscribe`] | subscription hub | `Result<SubscriptionId>` | handle |
//! | [`hub::Unsubscribe`] | subscription hub | `()` | streams |
//! | [`hub::Wake`] | subscription hub | `()` | the shelf's bell |
//! | [`supervise::Died`] | supervisor | `()` | death guard |
//! | [`supervise::Failed`] | supervisor | `()` | port |
//! | [`supervise::Restart`] | supervisor | `()` | operators |
//! | [`control::Stop`] | any actor | `()` | supervisors, tests |

pub mod control;
pub mod entry;
pub mod hub;
pub mod larder;
pub mod memory;
pub mod storage;
pub mod supervise;
pub mod ttl;
pub mod write;
