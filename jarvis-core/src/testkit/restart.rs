//! Cases of [`ServiceRestarter`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cases;
use base::clock::SharedClock;
use base::vocabulary::{FencingToken, IntentId, VersionId};
use base::{Error, ErrorKind, Result, Retry};
use supervision::restart::{
    ActionRequest, InstanceEvent, Receipt, RunState, Running, ServiceRestarter,
};

/// One service, known to its platform and not running, and what its platform can do.
#[async_trait]
pub trait RestarterEnv: Debug + Send + Sync {
    /// A handle to the service, as another start of JARVIS would open it.
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>>;
    /// The clock that deadlines are of.
    fn clock(&self) -> SharedClock;
    /// Ends the life that runs from outside, as a crash does, and returns once it is over.
    async fn crash(&self) -> Result<()>;
    /// A handle to a service that the platform does not know, where that can be.
    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>>;
    /// Does the platform tell one life from the next?
    fn tells_lives_apart(&self) -> bool {
        true
    }
    /// Does the platform tell events?
    fn has_events(&self) -> bool {
        true
    }
    /// A version to go back to, where the platform has versions.
    fn earlier_version(&self) -> Option<VersionId> {
        None
    }
}

cases!(dyn RestarterEnv:
    observing_asks_the_platform_each_time,
    what_does_not_run_is_an_answer,
    after_a_restart_there_is_a_new_life,
    what_does_not_run_is_started_by_a_restart,
    the_same_intent_gives_the_same_receipt,
    the_same_intent_twice_at_once_restarts_once,
    what_is_not_known_is_not_found,
    an_action_outlives_its_caller,
    starting_leaves_alone_what_runs,
    stopping_leaves_alone_what_does_not_run,
    after_a_stop_nothing_runs,
    one_life_has_one_name,
    a_rollback_needs_versions,
    a_rollback_starts_that_version,
    settling_without_a_rollback_does_nothing,
    events_tell_lives,
    the_last_lines_are_bounded,
);

const LONG: Duration = Duration::from_secs(60);

fn request(env: &dyn RestarterEnv, intent: &str) -> Result<ActionRequest> {
    let deadline = env.clock().monotonic() + LONG;
    Ok(ActionRequest::new(IntentId::new(intent)?, FencingToken::new(1), deadline))
}

async fn running(env: &dyn RestarterEnv) -> Result<(Arc<dyn ServiceRestarter>, Receipt)> {
    let restarter = env.open().await?;
    let receipt = restarter.restart(request(env, "begin")?).await?;
    Ok((restarter, receipt))
}

async fn seen(restarter: &Arc<dyn ServiceRestarter>) -> Result<Running> {
    restarter.observe().await
}

/// An answer, or `None` where the platform can't do that.
fn supported<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

async fn observing_asks_the_platform_each_time(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, _) = running(env).await?;
    assert!(seen(&restarter).await?.is_running());
    env.crash().await?;
    if env.tells_lives_apart() {
        assert!(!seen(&restarter).await?.is_running(), "it crashed");
    }
    restarter.restart(request(env, "again")?).await?;
    assert!(seen(&restarter).await?.is_running(), "it was started");
    Ok(())
}

async fn what_does_not_run_is_an_answer(env: &dyn RestarterEnv) -> Result<()> {
    let state = seen(&env.open().await?).await?.state;
    if env.tells_lives_apart() {
        let expected = matches!(
            state,
            RunState::NotStarted | RunState::Exited { .. } | RunState::StoppedByPerson { .. }
        );
        assert!(expected, "{state:?}");
    }
    if let Some(missing) = env.missing().await? {
        assert_eq!(seen(&missing).await?.state, RunState::Missing);
    }
    Ok(())
}

async fn after_a_restart_there_is_a_new_life(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    let second = restarter.restart(request(env, "second")?).await?;
    let now = seen(&restarter).await?;
    assert!(now.is_running());
    assert_eq!(second.before, first.after);
    if env.tells_lives_apart() {
        assert!(second.after.is_some());
        assert_ne!(second.after, second.before);
        assert_eq!(now.instance, second.after);
    } else {
        assert_eq!(second.after, None, "what can't be told is not told");
    }
    Ok(())
}

async fn what_does_not_run_is_started_by_a_restart(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    env.crash().await?;
    let second = restarter.restart(request(env, "after-crash")?).await?;
    assert!(seen(&restarter).await?.is_running());
    if env.tells_lives_apart() {
        assert_ne!(second.after, first.after);
    }
    Ok(())
}

async fn the_same_intent_gives_the_same_receipt(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    let life = seen(&restarter).await?.instance;
    let again = restarter.restart(request(env, "begin")?).await?;
    assert_eq!(again, first);
    assert_eq!(seen(&restarter).await?.instance, life, "it was not restarted again");
    Ok(())
}

async fn the_same_intent_twice_at_once_restarts_once(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, _) = running(env).await?;
    let (one, two) = futures_util::join!(
        restarter.restart(request(env, "twice")?),
        restarter.restart(request(env, "twice")?),
    );
    let receipts: Vec<Receipt> = match (one, two) {
        (Ok(one), Ok(two)) => vec![one, two],
        (Ok(receipt), Err(error)) | (Err(error), Ok(receipt)) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            vec![receipt]
        }
        (Err(error), Err(_)) => return Err(error),
    };
    let life = seen(&restarter).await?.instance;
    assert!(receipts.iter().all(|receipt| receipt.after == life), "{receipts:?}");
    Ok(())
}

async fn what_is_not_known_is_not_found(env: &dyn RestarterEnv) -> Result<()> {
    let Some(missing) = env.missing().await? else { return Ok(()) };
    match missing.restart(request(env, "missing")?).await {
        Ok(receipt) => panic!("there is nothing to restart: {receipt:?}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert_eq!(error.retry(), Retry::Never, "{error}");
        }
    }
    Ok(())
}

async fn an_action_outlives_its_caller(env: &dyn RestarterEnv) -> Result<()> {
    use futures_util::FutureExt;
    let (restarter, _) = running(env).await?;
    let mut call = restarter.restart(request(env, "dropped")?);
    // As far as it gets at once; then nobody waits any more.
    let _early = call.as_mut().now_or_never();
    drop(call);
    // Actions take turns: when this one is done, so is the one before, if it ever began.
    let receipt = loop {
        match restarter.start(request(env, "after")?).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            result => break result?,
        }
    };
    assert!(seen(&restarter).await?.is_running(), "{receipt:?}");
    Ok(())
}

async fn starting_leaves_alone_what_runs(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    let Some(receipt) = supported(restarter.start(request(env, "start")?).await)? else {
        return Ok(());
    };
    assert_eq!((&receipt.before, &receipt.after), (&first.after, &first.after));
    assert_eq!(seen(&restarter).await?.instance, first.after);
    Ok(())
}

async fn stopping_leaves_alone_what_does_not_run(env: &dyn RestarterEnv) -> Result<()> {
    let restarter = env.open().await?;
    let Some(receipt) = supported(restarter.stop(request(env, "stop")?).await)? else {
        return Ok(());
    };
    assert_eq!(receipt.after, None);
    if env.tells_lives_apart() {
        assert!(!seen(&restarter).await?.is_running());
    }
    Ok(())
}

async fn after_a_stop_nothing_runs(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    let Some(receipt) = supported(restarter.stop(request(env, "stop")?).await)? else {
        return Ok(());
    };
    assert_eq!(receipt.before, first.after);
    if env.tells_lives_apart() {
        assert!(!seen(&restarter).await?.is_running());
    }
    if let Some(started) = supported(restarter.start(request(env, "start")?).await)? {
        assert!(seen(&restarter).await?.is_running());
        assert!(!env.tells_lives_apart() || started.after != first.after);
    }
    Ok(())
}

async fn one_life_has_one_name(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    let other = env.open().await?;
    assert_eq!(seen(&restarter).await?.instance, first.after);
    assert_eq!(seen(&other).await?.instance, first.after, "whoever asks");
    Ok(())
}

async fn a_rollback_needs_versions(env: &dyn RestarterEnv) -> Result<()> {
    if env.earlier_version().is_some() {
        return Ok(());
    }
    let (restarter, first) = running(env).await?;
    match restarter.roll_back(request(env, "back")?, VersionId::new("v0")?).await {
        Ok(receipt) => panic!("there are no versions: {receipt:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
    assert_eq!(seen(&restarter).await?.instance, first.after, "and nothing was done");
    Ok(())
}

async fn a_rollback_starts_that_version(env: &dyn RestarterEnv) -> Result<()> {
    let Some(version) = env.earlier_version() else { return Ok(()) };
    let (restarter, first) = running(env).await?;
    let receipt = restarter.roll_back(request(env, "back")?, version.clone()).await?;
    let now = seen(&restarter).await?;
    assert!(now.is_running());
    assert_eq!(now.version, Some(version));
    assert!(!env.tells_lives_apart() || receipt.after != first.after);
    restarter.settle_roll_back(true).await
}

async fn settling_without_a_rollback_does_nothing(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, first) = running(env).await?;
    restarter.settle_roll_back(true).await?;
    restarter.settle_roll_back(false).await?;
    assert_eq!(seen(&restarter).await?.instance, first.after);
    Ok(())
}

async fn events_tell_lives(env: &dyn RestarterEnv) -> Result<()> {
    let restarter = env.open().await?;
    let mut events = match supported(restarter.watch().await)? {
        Some(events) => {
            assert!(env.has_events());
            events
        }
        None => {
            assert!(!env.has_events(), "it should have events");
            return Ok(());
        }
    };
    let first = restarter.restart(request(env, "begin")?).await?.after;
    env.crash().await?;
    let (mut started, mut exited) = (false, false);
    while !(started && exited) {
        match events.next().await {
            Some(InstanceEvent::Started { instance }) if instance == first => started = true,
            Some(InstanceEvent::Exited { instance, .. }) if instance == first => {
                assert!(started, "a life ends after it began");
                exited = true;
            }
            Some(_) => {}
            None => {
                return Err(Error::new(ErrorKind::Unavailable, "the watch ended by itself"));
            }
        }
    }
    Ok(())
}

async fn the_last_lines_are_bounded(env: &dyn RestarterEnv) -> Result<()> {
    let (restarter, _) = running(env).await?;
    let lines = restarter.last_log_lines(1_000).await?;
    assert!(lines.iter().map(String::len).sum::<usize>() <= 4_096);
    assert!(restarter.last_log_lines(0).await?.is_empty());
    Ok(())
}
