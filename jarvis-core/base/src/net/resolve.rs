//! Name resolution on a small pool of threads of its own.
//!
//! `getaddrinfo` blocks and can't be cancelled: a resolver that hangs for 30 s would take a
//! worker of the runtime with it, and a few hundred such targets every thread there is. So lookups
//! run on at most [`Resolver::DEFAULT_PLACES`] threads, each name at most once at a time, and
//! whoever waits does so with a deadline of their own. Nothing is cached: a changed address is seen
//! by the next probe.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result};

/// Finds the addresses of a name. May block; runs on a thread of the [`Resolver`].
pub trait Lookup: Debug + Send + Sync + 'static {
    /// The addresses, best first.
    ///
    /// # Errors
    /// What kept the name from being resolved.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own way (`getaddrinfo`): hosts file, nsswitch, resolv.conf.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

type Answer = std::result::Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Flight = watch::Receiver<Option<Answer>>;
type Flights = Mutex<HashMap<Arc<str>, Flight>>;

/// Runs [`Lookup`]s without ever holding up anybody else.
#[derive(Debug, Clone)]
pub struct Resolver {
    lookup: Arc<dyn Lookup>,
    places: Arc<Semaphore>,
    flights: Arc<Flights>,
}

impl Resolver {
    /// How many lookups run at the same time.
    pub const DEFAULT_PLACES: usize = 16;

    /// A resolver with that many threads at most.
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>, places: usize) -> Self {
        Self { lookup, places: Arc::new(Semaphore::new(places.max(1))), flights: Arc::default() }
    }

    /// The resolver that all probes of this process share unless they are given another.
    #[must_use]
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::new(Arc::new(SystemLookup), Self::DEFAULT_PLACES)).clone()
    }

    /// How many lookups run now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        flights(&self.flights).len()
    }

    /// Joins the lookup of this name that runs, or starts one; waits for a free place.
    pub async fn begin(&self, host: &str) -> Result<Pending> {
        let mut place = None;
        loop {
            if let Some(pending) = self.join_or_start(host, &mut place)? {
                return Ok(pending);
            }
            let permit = Arc::clone(&self.places).acquire_owned().await;
            place = Some(
                permit.map_err(|_| Error::new(ErrorKind::Cancelled, "the resolver is closed"))?,
            );
        }
    }

    fn join_or_start(
        &self,
        host: &str,
        place: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Pending>> {
        let mut running = flights(&self.flights);
        if let Some(flight) = running.get(host) {
            return Ok(Some(Pending(flight.clone())));
        }
        let permit = place.take().or_else(|| Arc::clone(&self.places).try_acquire_owned().ok());
        let Some(permit) = permit else { return Ok(None) };
        let (sender, receiver) = watch::channel(None);
        let host: Arc<str> = host.into();
        running.insert(Arc::clone(&host), receiver.clone());
        drop(running);
        let landing = Landing { flights: Arc::clone(&self.flights), host: Arc::clone(&host) };
        let lookup = Arc::clone(&self.lookup);
        std::thread::Builder::new()
            .name("jarvis-dns".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                let _permit = permit;
                let answer = lookup.lookup(&landing.host);
                let answer = answer.map(Arc::from).map_err(Arc::new);
                drop(landing);
                sender.send_replace(Some(answer));
            })
            .map_err(|error| {
                Error::new(ErrorKind::Exhausted, "no thread could be started for a name lookup")
                    .with_source(error)
            })?;
        Ok(Some(Pending(receiver)))
    }
}

fn flights(flights: &Flights) -> MutexGuard<'_, HashMap<Arc<str>, Flight>> {
    flights.lock()
}

/// Takes a lookup out of the list, also when it panics or never got a thread.
struct Landing {
    flights: Arc<Flights>,
    host: Arc<str>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        flights(&self.flights).remove(&self.host);
    }
}

/// A lookup that runs.
#[derive(Debug)]
pub struct Pending(Flight);

impl Pending {
    /// Waits for it. `None` when the lookup panicked.
    pub async fn answer(mut self) -> Option<Answer> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    /// Answers a name only when the test says so; counts the calls.
    #[derive(Debug)]
    struct Held {
        calls: AtomicU32,
        release: Mutex<mpsc::Receiver<()>>,
    }

    impl Lookup for Held {
        fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if host == "slow" {
                self.release.lock().recv().ok();
            }
            Ok(vec![IpAddr::from([127, 0, 0, 9])])
        }
    }

    fn held(places: usize) -> (Resolver, Arc<Held>, mpsc::Sender<()>) {
        let (sender, receiver) = mpsc::channel();
        let held = Arc::new(Held { calls: AtomicU32::new(0), release: Mutex::new(receiver) });
        (Resolver::new(Arc::clone(&held) as _, places), held, sender)
    }

    #[tokio::test]
    async fn a_stuck_name_takes_one_place_and_delays_no_other() {
        let (resolver, held, release) = held(2);
        let stuck: Vec<_> = futures_util::future::join_all((0..10).map(|_| resolver.begin("slow")))
            .await
            .into_iter()
            .map(|pending| pending.unwrap())
            .collect();
        let other = resolver.begin("fast").await.unwrap().answer().await.unwrap().unwrap();
        assert_eq!(*other, [IpAddr::from([127, 0, 0, 9])]);
        release.send(()).unwrap();
        for pending in stuck {
            pending.answer().await.unwrap().unwrap();
        }
        assert_eq!(held.calls.load(Ordering::SeqCst), 2, "one for ten that wait");
        assert_eq!(resolver.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_full_pool_lets_the_next_one_in_when_a_place_is_free() {
        let (resolver, _, release) = held(1);
        let slow = resolver.begin("slow").await.unwrap();
        let mut next = Box::pin(resolver.begin("next"));
        assert!(futures_util::poll!(&mut next).is_pending());
        release.send(()).unwrap();
        slow.answer().await.unwrap().unwrap();
        next.await.unwrap().answer().await.unwrap().unwrap();
    }

    #[derive(Debug)]
    struct Broken;

    impl Lookup for Broken {
        fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            panic!("a plug-in's bug")
        }
    }

    #[tokio::test]
    async fn a_lookup_that_panics_is_forgotten() {
        let resolver = Resolver::new(Arc::new(Broken), 1);
        assert!(resolver.begin("x").await.unwrap().answer().await.is_none());
        assert!(resolver.begin("x").await.unwrap().answer().await.is_none());
    }
}
