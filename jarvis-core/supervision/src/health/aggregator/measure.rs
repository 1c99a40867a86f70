//! One probe, guarded: against a panic, against the deadline, and watched for blocking.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::health::{HealthProbe, Observation, ProbeContext};
use base::clock::{ClockExt, SharedClock};
use base::secret::{mask_json, mask_owned};
use base::units;
use base::vocabulary::FailureKind;

/// A probe that keeps its deadline itself can say more, so it gets a moment to do so.
const MARGIN: Duration = Duration::from_millis(50);

/// A thread held longer than this in one go is a thread that others miss.
const BLOCKED: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) observation: Observation,
    pub(super) panicked: bool,
    pub(super) blocked: bool,
}

/// A future that turns a panic into an `Err` and measures the longest time it held its thread.
struct Guarded<F> {
    future: F,
    clock: SharedClock,
    longest: Duration,
}

impl<F: Future + Unpin> Future for Guarded<F> {
    type Output = (Result<F::Output, String>, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let began = this.clock.monotonic();
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.future).poll(context)));
        this.longest = this.longest.max(this.clock.monotonic().saturating_since(began));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready((Ok(output), this.longest)),
            Err(panic) => Poll::Ready((Err(panic_text(&*panic)), this.longest)),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Probes once. Never panics, and answers shortly after `timeout` whatever the probe does, as long
/// as the probe gives its thread back.
pub(super) async fn measure(
    clock: &SharedClock,
    probe: Arc<dyn HealthProbe>,
    timeout: Duration,
) -> Measured {
    let began = clock.monotonic();
    let context = ProbeContext::new(Arc::clone(clock), timeout);
    let deadline = context.deadline + MARGIN;
    // The call itself, before the first poll, may panic too.
    let future = Box::pin(async move { probe.probe(context).await });
    let guarded = Guarded { future, clock: Arc::clone(clock), longest: Duration::ZERO };
    let Some((outcome, longest)) = clock.until(deadline, guarded).await else {
        return timed_out(timeout);
    };
    let took = clock.monotonic().saturating_since(began);
    let (observation, panicked) = match outcome {
        Ok(Ok(observation)) => (observation, false),
        Ok(Err(error)) => (Observation::unknown(error.to_string()), false),
        Err(text) => (Observation::unknown(format!("the probe panicked: {text}")), true),
    };
    Measured { observation: complete(observation, took), panicked, blocked: longest >= BLOCKED }
}

fn timed_out(timeout: Duration) -> Measured {
    let message = format!("no answer within {}", units::format_duration(timeout));
    let observation = Observation::fail(FailureKind::Timeout, message).with_latency(timeout);
    Measured { observation, panicked: false, blocked: false }
}

/// Fills in what a probe left out, and masks what it must not repeat.
fn complete(mut observation: Observation, took: Duration) -> Observation {
    observation.message = mask_owned(observation.message);
    for (_, fact) in &mut observation.facts {
        if let Some(masked) = mask_json(fact, |_| false) {
            *fact = masked;
        }
    }
    if observation.latency.is_zero() {
        observation.latency = took;
    }
    observation
}
