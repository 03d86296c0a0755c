//! What becomes of a store whose files could not be rewritten.

use bytes::Bytes;
use tokio::sync::watch;

use super::*;
use crate::drivers::map::MapStore;
use crate::drivers::sealed::{EncryptionConfig, Vault};
use crate::drivers::{Driver, StoreDurability, Watermark, Write};
use crate::larder::Larder;
use crate::secret::MasterKey;

/// What was asked of all instances of a driver.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Asked {
    opened: usize,
    upkept: usize,
    scrubbed: usize,
}

/// Wants its files rewritten, and cannot.
struct Broken {
    inner: Box<dyn Driver>,
    asked: watch::Sender<Asked>,
}

impl Driver for Broken {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.inner.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.inner.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.inner.scan(prefix, after, page)
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.inner.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.inner.reserved()
    }

    fn upkeep(&self, _: PageLimit) -> Result<crate::drivers::Upkeep, Failure> {
        self.asked.send_modify(|asked| asked.upkept += 1);
        Ok(crate::drivers::Upkeep {
            wants_scrub: true,
            ..Default::default()
        })
    }

    fn scrub(&self) -> Result<(), Failure> {
        self.asked.send_modify(|asked| asked.scrubbed += 1);
        Err(Failure::reopen("it takes no more writes"))
    }
}

#[test]
fn what_could_not_be_rewritten_is_tried_again_after_twice_as_long_each_time() {
    let patience = Patience::default();
    assert!(patience.left().is_zero());
    let mut most = SCRUB_AGAIN;
    for _ in 0..20 {
        patience.put_off();
        let left = patience.left();
        assert!(left > most / 2 && left <= most, "{left:?}");
        most = SCRUB_AGAIN_MAX.min(most * 2);
    }
    assert_eq!(most, SCRUB_AGAIN_MAX);
}

#[tokio::test]
async fn a_store_that_its_rewriting_broke_is_opened_anew_and_not_broken_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let key = MasterKey::from_bytes([1; 32]).unwrap();
    let vault = Arc::new(Vault::new(dir.path(), EncryptionConfig::new(key)));
    let (store, asked) = (MapStore::new(), watch::Sender::new(Asked::default()));
    let mut news = asked.subscribe();
    let open = move || {
        asked.send_modify(|asked| asked.opened += 1);
        Ok(Broken {
            inner: store.factory()()?,
            asked: asked.clone(),
        })
    };
    let larder = Larder::builder().driver("own", open).sealed_by(&vault);
    let larder = larder.start().await.unwrap();
    // A guard only.
    let soon = Duration::from_secs(40);
    let began = Clock::instant();
    let meets = async {
        let upkept = news
            .wait_for(|asked| asked.opened == 2)
            .await
            .unwrap()
            .upkept;
        let once = news.wait_for(|asked| asked.upkept > upkept);
        drop(once.await.unwrap());
        // Whoever hears of progress looks again: by then it has decided what to do about the first look.
        vault.end();
        let twice = news.wait_for(|asked| asked.upkept > upkept + 1);
        drop(twice.await.unwrap());
    };
    tokio::time::timeout(soon, meets).await.unwrap();
    let is_soon = began.elapsed() < SCRUB_AGAIN;
    larder.shutdown(soon).await.unwrap();
    let asked = *news.borrow();
    assert!(
        !is_soon || (asked.opened, asked.scrubbed) == (2, 1),
        "{asked:?}"
    );
}
