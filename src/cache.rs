//! Kept answers: in memory first, then in the data folder. Losing one loses nothing but money, so
//! a store that fails is passed over.

use std::sync::Arc;

use empire_actors::level::Level;
use empire_actors::ports::{AnswerCache, CallKey, StoreError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use moka::sync::Cache;

use crate::config::CacheSetting;
use crate::store::{KeptAnswers, Store};

/// What an entry takes in memory beside its answer.
const ENTRY_BYTES: usize = 200;

/// The answers that are kept, in two tiers.
pub struct TieredCache {
    memory: Cache<(CallKey, Level), Arc<str>>,
    stored: KeptAnswers,
    stores_p3: bool,
}

impl TieredCache {
    /// As configured, over `store`; what is too old or too much there goes now. `None` if it is
    /// off.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(setting: &CacheSetting, store: &Store) -> Result<Option<TieredCache>, StoreError> {
        if !setting.is_on {
            return Ok(None);
        }
        let weight = |_: &(CallKey, Level), answer: &Arc<str>| {
            u32::try_from(answer.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let memory = Cache::builder()
            .max_capacity(setting.memory_bytes)
            .weigher(weight)
            .time_to_live(setting.max_age)
            .build();
        let stored = KeptAnswers::open(store, setting.store_bytes, setting.max_age).await?;
        Ok(Some(TieredCache { memory, stored, stores_p3: setting.stores_p3 }))
    }

    fn is_stored(&self, level: Level) -> bool {
        level < Level::P3 || self.stores_p3
    }
}

impl AnswerCache for TieredCache {
    fn get(&self, key: CallKey, level: Level) -> BoxFuture<'_, Option<Arc<str>>> {
        let known = self.memory.get(&(key, level));
        if known.is_some() || !self.is_stored(level) {
            return ready(known).boxed();
        }
        async move {
            let found = match self.stored.get(key, level).await {
                Ok(found) => found?,
                Err(error) => {
                    tracing::warn!(%error, "a kept answer cannot be read: its call is made again");
                    return None;
                }
            };
            self.memory.insert((key, level), found.clone());
            Some(found)
        }
        .boxed()
    }

    fn put(&self, key: CallKey, level: Level, answer: &str) {
        self.memory.insert((key, level), answer.into());
        if self.is_stored(level)
            && let Err(error) = self.stored.put(key, level, answer)
        {
            tracing::warn!(%error, "an answer cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::home::Home;
    use crate::run::system::SystemClock;

    async fn opened(home: &Home, stores_p3: bool) -> (Store, TieredCache) {
        let store = Store::open(home.lock().unwrap(), Arc::new(SystemClock)).await.unwrap();
        let setting = CacheSetting {
            is_on: true,
            memory_bytes: 100_000,
            store_bytes: 1_000_000,
            max_age: Duration::from_secs(3_600),
            stores_p3,
        };
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
    async fn memory_stays_within_its_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(temp.path().to_owned()), |_| None).unwrap();
        let (store, cache) = opened(&home, false).await;
        for n in 0..1_000_u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            cache.put(CallKey(key), Level::P3, &"x".repeat(1_000));
        }
        cache.memory.run_pending_tasks();
        assert!(cache.memory.weighted_size() <= 100_000);
        assert!(cache.memory.entry_count() > 20);
        drop(cache);
        store.close().await.unwrap();
    }
}
