//! How far sealing anew is.

use super::envelope::ID_BYTES;

/// How far a rotation of the master key, or the conversion of a plain store, is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct SealProgress {
    /// It is under way.
    pub is_under_way: bool,
    /// The store was a plain one, and its files may still hold plain text that was deleted: they are rewritten
    /// after the conversion. True from the start of a conversion until that is done: what to wait for.
    pub plain_text_left: bool,
    /// Two master keys open the store: the older one until all that it has sealed is sealed anew, and this process, or
    /// the next, has been given the newer one.
    pub older_key_opens: bool,
    /// How many such runs have ended since this process began.
    pub finished: u64,
    /// Records that were looked at in this run, or in the last one.
    pub looked_at: u64,
    /// Those that were sealed anew.
    pub resealed: u64,
    /// Those that did not open, and are given up.
    pub given_up: u64,
    /// About how many records there are, if the store can tell.
    pub records: Option<u64>,
    /// Everything was sealed in this epoch or after it.
    #[serde(skip)]
    pub(super) through: u32,
    /// Of which store that is said; of none when its keys were destroyed.
    #[serde(skip)]
    pub(super) store: Option<[u8; ID_BYTES]>,
    /// larder has ended.
    #[serde(skip)]
    pub(super) is_over: bool,
}

/// What a rotation is to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaited {
    /// The first epoch of its master key.
    pub(super) since: u32,
    /// Of which store.
    pub(super) store: [u8; ID_BYTES],
}

impl Awaited {
    /// Whether it has reached it, or never will; then with nothing.
    pub fn ended(self, progress: &SealProgress) -> Option<Option<SealProgress>> {
        let is_through = progress.through >= self.since || progress.store != Some(self.store);
        match (is_through, progress.is_over) {
            (true, _) => Some(Some(*progress)),
            (false, true) => Some(None),
            (false, false) => None,
        }
    }
}

impl SealProgress {
    /// Whether it is said of a store: none was opened yet, or its keys were destroyed.
    pub fn is_known(&self) -> bool {
        self.store.is_some()
    }

    /// A run begins, or begins again.
    pub(super) fn begin(&mut self) {
        *self = Self {
            is_under_way: true,
            finished: self.finished,
            plain_text_left: self.plain_text_left,
            older_key_opens: self.older_key_opens,
            through: self.through,
            store: self.store,
            is_over: self.is_over,
            ..Self::default()
        };
    }

    /// It is said of this store from here on.
    pub(super) fn is_of(&mut self, store: [u8; ID_BYTES]) {
        if self.store.replace(store) != Some(store) {
            self.through = 0;
        }
    }

    /// The keys were destroyed: whatever was under way has ended with them.
    pub(super) fn shredded(&mut self) {
        *self = Self {
            finished: self.finished + u64::from(self.is_under_way),
            // Until the store is begun anew.
            plain_text_left: self.plain_text_left,
            is_over: self.is_over,
            ..Self::default()
        };
    }

    /// It has ended.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
        self.finished += 1;
    }
}
