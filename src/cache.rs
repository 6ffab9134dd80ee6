//! Kept answers: in memory first, then in the data folder. Losing one loses nothing but money, so
//! a store that fails is passed over.

use std::sync::Arc;

use empire_actors::level::Level;
use empire_actors::ports::{AnswerCache, CallKey, StoreError, UnixMillis};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::config::CacheSetting;
use crate::store::{KeptAnswers, Store};

/// What an entry takes in memory beside its answer.
const ENTRY_BYTES: u64 = 160;
/// What an answer may be thought to take, for how many there is room.
const TYPICAL_BYTES: u64 = 512;

type Answer = (Arc<str>, UnixMillis);

#[derive(Clone)]
struct Bytes;

impl Weighter<(CallKey, Level), Answer> for Bytes {
    fn weight(&self, _: &(CallKey, Level), (answer, _): &Answer) -> u64 {
        answer.len() as u64 + ENTRY_BYTES
    }
}

/// The answers that are kept, in two tiers.
pub struct TieredCache {
    memory: Cache<(CallKey, Level), Answer, Bytes>,
    stored: KeptAnswers,
    stores_p3: bool,
}

impl TieredCache {
    /// As configured, over `store`; what is too old or too much there, or is not to be kept any
    /// more, goes now. `None` if it is off.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(setting: &CacheSetting, store: &Store) -> Result<Option<TieredCache>, StoreError> {
        if !setting.is_on {
            KeptAnswers::clear(store).await?;
            return Ok(None);
        }
        let typical = usize::try_from(setting.memory_bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        let memory = Cache::with_weighter(typical, setting.memory_bytes, Bytes);
        let most_level = if setting.stores_p3 { Level::P3 } else { Level::P2 };
        let stored = KeptAnswers::open(store, setting.store_bytes, setting.max_age, most_level).await?;
        Ok(Some(TieredCache { memory, stored, stores_p3: setting.stores_p3 }))
    }

    fn is_stored(&self, level: Level) -> bool {
        level < Level::P3 || self.stores_p3
    }
}

impl AnswerCache for TieredCache {
    fn get(&self, key: CallKey, level: Level) -> BoxFuture<'_, Option<Arc<str>>> {
        let is_fresh = |(_, at): &Answer| *at >= self.stored.oldest();
        let known = self.memory.get(&(key, level)).filter(is_fresh).map(|(answer, _)| answer);
        if known.is_some() || !self.is_stored(level) {
            return ready(known).boxed();
        }
        async move {
            let (answer, at) = match self.stored.get(key, level).await {
                Ok(found) => found?,
                Err(error) => {
                    tracing::warn!(%error, "a kept answer cannot be read: its call is made again");
                    return None;
                }
            };
            self.memory.insert((key, level), (answer.clone(), at));
            Some(answer)
        }
        .boxed()
    }

    fn put(&self, key: CallKey, level: Level, answer: &str) {
        self.memory.insert((key, level), (answer.into(), self.stored.now()));
        if self.is_stored(level)
            && let Err(error) = self.stored.put(key, level, answer)
        {
            tracing::warn!(%error, "an answer cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::home::Home;
    use crate::run::system::{Hands, SystemClock};

    fn setting(stores_p3: bool) -> CacheSetting {
        CacheSetting {
            is_on: true,
            memory_bytes: 100_000,
            store_bytes: 1_000_000,
            max_age: Duration::from_secs(3_600),
            stores_p3,
        }
    }

    async fn opened(home: &Home, stores_p3: bool) -> (Store, TieredCache) {
        let store = Store::open(home.lock().unwrap(), Arc::new(SystemClock)).await.unwrap();
        let setting = setting(stores_p3);
        let cache = TieredCache::open(&setting, &store).await.unwrap().unwrap();
        (store, cache)
    }

    #[tokio::test]
    async fn answers_outlive_the_process_but_those_to_p3_only_if_asked() {
        for stores_p3 in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
            let (store, cache) = opened(&home, stores_p3).await;
            for level in Level::ALL {
                cache.put(CallKey([1; 32]), level, &format!("for {level}"));
                let found = cache.get(CallKey([1; 32]), level).await;
                assert_eq!(found.as_deref(), Some(&*format!("for {level}")));
            }
            store.close().await.unwrap();
            let (store, cache) = opened(&home, stores_p3).await;
            for level in Level::ALL {
                let found = cache.get(CallKey([1; 32]), level).await;
                assert_eq!(found.is_some(), level < Level::P3 || stores_p3, "{level}");
            }
            store.close().await.unwrap();
            let bytes = std::fs::read(home.dir().join("empire.db")).unwrap();
            let holds_p3 = bytes.windows(6).any(|window| window == b"for P3");
            assert_eq!(holds_p3, stores_p3);
        }
    }

    #[tokio::test]
    async fn an_answer_from_the_store_grows_no_younger_in_memory() {
        const MINUTE: i64 = 60_000;
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_700_000_000_000)));
        let mut store = Store::open(home.lock().unwrap(), clock.clone()).await.unwrap();
        let mut cache = TieredCache::open(&setting(true), &store).await.unwrap().unwrap();
        cache.put(CallKey([1; 32]), Level::P1, "answer");
        for reopened in [false, true] {
            if reopened {
                drop(cache);
                store.close().await.unwrap();
                store = Store::open(home.lock().unwrap(), clock.clone()).await.unwrap();
                cache = TieredCache::open(&setting(true), &store).await.unwrap().unwrap();
            }
            clock.0.fetch_add(29 * MINUTE, Ordering::Relaxed);
            assert!(cache.get(CallKey([1; 32]), Level::P1).await.is_some(), "{reopened}");
        }
        assert_eq!(cache.memory.len(), 1);
        clock.0.fetch_add(3 * MINUTE, Ordering::Relaxed);
        assert_eq!(cache.get(CallKey([1; 32]), Level::P1).await, None, "61 minutes old");
        drop(cache);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_to_be_kept_any_more_goes_when_it_is_opened() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let (store, cache) = opened(&home, true).await;
        Level::ALL.into_iter().for_each(|level| cache.put(CallKey([1; 32]), level, "answer"));
        // Each one opened has a memory of its own.
        let stored = async || {
            let cache = TieredCache::open(&setting(true), &store).await.unwrap().unwrap();
            let mut levels = Vec::new();
            for level in Level::ALL {
                levels.extend(cache.get(CallKey([1; 32]), level).await.map(|_| level));
            }
            levels
        };
        assert_eq!(stored().await, Level::ALL);
        TieredCache::open(&setting(false), &store).await.unwrap().unwrap();
        assert_eq!(stored().await, [Level::P0, Level::P1, Level::P2]);
        let off = CacheSetting { is_on: false, ..setting(false) };
        assert!(TieredCache::open(&off, &store).await.unwrap().is_none());
        assert_eq!(stored().await, []);
        drop(cache);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn memory_stays_within_its_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let (store, cache) = opened(&home, false).await;
        for n in 0..1_000_u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            cache.put(CallKey(key), Level::P3, &"x".repeat(1_000));
        }
        assert!(cache.memory.weight() <= 100_000);
        assert!(cache.memory.len() > 20);
        drop(cache);
        store.close().await.unwrap();
    }
}
