//! Cases of [`HealthProbe`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cases;
use base::Result;
use base::clock::{ClockExt, SharedClock};
use base::vocabulary::{FailureKind, Verdict};
use supervision::health::{HealthProbe, MAX_MESSAGE, Observation, ProbeContext};

/// A text that every probe's configuration holds as a secret, where it has a place for one.
pub const SECRET: &str = "hunter2-conformance";

/// What a target does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mood {
    /// It is well.
    Well,
    /// It is not there, or says that it is down.
    Sick,
    /// It takes the question and never answers.
    Hung,
    /// It answers without end.
    Endless,
}

/// Makes targets and the probes that look at them.
#[async_trait]
pub trait ProbeEnv: Debug + Send + Sync {
    /// A probe with a target in that mood, which stays in it as long as the environment lives.
    /// `None` where this kind of target can't be in that mood.
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>>;

    /// The clock that the targets live by.
    fn clock(&self) -> SharedClock;

    /// How many connections or processes of probes the targets of this environment hold open now.
    /// `None` where that can't be told.
    async fn open(&self) -> Result<Option<usize>>;
}

cases!(dyn ProbeEnv:
    a_well_target_passes_without_a_kind,
    a_sick_target_is_an_observation_with_a_kind,
    a_hung_target_is_a_timeout_at_the_deadline,
    a_deadline_in_the_past_is_kept_too,
    an_endless_answer_is_read_up_to_a_limit,
    a_dropped_call_leaves_nothing_behind,
    calls_at_once_do_not_disturb_each_other,
    no_message_or_debug_shows_a_secret,
    every_message_is_one_bounded_line,
);

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

async fn ask(env: &dyn ProbeEnv, mood: Mood, timeout: Duration) -> Result<Option<Observation>> {
    let Some(probe) = env.probe(mood).await? else { return Ok(None) };
    probe.probe(ProbeContext::new(env.clock(), timeout)).await.map(Some)
}

async fn a_well_target_passes_without_a_kind(env: &dyn ProbeEnv) -> Result<()> {
    let Some(seen) = ask(env, Mood::Well, LONG).await? else {
        panic!("a target that can't be well needs no probe");
    };
    assert_eq!((seen.verdict, seen.kind), (Verdict::Pass, None), "{seen:?}");
    assert!(seen.latency <= LONG, "{seen:?}");
    Ok(())
}

async fn a_sick_target_is_an_observation_with_a_kind(env: &dyn ProbeEnv) -> Result<()> {
    let Some(seen) = ask(env, Mood::Sick, LONG).await? else { return Ok(()) };
    assert!(seen.verdict == Verdict::Fail && seen.kind.is_some(), "{seen:?}");
    assert_ne!(seen.kind, Some(FailureKind::Internal), "that is never the target's fault");
    Ok(())
}

async fn a_hung_target_is_a_timeout_at_the_deadline(env: &dyn ProbeEnv) -> Result<()> {
    let clock = env.clock();
    let Some(probe) = env.probe(Mood::Hung).await? else { return Ok(()) };
    let began = clock.monotonic();
    let seen = probe.probe(ProbeContext::new(Arc::clone(&clock), SHORT)).await?;
    let took = clock.monotonic().saturating_since(began);
    assert_eq!((seen.verdict, seen.kind), (Verdict::Fail, Some(FailureKind::Timeout)), "{seen:?}");
    assert!(took >= SHORT && took < LONG, "{took:?}");
    Ok(())
}

async fn a_deadline_in_the_past_is_kept_too(env: &dyn ProbeEnv) -> Result<()> {
    let clock = env.clock();
    let Some(probe) = env.probe(Mood::Hung).await? else { return Ok(()) };
    let context = ProbeContext::new(Arc::clone(&clock), Duration::ZERO);
    let limit = clock.monotonic() + LONG;
    let seen = clock.until(limit, probe.probe(context)).await;
    assert!(seen.is_some(), "a probe whose time is up answers at once");
    Ok(())
}

async fn an_endless_answer_is_read_up_to_a_limit(env: &dyn ProbeEnv) -> Result<()> {
    let clock = env.clock();
    let Some(probe) = env.probe(Mood::Endless).await? else { return Ok(()) };
    let context = ProbeContext::new(Arc::clone(&clock), LONG + LONG);
    let seen = clock.until(clock.monotonic() + LONG, probe.probe(context)).await;
    assert!(seen.is_some(), "it reads on and on");
    Ok(())
}

async fn a_dropped_call_leaves_nothing_behind(env: &dyn ProbeEnv) -> Result<()> {
    let clock = env.clock();
    let Some(probe) = env.probe(Mood::Hung).await? else { return Ok(()) };
    let call = probe.probe(ProbeContext::new(Arc::clone(&clock), LONG));
    let dropped = clock.until(clock.monotonic() + SHORT, call).await;
    assert!(dropped.is_none(), "a hung target was answered: {dropped:?}");
    let limit = clock.monotonic() + LONG;
    while env.open().await?.is_some_and(|open| open > 0) {
        assert!(clock.monotonic() < limit, "the call was dropped and still holds something");
        clock.sleep(Duration::from_millis(10)).await;
    }
    // And it can be asked again.
    let again = probe.probe(ProbeContext::new(clock, SHORT)).await?;
    assert_eq!(again.kind, Some(FailureKind::Timeout), "{again:?}");
    Ok(())
}

async fn calls_at_once_do_not_disturb_each_other(env: &dyn ProbeEnv) -> Result<()> {
    let Some(probe) = env.probe(Mood::Well).await? else { return Ok(()) };
    let call = || probe.probe(ProbeContext::new(env.clock(), LONG));
    for seen in futures_util::future::try_join_all((0..8).map(|_| call())).await? {
        assert_eq!(seen.verdict, Verdict::Pass, "{seen:?}");
    }
    Ok(())
}

async fn no_message_or_debug_shows_a_secret(env: &dyn ProbeEnv) -> Result<()> {
    for mood in [Mood::Well, Mood::Sick, Mood::Hung, Mood::Endless] {
        let Some(probe) = env.probe(mood).await? else { continue };
        assert!(!format!("{probe:?}").contains(SECRET), "{mood:?}");
        match probe.probe(ProbeContext::new(env.clock(), SHORT)).await {
            Ok(seen) => assert!(!format!("{seen:?}").contains(SECRET), "{mood:?}: {seen:?}"),
            Err(error) => assert!(!format!("{error} {error:?}").contains(SECRET), "{mood:?}"),
        }
    }
    Ok(())
}

async fn every_message_is_one_bounded_line(env: &dyn ProbeEnv) -> Result<()> {
    for mood in [Mood::Well, Mood::Sick, Mood::Hung, Mood::Endless] {
        let Some(seen) = ask(env, mood, SHORT).await? else { continue };
        let message = &seen.message;
        assert!(!message.is_empty() && message.len() <= MAX_MESSAGE, "{mood:?}: {message}");
        assert!(!message.chars().any(char::is_control), "{mood:?}: {message:?}");
    }
    Ok(())
}
