//! Probes that may block their thread: plug-ins in another language, old client libraries.
//!
//! Such a probe is a [`BlockingProbe`] and is wrapped in [`OnBlockingPool`], which runs it on
//! threads of its own. A call that hangs takes one of the pool's threads with it, and that is all:
//! it is counted, and never started a second time while it hangs. The runtime and all other
//! targets do not feel it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{HealthProbe, Observation, ProbeContext};
use base::sync::{Condvar, Mutex, MutexGuard};
use base::{Error, ErrorKind, Result};

/// Measures one target and may block its thread meanwhile. See [`HealthProbe`] for the contract.
pub trait BlockingProbe: Debug + Send + Sync + 'static {
    /// Measures once.
    ///
    /// # Errors
    /// Only when it could not measure.
    fn probe(&self, context: &ProbeContext) -> Result<Observation>;
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    arrived: Condvar,
    hung: AtomicUsize,
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue();
            } else if queue.closed {
                queue.threads -= 1;
                return;
            } else {
                queue.idle += 1;
                queue = self.arrived.wait(queue);
                queue.idle -= 1;
            }
        }
    }
}

/// A few threads for probes that may block. Clones share them. Threads are started as they are
/// needed and end when the last clone is gone; one that hangs is left behind.
#[derive(Clone)]
pub struct BlockingPool(Arc<Owner>);

struct Owner {
    inner: Arc<Inner>,
    max_threads: usize,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.queue().closed = true;
        self.inner.arrived.notify_all();
    }
}

impl Debug for BlockingPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let queue = self.0.inner.queue();
        f.debug_struct("BlockingPool")
            .field("max_threads", &self.0.max_threads)
            .field("threads", &queue.threads)
            .field("busy", &(queue.threads - queue.idle))
            .finish_non_exhaustive()
    }
}

impl BlockingPool {
    /// A pool of at most so many threads (at least one). None is started yet.
    #[must_use]
    pub fn new(max_threads: usize) -> Self {
        Self(Arc::new(Owner { inner: Arc::default(), max_threads: max_threads.max(1) }))
    }

    /// How many threads are inside of a call now.
    #[must_use]
    pub fn busy(&self) -> usize {
        let queue = self.0.inner.queue();
        queue.threads - queue.idle
    }

    /// How many calls have not returned although their deadline has passed.
    #[must_use]
    pub fn hung(&self) -> usize {
        self.0.inner.hung.load(Ordering::Relaxed)
    }

    fn submit(&self, job: Job) -> Result<()> {
        let inner = &self.0.inner;
        let mut queue = inner.queue();
        if queue.jobs.len() >= queue.idle && queue.threads < self.0.max_threads {
            let worker = Arc::clone(inner);
            std::thread::Builder::new()
                .name("jarvis-probe".to_owned())
                .spawn(move || worker.work())
                .map_err(|error| {
                    Error::from(error).with_operation("health.blocking.start_thread")
                })?;
            queue.threads += 1;
        }
        queue.jobs.push_back(job);
        drop(queue);
        inner.arrived.notify_one();
        Ok(())
    }
}

/// Where a probe's call stands.
#[derive(Debug, Default)]
struct Call(AtomicU8);

impl Call {
    const IDLE: u8 = 0;
    const RUNNING: u8 = 1;
    /// Its deadline has passed, and it has not returned.
    const HUNG: u8 = 2;

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Runs a [`BlockingProbe`] on a [`BlockingPool`].
///
/// A call that does not return by the deadline is unknown, not the target's failure: code that
/// may block is expected to keep [`ProbeContext::deadline`] itself and to say `Timeout`.
#[derive(Debug)]
pub struct OnBlockingPool<P> {
    probe: Arc<P>,
    pool: BlockingPool,
    call: Arc<Call>,
}

impl<P: BlockingProbe> OnBlockingPool<P> {
    /// Wraps a probe. Give all probes of a process the same pool.
    #[must_use]
    pub fn new(probe: P, pool: BlockingPool) -> Self {
        Self { probe: Arc::new(probe), pool, call: Arc::default() }
    }

    /// The deadline passed.
    fn late(&self) -> Error {
        if self.call.change(Call::RUNNING, Call::HUNG) {
            self.pool.0.inner.hung.fetch_add(1, Ordering::Relaxed);
        }
        let hung = self.pool.hung();
        Error::new(
            ErrorKind::Unavailable,
            format!("the blocking probe did not return in time; {hung} such calls hang now"),
        )
    }
}

/// Ends the call when it returned, panicked, or never began.
struct Ended {
    call: Arc<Call>,
    pool: Arc<Inner>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.call.0.swap(Call::IDLE, Ordering::AcqRel) == Call::HUNG {
            self.pool.hung.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl<P: BlockingProbe> HealthProbe for OnBlockingPool<P> {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        if !self.call.change(Call::IDLE, Call::RUNNING) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "an earlier call of this blocking probe still hangs; it is not started again",
            ));
        }
        let ended = Ended { call: Arc::clone(&self.call), pool: Arc::clone(&self.pool.0.inner) };
        let (answer, answered) = oneshot::channel();
        let (probe, inner) = (Arc::clone(&self.probe), context.clone());
        self.pool.submit(Box::new(move || {
            // Else nobody waits any more: no thread was free in time.
            let outcome = (!answer.is_closed())
                .then(|| catch_unwind(AssertUnwindSafe(|| probe.probe(&inner))));
            drop(ended);
            if let Some(outcome) = outcome {
                drop(answer.send(outcome));
            }
        }))?;
        match context.until_deadline(answered).await {
            None => Err(self.late()),
            Some(Ok(Ok(outcome))) => outcome,
            Some(Ok(Err(panic))) => std::panic::resume_unwind(panic),
            Some(Err(_)) => Err(Error::new(ErrorKind::Cancelled, "the pool ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use base::clock::{Clock, ManualClock};

    /// Blocks until it is told an answer.
    #[derive(Debug)]
    struct Told {
        began: Mutex<Sender<()>>,
        answers: Mutex<Receiver<Option<Observation>>>,
    }

    impl BlockingProbe for Told {
        fn probe(&self, _: &ProbeContext) -> Result<Observation> {
            self.began.lock().send(()).unwrap();
            let answer = self.answers.lock().recv().unwrap();
            match answer {
                Some(observation) => Ok(observation),
                None => panic!("told to"),
            }
        }
    }

    struct Setup {
        clock: ManualClock,
        probe: Arc<OnBlockingPool<Told>>,
        began: Receiver<()>,
        tell: Sender<Option<Observation>>,
    }

    impl Setup {
        fn new(pool: &BlockingPool) -> Self {
            let ((began_sender, began), (tell, answers)) = (channel(), channel());
            let told = Told { began: Mutex::new(began_sender), answers: Mutex::new(answers) };
            let probe = Arc::new(OnBlockingPool::new(told, pool.clone()));
            Self { clock: ManualClock::new(), probe, began, tell }
        }

        fn start(&self) -> tokio::task::JoinHandle<Result<Observation>> {
            let context = ProbeContext::new(Arc::new(self.clock.clone()), Duration::from_secs(5));
            let probe = Arc::clone(&self.probe);
            tokio::spawn(async move { probe.probe(context).await })
        }

        async fn begun(&self) {
            while self.began.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        }

        async fn pass_the_deadline(&self) {
            while self.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_secs(5));
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_counted_and_never_started_twice() {
        let pool = BlockingPool::new(2);
        let setup = Setup::new(&pool);
        let call = setup.start();
        setup.begun().await;
        setup.pass_the_deadline().await;
        let late = call.await.unwrap().unwrap_err();
        assert!(late.message().contains("1 such calls hang now"), "{late}");
        assert_eq!((pool.hung(), pool.busy()), (1, 1));
        for _ in 0..10 {
            let refused = setup.start().await.unwrap().unwrap_err();
            assert!(refused.message().contains("not started again"), "{refused}");
        }
        assert!(setup.began.try_recv().is_err() && pool.busy() == 1);

        setup.tell.send(Some(Observation::pass("late"))).unwrap();
        while pool.hung() > 0 {
            tokio::task::yield_now().await;
        }
        setup.tell.send(Some(Observation::pass("in time"))).unwrap();
        assert_eq!(setup.start().await.unwrap().unwrap().message, "in time");
        assert!(setup.clock.monotonic().since_start() == Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_full_pool_starts_nothing_and_a_queued_call_that_nobody_waits_for_is_skipped() {
        let pool = BlockingPool::new(1);
        let (hangs, other) = (Setup::new(&pool), Setup::new(&pool));
        let call = hangs.start();
        hangs.begun().await;
        let queued = other.start();
        other.pass_the_deadline().await;
        assert!(queued.await.unwrap().is_err());
        hangs.tell.send(Some(Observation::pass("done"))).unwrap();
        call.await.unwrap().unwrap();
        while pool.hung() > 0 {
            tokio::task::yield_now().await;
        }
        other.tell.send(Some(Observation::pass("the second call"))).unwrap();
        assert_eq!(other.start().await.unwrap().unwrap().message, "the second call");
        assert_eq!(other.began.try_iter().count(), 1, "the first call was never begun");
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_the_thread_lives_on() {
        let pool = BlockingPool::new(1);
        let setup = Setup::new(&pool);
        setup.tell.send(None).unwrap();
        assert!(setup.start().await.unwrap_err().is_panic());
        setup.tell.send(Some(Observation::pass("again"))).unwrap();
        assert_eq!(setup.start().await.unwrap().unwrap().message, "again");
    }
}
