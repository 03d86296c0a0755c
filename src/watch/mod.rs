//! Watching: from an event that the shelf recorded to what a subscriber is told.
//!
//! The path of one event: the shelf records it under the slot's lock; the hub takes it and asks the
//! [`Registry`] who wants it; the registry offers it to their sinks, which never wait; the
//! subscriber's [`Watch`] or [`WatchLatest`] turns it into the host's type on the subscriber's own
//! thread. A subscriber that is too slow loses events, never time of a writer's and never memory: it
//! is told so and reads what is there now.
//!
//! | file | its idea |
//! |---|---|
//! | `registry.rs` | who wants to hear of what |
//! | `index.rs` | whom an event of a cache concerns |
//! | `order.rs` | what the watchers of one key may still be told |
//! | `inbox.rs` | the bounded place between the hub and one subscriber |
//! | `floors.rs` | which events a snapshot has overtaken |
//! | `stream.rs`, `latest.rs` | what the host holds |
//! | `recipient.rs` | the same for actors |

#[cfg(test)]
pub(crate) mod fixture;
mod floors;
mod inbox;
mod index;
mod latest;
mod order;
mod recipient;
mod registry;
mod snapshot;
mod stream;

pub use inbox::{Inbox, InboxSink, latest_inbox, queue_inbox};
pub use latest::WatchLatest;
pub use recipient::{RecipientSink, forward, forward_latest};
pub use registry::{Registry, RegistryStats};
pub use snapshot::{OnDrop, SnapshotFn, SnapshotFuture, SnapshotPage};
pub use stream::Watch;
