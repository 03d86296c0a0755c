//! Every bound that a host can set, with its default and its range.

use serde::Serialize;

#[cfg(doc)]
use crate::error::Error;

/// Every bound of a larder. Each is reached by a test, and each refusal names the one it is for.
///
/// ```
/// let mut limits = larder::Limits::default();
/// limits.value_bytes_max = 4 << 20;
/// limits.dirty_bytes_max = 64 << 20;
/// let builder = larder::Larder::builder().limits(limits);
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Longest key, in bytes (1 to 60,000). Default: 1,024. Longer: [`Error::TooLarge`].
    pub key_bytes_max: usize,
    /// Longest encoded value, in bytes (1 to 1 GiB, and no more than `memory_bytes` and
    /// `dirty_bytes_max`). Default: 1 MiB. Longer: [`Error::TooLarge`].
    pub value_bytes_max: usize,
    /// Longest tag, in bytes (1 to 60,000). Default: 256. Longer: [`Error::TooLarge`].
    pub tag_bytes_max: usize,
    /// Most tags of one entry (0 to 255). Default: 16. More: [`Error::Invalid`].
    pub tags_per_entry_max: usize,
    /// Longest name of a cache, in bytes (1 to 1,024). Default: 128. Longer: [`Error::Config`].
    pub cache_name_bytes_max: usize,
    /// Most named caches (1 to 1,048,576). Default: 1,024. More: [`Error::Overloaded`].
    pub caches_max: usize,
    /// Acknowledged and not yet stored of each driver, in bytes (1 to 4,294,967,295). Default: 16 MiB. Past
    /// it mutations wait for room until their deadline, then [`Error::Overloaded`]; a driver that is down
    /// does not get them, and they say so.
    pub dirty_bytes_max: usize,
    /// Reads of one driver under way at once (1 to 1,048,576). Default: 256. More wait until their
    /// deadline, then [`Error::Overloaded`].
    pub reads_in_flight_max: usize,
    /// Messages that the desk works on at once (1 to 1,048,576). Default: 1,024. More:
    /// [`Error::Overloaded`].
    pub messages_in_flight_max: usize,
    /// Loads by hosts' loaders under way at once (1 to 1,048,576). Default: 16,384. More:
    /// [`Error::Overloaded`].
    pub loads_in_flight_max: usize,
    /// Calls of all named sources under way at once (1 to 1,048,576). Default: 24. More wait for their turn.
    pub source_calls_in_flight_max: usize,
    /// Most named sources (1 to 1,048,576). Default: 1,024. More: [`Error::Overloaded`].
    pub sources_max: usize,
    /// Keys of which it is remembered that their source has nothing, or that it failed (1 to 16,777,216). Default:
    /// 16,384. More: the oldest are forgotten, and their sources asked again.
    pub load_notes_max: usize,
    /// Tag fences of one cache, and of all caches while they wait to be stored (1 to 16,777,216).
    /// Default: 4,096. More become one fence of the whole cache.
    pub tag_fences_max: usize,
    /// Events that wait for the hub, over all stripes (1 to 16,777,216). Default: 65,536. More:
    /// watchers are told that they lag.
    pub events_waiting_max: usize,
    /// Bytes of the events that wait for the hub, over all stripes (1 to 4,294,967,295). Default: 16 MiB.
    /// More: watchers are told that they lag. An event counts for its key, the value before, the one
    /// after and 768 bytes. One that is heavier than this alone is never delivered: whoever watches the
    /// largest values allows more than twice `value_bytes_max`.
    pub events_waiting_bytes_max: usize,
    /// Deadlines that wait for the TTL manager, over all stripes (1 to 16,777,216). Default: 262,144.
    /// More: it looks at everything.
    pub deadlines_waiting_max: usize,
    /// Keys whose stored copies are distrusted one by one (1 to 16,777,216). Default: 65,536. More: all
    /// of a cache in a stripe is, until what is in doubt has been deleted.
    pub distrusted_keys_max: usize,
    /// Subscriptions at once (1 to 16,777,216). Default: 65,536. More: [`Error::Overloaded`].
    pub subscriptions_max: usize,
    /// Largest page of a scan, in entries (1 to 1,048,576). Default: 10,000. More: [`Error::Invalid`].
    pub page_size_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 1_024,
            value_bytes_max: 1 << 20,
            tag_bytes_max: 256,
            tags_per_entry_max: 16,
            cache_name_bytes_max: 128,
            caches_max: 1_024,
            dirty_bytes_max: 16 << 20,
            reads_in_flight_max: 256,
            messages_in_flight_max: 1_024,
            loads_in_flight_max: 16_384,
            source_calls_in_flight_max: 24,
            sources_max: 1_024,
            load_notes_max: 16_384,
            tag_fences_max: 4_096,
            events_waiting_max: 65_536,
            events_waiting_bytes_max: 16 << 20,
            deadlines_waiting_max: 262_144,
            distrusted_keys_max: 65_536,
            subscriptions_max: 65_536,
            page_size_max: 10_000,
        }
    }
}

impl Limits {
    /// Field, value, least and greatest that is allowed.
    pub(super) fn ranges(&self) -> [(&'static str, usize, usize, usize); 20] {
        let (tags_max, bytes_max) = (crate::record::TAGS_MAX, u32::MAX as usize);
        [
            ("limits.key_bytes_max", self.key_bytes_max, 1, 60_000),
            ("limits.value_bytes_max", self.value_bytes_max, 1, 1 << 30),
            ("limits.tag_bytes_max", self.tag_bytes_max, 1, 60_000),
            (
                "limits.tags_per_entry_max",
                self.tags_per_entry_max,
                0,
                tags_max,
            ),
            (
                "limits.cache_name_bytes_max",
                self.cache_name_bytes_max,
                1,
                1_024,
            ),
            ("limits.caches_max", self.caches_max, 1, 1 << 20),
            ("limits.dirty_bytes_max", self.dirty_bytes_max, 1, bytes_max),
            (
                "limits.reads_in_flight_max",
                self.reads_in_flight_max,
                1,
                1 << 20,
            ),
            (
                "limits.messages_in_flight_max",
                self.messages_in_flight_max,
                1,
                1 << 20,
            ),
            (
                "limits.loads_in_flight_max",
                self.loads_in_flight_max,
                1,
                1 << 20,
            ),
            (
                "limits.source_calls_in_flight_max",
                self.source_calls_in_flight_max,
                1,
                1 << 20,
            ),
            ("limits.sources_max", self.sources_max, 1, 1 << 20),
            ("limits.load_notes_max", self.load_notes_max, 1, 1 << 24),
            ("limits.tag_fences_max", self.tag_fences_max, 1, 1 << 24),
            (
                "limits.events_waiting_max",
                self.events_waiting_max,
                1,
                1 << 24,
            ),
            (
                "limits.events_waiting_bytes_max",
                self.events_waiting_bytes_max,
                1,
                bytes_max,
            ),
            (
                "limits.deadlines_waiting_max",
                self.deadlines_waiting_max,
                1,
                1 << 24,
            ),
            (
                "limits.distrusted_keys_max",
                self.distrusted_keys_max,
                1,
                1 << 24,
            ),
            (
                "limits.subscriptions_max",
                self.subscriptions_max,
                1,
                1 << 24,
            ),
            ("limits.page_size_max", self.page_size_max, 1, 1 << 20),
        ]
    }
}
