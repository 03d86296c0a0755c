//! What any fetch can say, of one key or of many.

macro_rules! fetch_options {
    () => {
        /// The TTL of what is loaded; the cache's default where nothing is said.
        pub fn ttl(mut self, ttl: Duration) -> Self {
            self.says().entry.ttl = Some(Some(ttl));
            self
        }

        /// Takes a random share of up to this much off the TTL (0.0 to 0.9), so that what was loaded together does not
        /// expire together. Default: as the cache does.
        pub fn ttl_jitter(mut self, share: f64) -> Self {
            self.says().entry.ttl_jitter = Some(share);
            self
        }

        /// A name under which what is loaded can be invalidated.
        pub fn tag(mut self, tag: impl Into<smol_str::SmolStr>) -> Self {
            self.says().entry.tags.push(tag.into());
            self
        }

        /// How long what is loaded should outlast others; the cache's default where nothing is said.
        pub fn priority(mut self, priority: Priority) -> Self {
            self.says().entry.priority = Some(priority);
            self
        }

        /// Shows what has expired for so long after, and loads it anew meanwhile. Default: not at all.
        pub fn stale_for(mut self, time: Duration) -> Self {
            self.says().terms.stale_for = time;
            self
        }

        /// Shows what has expired for so long after, if it cannot be loaded. Default: not at all.
        pub fn stale_if_error_for(mut self, time: Duration) -> Self {
            self.says().terms.stale_if_error_for = time;
            self
        }

        /// Loads anew, while what is there is shown, once so much of its TTL has passed (more than 0 and less
        /// than 1). One load at a time.
        pub fn refresh_ahead(mut self, part: f64) -> Self {
            self.says().terms.refresh_ahead = Some(part);
            self
        }

        /// Waits so long at most where there is something stale to show instead. The load goes on, for
        /// [`BACKGROUND_MAX`](crate::fetch::BACKGROUND_MAX) or until the latest deadline of those who have waited for it.
        pub fn soft_timeout(mut self, after: Duration) -> Self {
            self.says().terms.soft_timeout = Some(after);
            self
        }

        /// How long the call may take in all (a day at most). Default: [`DEADLINE`](crate::fetch::DEADLINE).
        pub fn deadline(mut self, after: Duration) -> Self {
            self.says().terms.deadline = Some(after);
            self
        }

        /// How long it is remembered that the source has nothing, so that nobody asks it again: until then, or until
        /// the key is set, removed or invalidated. [`Loaded::missing`] with a TTL of its own says more. In memory only.
        /// Default: not at all.
        pub fn missing_ttl(mut self, ttl: Duration) -> Self {
            self.says().missing_ttl = ttl;
            self
        }

        /// How long what can be shown is not loaded again after a load of it has failed, if its source asked for no more.
        /// Default: [`THROTTLE`](crate::fetch::THROTTLE).
        pub fn throttle(mut self, time: Duration) -> Self {
            self.says().throttle = time;
            self
        }

        /// How often the loader is asked, and when.
        pub fn retry(mut self, retry: Retry) -> Self {
            self.says().retry = retry;
            self
        }

        /// What kind of trouble an error of the loader's is; `None` for what larder thinks of it.
        pub fn classify<C>(mut self, classify: C) -> Self
        where
            C: Fn(&LoadError) -> Option<ErrorClass> + Send + Sync + 'static,
        {
            self.says().classify = Some(std::sync::Arc::new(classify));
            self
        }

        /// Where it is loaded from: as many at a time as the source may be asked, and not while it fails. Default: the
        /// cache's own ([`CacheBuilder::source`](crate::CacheBuilder::source)); without one it is asked as often as there are keys to load.
        ///
        /// A loader that fetches another key gives up its place as it begins to wait for that one.
        pub fn source(mut self, source: &LoadSource) -> Self {
            self.says().source = Some(source.clone());
            self
        }

        /// Whether others go first where loads wait for their turn at their source. Whoever waits for a load lifts it. One
        /// that nobody waits for is [`Urgency::Background`] at most. Default: [`Urgency::Foreground`].
        pub fn urgency(mut self, urgency: Urgency) -> Self {
            self.says().urgency = urgency;
            self
        }

        /// Lets the load go on when nobody waits any more, for [`BACKGROUND_MAX`](crate::fetch::BACKGROUND_MAX) or until
        /// the latest deadline of those who have waited for it.
        pub fn keep_warm(mut self) -> Self {
            self.says().keeps_warm = true;
            self
        }
    };
}
