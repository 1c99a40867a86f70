//! [`SingleFlight`]: callers that want the same thing at the same time share one call.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use crate::sync::Mutex;

use tokio::sync::watch;

type Flights<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Shares one call among everybody who asks for the same key while it runs.
///
/// When the caller that runs it is dropped, one of those who wait takes over.
#[derive(Clone)]
pub struct SingleFlight<K, V> {
    flights: Flights<K, V>,
}

impl<K, V> Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { flights: Arc::default() }
    }
}

struct Landing<'a, K: Eq + Hash, V> {
    flights: &'a Mutex<HashMap<K, watch::Receiver<Option<V>>>>,
    key: &'a K,
    flight: &'a watch::Receiver<Option<V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // After `forget` another one may be under way under this key.
        if flights.get(self.key).is_some_and(|flight| flight.same_channel(self.flight)) {
            flights.remove(self.key);
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SingleFlight<K, V> {
    /// No call runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets nobody join the calls under way for these keys any more. Those who wait go on waiting.
    pub fn forget<'a>(&self, keys: impl Iterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut flights = self.flights.lock();
        if !flights.is_empty() {
            keys.for_each(|key| drop(flights.remove(key)));
        }
    }

    /// Lets nobody join any of the calls under way any more. Those who wait go on waiting.
    pub fn forget_all(&self) {
        self.flights.lock().clear();
    }

    /// The result of the call under way for this key, or of `call` when there is none.
    pub async fn run<F, Fut>(&self, key: K, call: F) -> V
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        loop {
            let (sender, mut flight) = {
                let mut flights = self.flights.lock();
                if let Some(flight) = flights.get(&key) {
                    (None, flight.clone())
                } else {
                    let (sender, receiver) = watch::channel(None);
                    flights.insert(key.clone(), receiver.clone());
                    (Some(sender), receiver)
                }
            };
            if let Some(sender) = sender {
                let landing = Landing { flights: &self.flights, key: &key, flight: &flight };
                let value = call().await;
                sender.send_replace(Some(value.clone()));
                drop(landing);
                return value;
            }
            if let Ok(value) = flight.wait_for(Option::is_some).await
                && let Some(value) = value.clone()
            {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    #[test]
    fn a_call_that_is_forgotten_is_joined_by_nobody_and_ends_no_other() {
        let flight: SingleFlight<&str, u32> = SingleFlight::new();
        let gates = [Semaphore::new(0), Semaphore::new(0)];
        let call = |number: usize| {
            let (flight, gates) = (&flight, &gates);
            async move {
                let value = async || {
                    gates[number].acquire().await.unwrap().forget();
                    u32::try_from(number).unwrap()
                };
                flight.run("key", value).await
            }
            .boxed_local()
        };
        let (mut first, mut with_first) = (call(0), call(1));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(with_first.as_mut().now_or_never().is_none());
        flight.forget(["key", "other"].iter());
        let (mut second, mut with_second) = (call(1), call(0));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(with_second.as_mut().now_or_never().is_none());
        gates[0].add_permits(1);
        assert_eq!((first.now_or_never(), with_first.now_or_never()), (Some(0), Some(0)));
        let mut with_both = call(0);
        assert!(with_both.as_mut().now_or_never().is_none(), "the second is under way");
        gates[1].add_permits(1);
        assert_eq!((second.now_or_never(), with_second.now_or_never()), (Some(1), Some(1)));
        assert_eq!(with_both.now_or_never(), Some(1));
        assert!(flight.flights.lock().is_empty());
    }

    #[tokio::test]
    async fn many_callers_share_one_call_and_one_takes_over() {
        let flight: SingleFlight<&str, u32> = SingleFlight::new();
        let (calls, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let spawn = || {
            let (flight, calls, gate) = (flight.clone(), Arc::clone(&calls), Arc::clone(&gate));
            tokio::spawn(async move {
                flight
                    .run("key", || async move {
                        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
                        gate.acquire().await.unwrap().forget();
                        call
                    })
                    .await
            })
        };
        let first = spawn();
        while calls.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..20).map(|_| spawn()).collect();
        tokio::task::yield_now().await;
        first.abort();
        while calls.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for other in others {
            assert_eq!(other.await.unwrap(), 2);
        }
    }
}
