//! Cases of [`RestartLedger`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::cases;
use base::vocabulary::{FencingToken, Gate, IntentId, ServiceId};
use base::{ErrorKind, Result};
use supervision::lease::{Attempt, Limit, Reservation, RestartLedger};

/// One ledger, fresh.
#[async_trait]
pub trait LedgerEnv: Debug + Send + Sync {
    /// A new handle to the same ledger, as another process would open it.
    async fn open(&self) -> Result<Arc<dyn RestartLedger>>;
    /// Lets time pass for the backend: moves its clock, or waits.
    async fn pass(&self, duration: Duration);
    /// Steps the wall clock by this many seconds. `false` where the environment can't.
    async fn step_wall(&self, seconds: i64) -> bool;
}

cases!(dyn LedgerEnv:
    a_fresh_ledger_has_used_nothing,
    no_more_than_max_are_granted,
    of_many_at_once_max_are_granted,
    the_window_slides,
    a_refusal_says_when_to_ask_again,
    every_limit_holds,
    a_limit_of_zero_refuses,
    refused_attempts_are_not_counted,
    services_are_counted_apart_and_global_limits_together,
    the_same_intent_is_counted_once,
    the_same_intent_is_granted_again_when_the_budget_is_gone,
    an_older_token_is_refused_and_counts_nothing,
    the_fence_holds_for_every_service,
    what_is_counted_survives_reopening,
    a_wall_clock_that_jumps_gives_nothing_back,
    resetting_forgets_the_service_not_the_global_count,
    resetting_is_idempotent,
    renaming_moves_the_attempts,
    renaming_adds_up,
);

const WINDOW: Duration = Duration::from_secs(4);
const THREE: Limit = Limit { max: 3, window: WINDOW };

fn service(name: &str) -> Result<ServiceId> {
    ServiceId::new(name)
}

fn attempt(name: &str, intent: &str, token: u64) -> Result<Attempt> {
    Ok(Attempt::new(service(name)?, IntentId::new(intent)?, FencingToken::new(token)))
}

async fn try_three(ledger: &Arc<dyn RestartLedger>, name: &str, intent: &str) -> Result<bool> {
    let answer = ledger.reserve(attempt(name, intent, 1)?.with_limit(THREE)).await?;
    Ok(answer == Reservation::Granted)
}

async fn used(ledger: &Arc<dyn RestartLedger>, name: &str) -> Result<u32> {
    let usage = ledger.usage(&service(name)?, &[THREE]).await?;
    assert_eq!(usage.len(), 1);
    assert_eq!(usage[0].limit, THREE);
    Ok(usage[0].used)
}

async fn a_fresh_ledger_has_used_nothing(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    assert_eq!(used(&ledger, "api").await?, 0);
    assert!(ledger.usage(&service("api")?, &[]).await?.is_empty());
    Ok(())
}

async fn no_more_than_max_are_granted(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?, "{intent}");
    }
    assert!(!try_three(&ledger, "api", "4").await?);
    assert_eq!(used(&ledger, "api").await?, 3);
    Ok(())
}

async fn of_many_at_once_max_are_granted(env: &dyn LedgerEnv) -> Result<()> {
    let handles = try_join_all((0..16).map(|_| env.open())).await?;
    let asked = handles
        .iter()
        .enumerate()
        .map(|(n, ledger)| async move { try_three(ledger, "api", &format!("intent-{n}")).await });
    let granted = try_join_all(asked).await?.into_iter().filter(|granted| *granted).count();
    assert_eq!(granted, 3);
    Ok(())
}

async fn the_window_slides(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    assert!(try_three(&ledger, "api", "1").await?);
    env.pass(WINDOW / 2).await;
    assert!(try_three(&ledger, "api", "2").await?);
    assert!(try_three(&ledger, "api", "3").await?);
    env.pass(WINDOW * 5 / 8).await;
    assert_eq!(used(&ledger, "api").await?, 2, "the first left the window, the others did not");
    assert!(try_three(&ledger, "api", "4").await?);
    assert!(!try_three(&ledger, "api", "5").await?);
    Ok(())
}

async fn a_refusal_says_when_to_ask_again(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?);
    }
    env.pass(WINDOW / 4).await;
    let answer = ledger.reserve(attempt("api", "4", 1)?.with_limit(THREE)).await?;
    let Reservation::Refused { gate, limit, retry_in } = answer else {
        panic!("expected a refusal, got {answer:?}");
    };
    assert_eq!((gate, limit), (Gate::Budget, THREE));
    assert!(retry_in > Duration::ZERO && retry_in <= WINDOW * 3 / 4, "{retry_in:?}");
    env.pass(retry_in).await;
    assert!(try_three(&ledger, "api", "4").await?);
    Ok(())
}

async fn every_limit_holds(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    let long = Limit { max: 2, window: WINDOW * 100 };
    for (intent, granted) in [("1", true), ("2", true), ("3", false)] {
        let asked = attempt("api", intent, 1)?.with_limit(THREE).with_limit(long);
        let answer = ledger.reserve(asked).await?;
        assert_eq!(answer == Reservation::Granted, granted, "{intent}: {answer:?}");
    }
    env.pass(WINDOW).await;
    let asked = attempt("api", "4", 1)?.with_limit(THREE).with_limit(long);
    let answer = ledger.reserve(asked).await?;
    assert!(
        matches!(&answer, Reservation::Refused { limit, .. } if *limit == long),
        "the long window is still full: {answer:?}"
    );
    Ok(())
}

async fn a_limit_of_zero_refuses(env: &dyn LedgerEnv) -> Result<()> {
    let none = Limit { max: 0, window: WINDOW };
    let answer = env.open().await?.reserve(attempt("api", "1", 1)?.with_limit(none)).await?;
    assert!(matches!(answer, Reservation::Refused { limit, .. } if limit == none), "{answer:?}");
    Ok(())
}

async fn refused_attempts_are_not_counted(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?);
    }
    env.pass(WINDOW * 5 / 8).await;
    for intent in ["4", "5", "6"] {
        assert!(!try_three(&ledger, "api", intent).await?);
    }
    env.pass(WINDOW / 2).await;
    assert_eq!(used(&ledger, "api").await?, 0);
    assert!(try_three(&ledger, "api", "4").await?, "a refused intent may ask again");
    Ok(())
}

async fn services_are_counted_apart_and_global_limits_together(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for (name, intent, granted) in
        [("api", "1", true), ("web", "2", true), ("db", "3", true), ("api", "4", false)]
    {
        let asked = attempt(name, intent, 1)?.with_limit(THREE).with_global_limit(THREE);
        let answer = ledger.reserve(asked).await?;
        assert_eq!(answer == Reservation::Granted, granted, "{intent}: {answer:?}");
        if let Reservation::Refused { gate, limit, .. } = answer {
            assert_eq!((gate, limit), (Gate::GlobalBudget, THREE));
        }
    }
    assert_eq!(used(&ledger, "api").await?, 1);
    assert_eq!(used(&ledger, "web").await?, 1);
    Ok(())
}

async fn the_same_intent_is_counted_once(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for _ in 0..5 {
        assert!(try_three(&ledger, "api", "same").await?);
    }
    assert_eq!(used(&ledger, "api").await?, 1);
    Ok(())
}

async fn the_same_intent_is_granted_again_when_the_budget_is_gone(
    env: &dyn LedgerEnv,
) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3", "1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?, "{intent}");
    }
    assert!(!try_three(&ledger, "api", "4").await?);
    Ok(())
}

async fn an_older_token_is_refused_and_counts_nothing(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    assert_eq!(ledger.reserve(attempt("api", "new", 7)?).await?, Reservation::Granted);
    match ledger.reserve(attempt("api", "old", 6)?).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}"),
        Ok(answer) => panic!("token 6 after token 7: {answer:?}"),
    }
    assert_eq!(used(&ledger, "api").await?, 1);
    assert_eq!(ledger.reserve(attempt("api", "same", 7)?).await?, Reservation::Granted);
    Ok(())
}

async fn the_fence_holds_for_every_service(env: &dyn LedgerEnv) -> Result<()> {
    let (one, two) = (env.open().await?, env.open().await?);
    one.reserve(attempt("api", "1", 3)?).await?;
    let refused = two.reserve(attempt("web", "2", 2)?).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Forbidden));
    Ok(())
}

async fn what_is_counted_survives_reopening(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    assert!(try_three(&ledger, "api", "1").await?);
    drop(ledger);
    let ledger = env.open().await?;
    assert_eq!(used(&ledger, "api").await?, 1);
    assert!(try_three(&ledger, "api", "1").await?);
    assert_eq!(used(&ledger, "api").await?, 1);
    Ok(())
}

async fn a_wall_clock_that_jumps_gives_nothing_back(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?);
    }
    for step in [3_600, -7_200, 86_400] {
        if !env.step_wall(step).await {
            break;
        }
        assert!(!try_three(&ledger, "api", "4").await?, "after a step of {step} s");
        assert_eq!(used(&ledger, "api").await?, 3);
    }
    env.pass(WINDOW + Duration::from_millis(10)).await;
    assert!(try_three(&ledger, "api", "4").await?, "real time does give it back");
    Ok(())
}

async fn resetting_forgets_the_service_not_the_global_count(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "api", intent).await?);
    }
    assert!(try_three(&ledger, "web", "4").await?);
    ledger.reset(&service("api")?).await?;
    assert_eq!(used(&ledger, "api").await?, 0);
    assert_eq!(used(&ledger, "web").await?, 1);
    let global = attempt("db", "5", 1)?.with_global_limit(Limit { max: 4, window: WINDOW });
    let answer = ledger.reserve(global).await?;
    assert!(matches!(answer, Reservation::Refused { gate: Gate::GlobalBudget, .. }), "{answer:?}");
    assert!(try_three(&ledger, "api", "6").await?);
    Ok(())
}

async fn resetting_is_idempotent(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    ledger.reset(&service("api")?).await?;
    assert!(try_three(&ledger, "api", "1").await?);
    ledger.reset(&service("api")?).await?;
    ledger.reset(&service("api")?).await?;
    assert_eq!(used(&ledger, "api").await?, 0);
    Ok(())
}

async fn renaming_moves_the_attempts(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    for intent in ["1", "2", "3"] {
        assert!(try_three(&ledger, "old", intent).await?);
    }
    ledger.rename(&service("old")?, &service("new")?).await?;
    assert_eq!(used(&ledger, "old").await?, 0);
    assert!(!try_three(&ledger, "new", "4").await?);
    ledger.rename(&service("unknown")?, &service("new")?).await?;
    assert_eq!(used(&ledger, "new").await?, 3);
    Ok(())
}

async fn renaming_adds_up(env: &dyn LedgerEnv) -> Result<()> {
    let ledger = env.open().await?;
    assert!(try_three(&ledger, "old", "1").await?);
    assert!(try_three(&ledger, "new", "2").await?);
    assert!(try_three(&ledger, "new", "3").await?);
    ledger.rename(&service("old")?, &service("new")?).await?;
    assert_eq!(used(&ledger, "new").await?, 3);
    assert!(!try_three(&ledger, "new", "4").await?);
    Ok(())
}
