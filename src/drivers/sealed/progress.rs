//! How far sealing anew is.

/// How far a rotation of the master key, or the conversion of a plain store, is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct SealProgress {
    /// It is under way.
    pub is_under_way: bool,
    /// The store was a plain one, and its files may still hold plain text that was deleted: they are rewritten
    /// after the conversion.
    pub plain_text_left: bool,
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
}

impl SealProgress {
    /// A run begins, or begins again.
    pub(super) fn begin(&mut self) {
        *self = Self {
            is_under_way: true,
            finished: self.finished,
            plain_text_left: self.plain_text_left,
            ..Self::default()
        };
    }

    /// It has ended.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
        self.finished += 1;
    }
}
