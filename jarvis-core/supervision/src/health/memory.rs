//! [`MemoryProbe`]: a probe that says what a test tells it to. The reference for the contract.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use super::{HealthProbe, Observation, ProbeContext};
use base::clock::Monotonic;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::FailureKind;
use base::{Error, Result};

/// What a [`MemoryProbe`] does when it is asked.
#[derive(Clone)]
#[non_exhaustive]
pub enum Answer {
    /// Says this.
    Say(Observation),
    /// Could not measure, for the reason that the function makes up.
    Fail(Arc<dyn Fn() -> Error + Send + Sync>),
    /// Answers nothing until its deadline, as a hung target would.
    Hang,
    /// Answers nothing, not even at its deadline, as a broken plug-in would.
    Stuck,
    /// Panics, as a broken plug-in would.
    Panic,
    /// Whatever the function says at that moment.
    Ask(Arc<dyn Fn() -> Observation + Send + Sync>),
}

impl Answer {
    /// Could not measure.
    pub fn fail(error: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        Self::Fail(Arc::new(error))
    }

    /// Whatever `ask` says at that moment: the way to tie a probe to another object of a test.
    pub fn ask(ask: impl Fn() -> Observation + Send + Sync + 'static) -> Self {
        Self::Ask(Arc::new(ask))
    }
}

impl Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(observation) => f.debug_tuple("Say").field(observation).finish(),
            Self::Fail(_) => f.write_str("Fail"),
            Self::Hang => f.write_str("Hang"),
            Self::Stuck => f.write_str("Stuck"),
            Self::Panic => f.write_str("Panic"),
            Self::Ask(_) => f.write_str("Ask"),
        }
    }
}

#[derive(Debug)]
struct State {
    always: Answer,
    next: VecDeque<Answer>,
    calls: Vec<Monotonic>,
    in_flight: usize,
    most_in_flight: usize,
}

/// A scripted probe. Clones share the script.
///
/// ```
/// use jarvis_core::health::{Observation, memory::{Answer, MemoryProbe}};
/// use jarvis_core::vocabulary::FailureKind;
///
/// let probe = MemoryProbe::passing();
/// probe.then(Answer::Say(Observation::fail(FailureKind::Refused, "nobody listens")));
/// // The next probe fails, those after it pass again.
/// ```
#[derive(Debug, Clone)]
pub struct MemoryProbe(Arc<Mutex<State>>);

impl MemoryProbe {
    /// A probe that always does this.
    #[must_use]
    pub fn new(always: Answer) -> Self {
        Self(Arc::new(Mutex::new(State {
            always,
            next: VecDeque::new(),
            calls: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
        })))
    }

    /// A probe that passes.
    #[must_use]
    pub fn passing() -> Self {
        Self::new(Answer::Say(Observation::pass("well")))
    }

    /// A probe that fails.
    #[must_use]
    pub fn failing(kind: FailureKind) -> Self {
        Self::new(Answer::Say(Observation::fail(kind, "scripted to fail")))
    }

    /// From now on, once what [`then`](Self::then) queued is used up, it does this.
    pub fn set(&self, always: Answer) {
        self.state().always = always;
    }

    /// From now on it says this.
    pub fn say(&self, observation: Observation) {
        self.set(Answer::Say(observation));
    }

    /// The next call that has nothing queued before it does this, once.
    pub fn then(&self, answer: Answer) {
        self.state().next.push_back(answer);
    }

    /// When it was called, in the order of the calls.
    #[must_use]
    pub fn calls(&self) -> Vec<Monotonic> {
        self.state().calls.clone()
    }

    /// How many calls are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// The most calls that ever were under way at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn begin(&self, at: Monotonic) -> (InFlight<'_>, Answer) {
        let mut state = self.state();
        state.calls.push(at);
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        let answer = state.next.pop_front().unwrap_or_else(|| state.always.clone());
        (InFlight(self), answer)
    }
}

/// Counts a call as over when it is dropped in the middle, too.
struct InFlight<'a>(&'a MemoryProbe);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

#[async_trait]
impl HealthProbe for MemoryProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let began = context.clock.monotonic();
        let (_in_flight, answer) = self.begin(began);
        match answer {
            Answer::Say(observation) => Ok(observation),
            Answer::Fail(error) => Err(error()),
            Answer::Hang => {
                context.clock.sleep_until(context.deadline).await;
                let latency = context.clock.monotonic().saturating_since(began);
                Ok(Observation::fail(FailureKind::Timeout, "no answer in time")
                    .with_latency(latency))
            }
            Answer::Stuck => std::future::pending().await,
            #[expect(clippy::panic, reason = "a scripted panic is what the test asked for")]
            Answer::Panic => panic!("scripted to panic"),
            Answer::Ask(ask) => Ok(ask()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use base::clock::ManualClock;
    use base::vocabulary::Verdict;

    #[test]
    fn the_queue_goes_before_what_is_always_said() {
        let clock = ManualClock::new();
        let context = || ProbeContext::new(Arc::new(clock.clone()), Duration::from_secs(1));
        let probe = MemoryProbe::passing();
        probe.then(Answer::Say(Observation::fail(FailureKind::Refused, "nobody listens")));
        let first = probe.probe(context()).now_or_never().unwrap().unwrap();
        let second = probe.probe(context()).now_or_never().unwrap().unwrap();
        assert_eq!((first.verdict, second.verdict), (Verdict::Fail, Verdict::Pass));
        assert_eq!(probe.calls().len(), 2);
    }

    #[test]
    fn a_hung_target_is_a_timeout_at_the_deadline_and_a_dropped_call_is_over() {
        let clock = ManualClock::new();
        let context = ProbeContext::new(Arc::new(clock.clone()), Duration::from_secs(1));
        let probe = MemoryProbe::new(Answer::Hang);
        let mut call = probe.probe(context.clone()).boxed();
        assert!(call.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        let observation = call.now_or_never().unwrap().unwrap();
        assert_eq!(observation.kind, Some(FailureKind::Timeout));
        assert_eq!(observation.latency, Duration::from_secs(1));

        probe.set(Answer::Stuck);
        assert!(probe.probe(context).now_or_never().is_none());
        assert_eq!((probe.most_in_flight(), probe.in_flight()), (1, 0));
    }
}
