//! [`CacheExt`]: typed values, stored as JSON.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, CacheValue, LoadOptions, Loader, SetOptions, loader};
use base::{ErrorKind, Result};

/// A [`Loader`] from an async closure whose value is kept as JSON.
pub fn json_loader<T, F, Fut>(load: F) -> Loader
where
    T: Serialize + Send + Sync + 'static,
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T>> + Send + 'static,
{
    let load = Arc::new(load);
    loader(move || {
        let load = Arc::clone(&load);
        async move { CacheValue::json(&load().await?) }
    })
}

/// Typed values over any [`Cache`], as JSON.
///
/// ```
/// use std::sync::Arc;
/// use jarvis_core::cache::{CacheExt, CachePolicy, LoadOptions, MemoryCache, SetOptions};
/// use jarvis_core::clock::SystemClock;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Profile {
///     name: String,
/// }
///
/// # async fn example() -> jarvis_core::Result<()> {
/// let cache = MemoryCache::new(CachePolicy::new("shop"), Arc::new(SystemClock::new()))?;
/// let profile: Profile = cache
///     .get_or_load_json("profile:7", LoadOptions::new(), || async {
///         Ok(Profile { name: "Ada".to_owned() }) // from the database
///     })
///     .await?;
/// assert_eq!(cache.get_json::<Profile>("profile:7").await?, Some(profile));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
pub trait CacheExt: Cache {
    /// [`Cache::get`], read as JSON.
    ///
    /// # Errors
    /// `Corrupt` when the value has another shape, and those of [`Cache::get`].
    fn get_json<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<T>>> + Send {
        async move { self.get(key).await?.map(|value| value.parse()).transpose() }
    }

    /// [`Cache::set`], written as JSON.
    ///
    /// # Errors
    /// `InvalidInput` when the value has no form in JSON, and those of [`Cache::set`].
    fn set_json<T: Serialize + Sync + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: SetOptions,
    ) -> impl Future<Output = Result<bool>> + Send {
        async move { self.set(key, CacheValue::json(value)?, options).await }
    }

    /// [`Cache::get_or_load`], kept as JSON. A kept value of another shape, as an older program
    /// may have left it, is deleted and loaded anew.
    ///
    /// # Errors
    /// The load's, `Corrupt` when what is loaded reads back as another shape, and those of
    /// [`Cache::get_or_load`].
    fn get_or_load_json<T, F, Fut>(
        &self,
        key: &str,
        options: LoadOptions,
        load: F,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let load = json_loader(load);
        async move {
            let value = self.get_or_load(key, options.clone(), Arc::clone(&load)).await?;
            match value.parse() {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.delete(&[key.to_owned()]).await?;
                    self.get_or_load(key, options, load).await?.parse()
                }
                parsed => parsed,
            }
        }
    }
}

impl<C: Cache + ?Sized> CacheExt for C {}
