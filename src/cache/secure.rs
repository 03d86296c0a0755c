//! Secure caches: their values are sealed below memory, and nothing shows them that was not asked to.

use super::CacheBuilder;
#[cfg(feature = "secure")]
use super::{Arc, Cache, Error, Home, MEMORY};
use crate::codec::Value;
#[cfg(feature = "secure")]
use crate::entry::Source;

#[cfg(feature = "secure")]
impl<V: Value> Cache<V> {
    /// The secure cache of this name, as it was opened last or with default settings.
    pub(crate) fn secure(home: Arc<Home>, name: &str) -> Result<Self, Error> {
        let opened = home.tiers.definitions.read().contains_key(name);
        if !opened {
            return CacheBuilder::new(home, name).secure().open();
        }
        let cache = Self::named(home, name)?;
        let is_disabled = cache.inner.tiers.config.disabled;
        match cache.inner.definition.defaults.is_secret || is_disabled {
            true => Ok(cache),
            false => Err(Error::Config(
                [super::build::other_secrecy(name, true)].into(),
            )),
        }
    }
}

impl<V: Value> CacheBuilder<V> {
    /// A secure cache: in memory, and below it in the secure driver alone.
    #[cfg(feature = "secure")]
    pub(crate) fn secure(mut self) -> Self {
        let tiers = &self.home.tiers;
        let secure = tiers.ports.iter().find(|p| p.source == Source::Secure);
        // Without one the name is that of no driver, which `open` says.
        let name = secure.map_or("secure", |port| &*port.name).to_owned();
        self.drivers = Some(vec![MEMORY.to_owned(), name]);
        self.secret()
    }

    /// Its values are secrets: kept in memory as bytes that are overwritten when they are dropped, and shown to
    /// nobody who watches, unless [`keep_decoded`](CacheBuilder::keep_decoded) and
    /// [`event_values`](CacheBuilder::event_values) say otherwise. All of its drivers must be sealed. A cache that
    /// is kept in the secure driver is one anyway: [`Larder::secure`](crate::Larder::secure).
    pub fn secret(mut self) -> Self {
        self.defaults.is_secret = true;
        self
    }

    /// Whether memory keeps values decoded once somebody has decoded them: a read is then as fast as memory
    /// is, and the value lies there in plain text until it is evicted. Default: yes, and not in a secure cache.
    pub fn keep_decoded(mut self, keeps: bool) -> Self {
        self.defaults.keeps_decoded = Some(keeps);
        self
    }

    /// Whether those who watch are shown values. Else `old` is [`NotLoaded`](crate::Old::NotLoaded) and `new` is
    /// `None` in each change, whatever its kind says, and no snapshot follows a lag. Default: yes, and not in
    /// a secure cache.
    pub fn event_values(mut self, shows: bool) -> Self {
        self.defaults.shows_values = Some(shows);
        self
    }
}
