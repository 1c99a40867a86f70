//! [`get_or_load`](super::Cache::get_or_load): one load for all concurrent callers, early refresh
//! before a value expires, and refresh in the background where a stale answer is accepted.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::front::Front;
use super::meter::count;
use super::policy::{check_key, check_load, checked_tags};
use super::storage::{Age, Begun, Found, Look, Storage, Terms, WriteId};
use super::{CacheValue, LoadOptions, Loader};
use base::Result;
use base::clock::ClockExt;
use base::resilience::random_fraction;
use base::sync::Mutex;

/// A caller that waits for another process looks again after 20 to 50 ms.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_SPREAD: Duration = Duration::from_millis(30);

/// How a value that was found may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is the answer.
    Answer,
    /// It is the answer, and a new value should be loaded.
    AnswerAndRefresh,
    /// It is too old.
    Nothing,
}

/// XFetch: refresh when `now - load_took * weight * ln(random) >= end`. `random` is in 0..1.
fn is_early(left: Duration, load_took: Duration, weight: f64, random: f64) -> bool {
    weight > 0.0
        && load_took.as_secs_f64() * weight * -random.max(f64::MIN_POSITIVE).ln()
            >= left.as_secs_f64()
}

fn judge(found: Option<&Found>, options: &LoadOptions, random: f64) -> Use {
    match found.map(|found| (found.age, found.load_took)) {
        Some((Age::Fresh(Some(left)), took)) if is_early(left, took, options.early, random) => {
            Use::AnswerAndRefresh
        }
        Some((Age::Fresh(_), _)) => Use::Answer,
        Some((Age::Stale(since), _)) if since <= options.stale && !options.stale.is_zero() => {
            Use::AnswerAndRefresh
        }
        Some((Age::Stale(_), _)) | None => Use::Nothing,
    }
}

/// One key that is being refreshed in the background.
struct Refreshing {
    keys: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl Refreshing {
    /// `None` when it is being refreshed already.
    fn claim(keys: &Arc<Mutex<HashSet<String>>>, key: &str) -> Option<Self> {
        let claimed = keys.lock().insert(key.to_owned());
        claimed.then(|| Self { keys: Arc::clone(keys), key: key.to_owned() })
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

impl<S: Storage> Front<S> {
    pub(super) async fn get_or_load(
        self: &Arc<Self>,
        key: &str,
        options: LoadOptions,
        load: Loader,
    ) -> Result<CacheValue> {
        check_key(key)?;
        check_load(&options)?;
        let terms = Terms {
            ttl: self.policy.lifetime(options.set.lifetime)?,
            stale: options.stale,
            tags: checked_tags(&options.set)?,
            load_took: Duration::ZERO,
        };
        let started = self.read_begins();
        let timed = options.early > 0.0 || !options.stale.is_zero();
        let read = self.storage.read(key, Look { tags: &terms.tags, timed }).await;
        self.read_took(started);
        let read = self.softened(read.map(Some), None)?;
        let random = if options.early > 0.0 { random_fraction() } else { 1.0 };
        let found = read.as_ref().and_then(Option::as_ref);
        let used = judge(found, &options, random);
        if read.is_some() {
            self.read_counted(found.filter(|_| used != Use::Nothing));
        }
        let call = Call { key: key.to_owned(), options, terms, load };
        match (used, found) {
            (Use::Answer, Some(found)) => Ok(found.value.clone()),
            (Use::AnswerAndRefresh, Some(found)) => self.refreshed(call, found).await,
            _ => self.loaded(call, None).await,
        }
    }

    /// The value at once, while a new one is loaded in the background. Without a runtime to load
    /// in, the caller loads.
    async fn refreshed(self: &Arc<Self>, call: Call, found: &Found) -> Result<CacheValue> {
        let id = found.id;
        match Handle::try_current() {
            Ok(runtime) if self.is_open() => {
                if let Some(claim) = Refreshing::claim(&self.refreshing, &call.key) {
                    let (front, ending) = (Arc::clone(self), self.ending.clone());
                    let refresh = async move {
                        let _claim = claim;
                        // How it went was counted, and the next reader sees it.
                        drop(front.loaded(call, Some(id)).await);
                    };
                    self.background.spawn_on(
                        async move {
                            ending.run_until_cancelled(refresh).await;
                        },
                        &runtime,
                    );
                }
                Ok(found.value.clone())
            }
            _ => Ok(self.loaded(call, Some(id)).await.unwrap_or_else(|_| found.value.clone())),
        }
    }

    /// One load for all in this process who want this key now.
    async fn loaded(&self, call: Call, refreshes: Option<WriteId>) -> Result<CacheValue> {
        let key = call.key.clone();
        self.flights.run(key, || Box::pin(self.load_here(call, refreshes))).await
    }

    /// Loads, or takes what somebody else loaded meanwhile. `refreshes` names the value that is
    /// not good enough although it is fresh.
    async fn load_here(&self, call: Call, refreshes: Option<WriteId>) -> Result<CacheValue> {
        let give_up = self.clock.monotonic() + call.options.wait;
        let begun = loop {
            let begun = self.storage.begin(&call.key, &call.terms).await;
            let Some(begun) = self.softened(begun.map(Some), None)? else {
                break None;
            };
            if let Some(found) = begun.found.as_ref().filter(|found| found.is_fresh())
                && refreshes.as_ref() != Some(&found.id)
            {
                let value = found.value.clone();
                self.leave(&call.key, begun).await?;
                return Ok(value);
            }
            if begun.ours || self.clock.monotonic() >= give_up {
                break Some(begun);
            }
            self.clock.sleep(LOOK_AGAIN + LOOK_AGAIN_SPREAD.mul_f64(random_fraction())).await;
        };
        self.load_and_store(call, begun).await
    }

    async fn leave(&self, key: &str, begun: Begun<S::Ticket>) -> Result<()> {
        if begun.ours {
            self.softened(self.storage.abandon(key, begun.ticket).await, ())?;
        }
        Ok(())
    }

    async fn load_and_store(
        &self,
        call: Call,
        begun: Option<Begun<S::Ticket>>,
    ) -> Result<CacheValue> {
        let started = self.clock.monotonic();
        match self.kept_while(&call, begun.as_ref()).await {
            Ok(value) => {
                count(&self.meter.loads);
                let Some(begun) = begun else { return Ok(value) };
                if let Err(error) = self.policy.check_value(&value) {
                    self.meter.failed(&self.policy.namespace, &error);
                    self.leave(&call.key, begun).await?;
                    return Ok(value);
                }
                let terms = Terms {
                    ttl: self.policy.jittered(call.terms.ttl),
                    load_took: self.clock.monotonic().saturating_since(started),
                    ..call.terms
                };
                let stored = self.storage.finish(&call.key, begun.ticket, &value, &terms).await;
                self.softened(stored, ())?;
                Ok(value)
            }
            Err(error) => {
                count(&self.meter.load_failures);
                let Some(begun) = begun else { return Err(error) };
                let stale = begun.found.clone();
                self.leave(&call.key, begun).await?;
                match stale {
                    Some(found) if judge(Some(&found), &call.options, 1.0) != Use::Nothing => {
                        Ok(found.value)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Runs the load, and tells the storage from time to time that it still runs.
    async fn kept_while(
        &self,
        call: &Call,
        begun: Option<&Begun<S::Ticket>>,
    ) -> Result<CacheValue> {
        let mut load = pin!((call.load)());
        let ours = begun.filter(|begun| begun.ours);
        let (Some(begun), Some(every)) = (ours, self.storage.keep_every()) else {
            return load.await;
        };
        loop {
            tokio::select! {
                biased;
                loaded = load.as_mut() => return loaded,
                () = self.clock.sleep(every) => {}
            }
            let kept = tokio::select! {
                biased;
                loaded = load.as_mut() => return loaded,
                kept = self.storage.keep(&call.key, &begun.ticket) => kept,
            };
            // Whether it is still ours shows when the value is stored.
            if let Err(error) = kept {
                self.meter.failed(&self.policy.namespace, &error);
            }
        }
    }
}

/// One call of `get_or_load`, checked.
struct Call {
    key: String,
    options: LoadOptions,
    terms: Terms,
    load: Loader,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_refresh_grows_likely_towards_the_end() {
        let (took, weight) = (Duration::from_millis(100), 1.0);
        // -ln(0.5) is 0.69: half of the readers refresh at 69 ms from the end.
        assert!(is_early(Duration::from_millis(69), took, weight, 0.5));
        assert!(!is_early(Duration::from_millis(70), took, weight, 0.5));
        assert!(is_early(Duration::from_millis(138), took, 2.0, 0.5));
        assert!(!is_early(Duration::ZERO, took, 0.0, 0.0));
        assert!(is_early(Duration::from_secs(60), took, weight, 0.0));
    }
}
