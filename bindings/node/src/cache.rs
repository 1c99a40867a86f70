//! [`Cache`]: the cache.

#![expect(clippy::needless_pass_by_value, reason = "arguments from JavaScript are owned")]

use std::sync::Arc;

use jarvis_core::cache::{
    Cache as Store, CacheValue, Condition, Entry, Lifetime, LoadOptions, SetOptions, loader,
};
use jarvis_core::{Error, ErrorKind, Result};
use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;

use crate::bridge::{Bridge, Place, now};
use crate::convert::{Answer, Value, json, millis};
use crate::error::{Failure, Thrown};
use crate::foreign::Foreign;
use crate::lazy::Lazy;

/// How a value is stored.
#[napi(object)]
#[derive(Debug, Default)]
pub struct StoreOptions {
    /// How long it lives, in milliseconds; Infinity for no end.
    pub ttl: Option<f64>,
    /// Only when there is none.
    pub if_absent: Option<bool>,
    /// Only when there is one.
    pub if_present: Option<bool>,
    /// Tags to invalidate it by.
    pub tags: Option<Vec<String>>,
}

/// How a value is loaded.
#[napi(object)]
#[derive(Debug)]
pub struct FetchOptions {
    /// How it is stored.
    pub store: StoreOptions,
    /// How long after its expiry it may be served, in milliseconds.
    pub stale: Option<f64>,
    /// The weight of early refresh.
    pub early: Option<f64>,
    /// How long to wait for the load of another process, in milliseconds.
    pub wait: Option<f64>,
}

fn lifetime(ttl: f64) -> Result<Lifetime> {
    if ttl == f64::INFINITY { Ok(Lifetime::Unlimited) } else { millis(ttl).map(Lifetime::For) }
}

impl StoreOptions {
    fn read(self) -> Result<SetOptions> {
        let mut options = SetOptions::new();
        options.lifetime = self.ttl.map(lifetime).transpose()?;
        options.tags = self.tags.unwrap_or_default();
        options.condition = match (self.if_absent == Some(true), self.if_present == Some(true)) {
            (false, false) => Condition::Always,
            (true, false) => Condition::IfAbsent,
            (false, true) => Condition::IfPresent,
            (true, true) => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "ifAbsent and ifPresent exclude each other: nothing would ever be stored",
                ));
            }
        };
        Ok(options)
    }
}

impl FetchOptions {
    fn read(self) -> Result<LoadOptions> {
        let mut options = LoadOptions::new().with_set(self.store.read()?);
        if let Some(stale) = self.stale {
            options = options.with_stale(millis(stale)?);
        }
        if let Some(early) = self.early {
            options = options.with_early(early);
        }
        if let Some(wait) = self.wait {
            options = options.with_wait(millis(wait)?);
        }
        Ok(options)
    }
}

type Given = Either<String, Uint8Array>;

fn value(given: Given) -> CacheValue {
    match given {
        Either::A(text) => text.into(),
        Either::B(bytes) => CacheValue::from(bytes.as_ref()),
    }
}

/// As text, for `JSON.parse`.
fn text(value: &CacheValue) -> Result<Value> {
    let text = value.as_str().ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "the cached value is not JSON; read it with getBytes")
    })?;
    Ok(Value::Text(text.to_owned()))
}

fn texts(value: Option<CacheValue>, as_bytes: bool) -> Result<Value> {
    match value {
        None => Ok(Value::Nothing),
        Some(value) if as_bytes => Ok(Value::Bytes(value)),
        Some(value) => text(&value),
    }
}

/// The cache.
#[napi]
#[derive(Debug)]
pub struct Cache {
    cache: Lazy<dyn Store>,
    bridge: Bridge,
    place: Place,
}

impl Cache {
    pub(crate) fn new(jarvis: jarvis_core::Jarvis, bridge: Bridge, place: Place) -> Self {
        let cache = Lazy::new(jarvis, |jarvis| Box::pin(jarvis.cache()));
        Self { cache, bridge, place }
    }

    fn answer<F, T, Fut>(&self, work: F) -> Result<Answer, Thrown>
    where
        F: FnOnce(Lazy<dyn Store>) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Into<Value>,
    {
        self.bridge.answer(self.place, work(self.cache.clone()))
    }
}

#[napi]
impl Cache {
    /// The value of a key, as text or as bytes.
    #[napi(ts_return_type = "string | Buffer | null | number")]
    pub fn get(&self, key: String, as_bytes: bool) -> Result<Answer, Thrown> {
        let known = now(|| {
            let value = self.cache.opened()?.get_now(&key)?;
            Some(value.and_then(|value| texts(value, as_bytes)).map_err(Failure::from))
        });
        known.unwrap_or_else(|| {
            self.answer(
                |cache| async move { Ok(texts(cache.get().await?.get(&key).await?, as_bytes)?) },
            )
        })
    }

    /// Stores a value; true when it was stored.
    #[napi(ts_return_type = "boolean | number")]
    pub fn set(
        &self,
        key: String,
        #[napi(ts_arg_type = "string | Uint8Array")] given: Given,
        options: Option<StoreOptions>,
    ) -> Result<Answer, Thrown> {
        let value = value(given);
        self.answer(|cache| async move {
            let options = options.unwrap_or_default().read()?;
            Ok(cache.get().await?.set(&key, value, options).await?)
        })
    }

    /// Removes keys; how many there were.
    #[napi(ts_return_type = "string | number")]
    pub fn delete(&self, keys: Vec<String>) -> Result<Answer, Thrown> {
        self.answer(|cache| async move { Ok(cache.get().await?.delete(&keys).await?) })
    }

    /// Is there a value?
    #[napi(ts_return_type = "boolean | number")]
    pub fn exists(&self, key: String) -> Result<Answer, Thrown> {
        self.answer(|cache| async move { Ok(cache.get().await?.exists(&key).await?) })
    }

    /// Many values.
    #[napi(ts_return_type = "Array<string | Buffer | null> | number")]
    pub fn get_many(&self, keys: Vec<String>, as_bytes: bool) -> Result<Answer, Thrown> {
        self.answer(|cache| async move {
            let values = cache.get().await?.get_many(&keys).await?.into_iter();
            let list = values.map(|value| texts(value, as_bytes)).collect::<Result<_>>()?;
            Ok(Value::List(list))
        })
    }

    /// Stores many values; how many were stored.
    #[napi(ts_return_type = "string | number")]
    pub fn set_many(
        &self,
        keys: Vec<String>,
        #[napi(ts_arg_type = "Array<string | Uint8Array>")] values: Vec<Given>,
        options: Option<StoreOptions>,
    ) -> Result<Answer, Thrown> {
        let values = values.into_iter().map(value);
        let entries = keys.into_iter().zip(values).map(|(key, value)| Entry::new(key, value));
        let entries: Vec<Entry> = entries.collect();
        self.answer(|cache| async move {
            let options = options.unwrap_or_default().read()?;
            Ok(cache.get().await?.set_many(entries, options).await?)
        })
    }

    /// Adds to a number; the sum.
    #[napi(ts_return_type = "string | number")]
    pub fn increment(&self, key: String, by: String, ttl: Option<f64>) -> Result<Answer, Thrown> {
        self.answer(|cache| async move {
            let by: i64 = by.parse().map_err(|_| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("invalid increment {by}: give a whole number of 64 bits"),
                )
            })?;
            let lifetime = ttl.map(lifetime).transpose()?;
            Ok(cache.get().await?.increment(&key, by, lifetime).await?)
        })
    }

    /// Gives a key a new lifetime.
    #[napi(ts_return_type = "boolean | number")]
    pub fn expire(&self, key: String, ttl: f64) -> Result<Answer, Thrown> {
        self.answer(
            |cache| async move { Ok(cache.get().await?.expire(&key, lifetime(ttl)?).await?) },
        )
    }

    /// How long a key will live, in milliseconds, or `Infinity`.
    #[napi(ts_return_type = "string | null | number")]
    pub fn lifetime(&self, key: String) -> Result<Answer, Thrown> {
        self.answer(|cache| async move {
            Ok(match cache.get().await?.lifetime(&key).await? {
                None => Value::Nothing,
                Some(Lifetime::For(left)) => Value::Text(left.as_millis().to_string()),
                Some(_) => Value::Text("Infinity".to_owned()),
            })
        })
    }

    /// Invalidates every entry with this tag.
    #[napi(ts_return_type = "null | number")]
    pub fn invalidate_tag(&self, tag: String) -> Result<Answer, Thrown> {
        self.answer(|cache| async move { Ok(cache.get().await?.invalidate_tag(&tag).await?) })
    }

    /// Removes the keys that match; how many.
    #[napi(ts_return_type = "string | number")]
    pub fn invalidate_pattern(&self, pattern: String) -> Result<Answer, Thrown> {
        self.answer(
            |cache| async move { Ok(cache.get().await?.invalidate_pattern(&pattern).await?) },
        )
    }

    /// Invalidates every entry.
    #[napi(ts_return_type = "null | number")]
    pub fn flush(&self) -> Result<Answer, Thrown> {
        self.answer(|cache| async move { Ok(cache.get().await?.flush().await?) })
    }

    /// Counters of this process, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn stats(&self) -> Result<Answer, Thrown> {
        self.answer(|cache| async move { Ok(json(&cache.get().await?.stats().await?)?) })
    }

    /// The value of a key, loaded by a function where there is none.
    #[napi(ts_return_type = "string | number")]
    pub fn get_or_load(
        &self,
        key: String,
        options: FetchOptions,
        function: u32,
    ) -> Result<Answer, Thrown> {
        let function = Arc::new(Foreign::new(self.bridge.inbox(), function));
        let cache = self.cache.clone();
        // It waits for the loader, and may refresh in the background.
        self.bridge.answer(Place::Runtime, async move {
            let load = loader(move || {
                let function = Arc::clone(&function);
                async move { function.call("[]".to_owned(), None).await.map(CacheValue::from) }
            });
            let loaded = cache.get().await?.get_or_load(&key, options.read()?, load).await?;
            Ok(text(&loaded)?)
        })
    }
}

/// A pattern that matches this text alone.
#[napi]
pub fn escape_pattern(text: String) -> String {
    jarvis_core::cache::escape_pattern(&text)
}
