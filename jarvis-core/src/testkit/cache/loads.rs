//! Cases of loading.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::{BRIEF, CacheEnv, PAST, Source, got, names, policy, put, text};
use base::{ErrorKind, Result};
use state::cache::{Cache, LoadOptions, Loader, SetOptions};

const STALE: Duration = Duration::from_secs(60);

fn brief() -> LoadOptions {
    LoadOptions::new().with_set(SetOptions::new().with_ttl(BRIEF))
}

fn tagged() -> LoadOptions {
    LoadOptions::new().with_set(SetOptions::new().with_tag("t"))
}

async fn load(
    cache: &Arc<dyn Cache>,
    key: &str,
    options: LoadOptions,
    load: Loader,
) -> Result<Option<String>> {
    Ok(text(Some(cache.get_or_load(key, options, load).await?)))
}

/// Waits until a look at the cache gives this. The harness' deadline bounds it.
async fn until(cache: &Arc<dyn Cache>, key: &str, value: &str) -> Result<()> {
    while got(cache, key).await?.as_deref() != Some(value) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) async fn a_missing_value_is_loaded_once_and_kept(env: &dyn CacheEnv) -> Result<()> {
    let (one, two) = (env.open(policy()).await?, env.open(policy()).await?);
    let source = Source::open();
    for cache in [&one, &one, &two] {
        let value = load(cache, "k", LoadOptions::new(), source.values()).await?;
        assert_eq!(value.as_deref(), Some("v1"));
    }
    assert_eq!(got(&two, "k").await?.as_deref(), Some("v1"));
    assert_eq!(source.calls(), 1);
    Ok(())
}

pub(super) async fn many_callers_share_one_load(env: &dyn CacheEnv) -> Result<()> {
    let (one, two) = (env.open(policy()).await?, env.open(policy()).await?);
    let source = Source::gated();
    let options = LoadOptions::new().with_wait(Duration::from_secs(60));
    let callers = (0..100).map(|caller| {
        let cache = if caller % 2 == 0 { &one } else { &two };
        load(cache, "k", options.clone(), source.values())
    });
    let (values, ()) = join(join_all(callers), async {
        source.begun().await;
        source.release(100);
    })
    .await;
    for value in values {
        assert_eq!(value?.as_deref(), Some("v1"));
    }
    assert_eq!(source.calls(), 1);
    Ok(())
}

pub(super) async fn a_failed_load_is_given_to_all_and_not_kept(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::gated();
    let callers = (0..20).map(|_| load(&cache, "k", LoadOptions::new(), source.failures()));
    let (failures, waited) = join(join_all(callers), async {
        source.begun().await;
        // Who has found nothing waits; who asks after the failure would load anew.
        while cache.stats().await?.misses < 20 {
            tokio::task::yield_now().await;
        }
        source.release(20);
        Ok::<(), base::Error>(())
    })
    .await;
    waited?;
    for failure in failures {
        let Err(error) = failure else { panic!("{failure:?} of a load that failed") };
        assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimited, "failure 1"));
    }
    assert_eq!(got(&cache, "k").await?, None);
    let next = load(&cache, "k", LoadOptions::new(), source.values()).await?;
    assert_eq!(next.as_deref(), Some("v2"));
    Ok(())
}

pub(super) async fn a_dropped_loader_hands_over(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::gated();
    let spawn = || {
        let (cache, source) = (Arc::clone(&cache), source.clone());
        tokio::spawn(async move { load(&cache, "k", LoadOptions::new(), source.values()).await })
    };
    let first = spawn();
    source.begun().await;
    let others: Vec<_> = (0..10).map(|_| spawn()).collect();
    first.abort();
    source.begun().await;
    source.release(10);
    for other in join_all(others).await {
        let value = other.unwrap_or_else(|error| panic!("{error}"))?;
        assert_eq!(value.as_deref(), Some("v2"));
    }
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("v2"));
    assert_eq!(source.calls(), 2);
    Ok(())
}

/// Does something while a load is under way, and gives the handle.
async fn during<F>(
    env: &dyn CacheEnv,
    options: LoadOptions,
    act: impl FnOnce(Arc<dyn Cache>) -> F + Send,
) -> Result<Arc<dyn Cache>>
where
    F: Future<Output = Result<()>> + Send,
{
    let (cache, other) = (env.open(policy()).await?, env.open(policy()).await?);
    let source = Source::gated();
    let (loaded, acted) = join(load(&cache, "k", options, source.values()), async {
        source.begun().await;
        let acted = act(other).await;
        source.release(1);
        acted
    })
    .await;
    acted?;
    assert_eq!(loaded?.as_deref(), Some("v1"), "its caller gets what was loaded");
    Ok(cache)
}

pub(super) async fn an_invalidation_during_a_load_keeps_it_from_being_fresh(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = during(env, tagged(), |other| async move { other.invalidate_tag("t").await });
    let cache = cache.await?;
    assert_eq!(got(&cache, "k").await?, None);
    let again = load(&cache, "k", tagged(), Source::open().values()).await?;
    assert_eq!(got(&cache, "k").await?, again);
    Ok(())
}

pub(super) async fn a_deletion_during_a_load_is_not_undone(env: &dyn CacheEnv) -> Result<()> {
    let act = |other: Arc<dyn Cache>| async move {
        other.delete(&names(&["k", "unrelated"])).await.map(|_| ())
    };
    assert_eq!(got(&during(env, LoadOptions::new(), act).await?, "k").await?, None);
    Ok(())
}

pub(super) async fn a_pattern_during_a_load_is_not_undone(env: &dyn CacheEnv) -> Result<()> {
    let act =
        |other: Arc<dyn Cache>| async move { other.invalidate_pattern("[a-k]*").await.map(|_| ()) };
    assert_eq!(got(&during(env, LoadOptions::new(), act).await?, "k").await?, None);
    Ok(())
}

pub(super) async fn a_flush_during_a_load_is_not_undone(env: &dyn CacheEnv) -> Result<()> {
    let act = |other: Arc<dyn Cache>| async move { other.flush().await };
    assert_eq!(got(&during(env, LoadOptions::new(), act).await?, "k").await?, None);
    Ok(())
}

pub(super) async fn who_asks_after_a_deletion_gets_nothing_from_before_it(
    env: &dyn CacheEnv,
) -> Result<()> {
    for way in ["delete", "tag", "pattern", "flush"] {
        let cache = env.open(policy()).await?;
        let (before, after) = (Source::gated(), Source::open());
        let (loaded, next) = join(load(&cache, "k", tagged(), before.values()), async {
            before.begun().await;
            match way {
                "delete" => drop(cache.delete(&names(&["k"])).await?),
                "tag" => cache.invalidate_tag("t").await?,
                "pattern" => drop(cache.invalidate_pattern("k*").await?),
                _ => cache.flush().await?,
            }
            let next = load(&cache, "k", tagged().with_wait(Duration::ZERO), after.values()).await;
            before.release(1);
            next
        })
        .await;
        loaded?;
        assert_eq!((next?.as_deref(), after.calls()), (Some("v1"), 1), "{way}");
        cache.flush().await?;
    }
    Ok(())
}

pub(super) async fn a_value_set_during_a_load_stays(env: &dyn CacheEnv) -> Result<()> {
    let act = |other: Arc<dyn Cache>| async move { put(&other, "k", "set").await };
    let cache = during(env, LoadOptions::new(), act).await?;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("set"));
    Ok(())
}

pub(super) async fn a_stale_value_is_given_while_it_is_refreshed(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::gated();
    source.release(1);
    let options = brief().with_stale(STALE);
    load(&cache, "k", options.clone(), source.values()).await?;
    env.pass(PAST).await;
    assert_eq!(got(&cache, "k").await?, None, "a plain read takes nothing stale");
    for _ in 0..10 {
        let value = load(&cache, "k", options.clone(), source.values()).await?;
        assert_eq!(value.as_deref(), Some("v1"), "at once, while the refresh waits");
    }
    source.release(1);
    until(&cache, "k", "v2").await?;
    assert_eq!(source.calls(), 2);
    let stats = cache.stats().await?;
    assert_eq!(stats.stale_hits, 10, "{stats:?}");
    cache.close().await
}

pub(super) async fn a_stale_value_is_given_when_the_refresh_fails(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::open();
    let options = brief().with_stale(STALE);
    load(&cache, "k", options.clone(), source.values()).await?;
    env.pass(PAST).await;
    while cache.stats().await?.load_failures < 3 {
        let value = load(&cache, "k", options.clone(), source.failures()).await?;
        assert_eq!(value.as_deref(), Some("v1"));
        tokio::task::yield_now().await;
    }
    cache.close().await?;
    // Nothing runs in the background any more: the caller's own refresh fails.
    let value = load(&cache, "k", options, source.failures()).await?;
    assert_eq!(value.as_deref(), Some("v1"));
    Ok(())
}

pub(super) async fn a_value_is_not_given_past_its_stale_time(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::open();
    let options = brief().with_stale(Duration::from_millis(200));
    load(&cache, "k", options.clone(), source.values()).await?;
    env.pass(PAST + Duration::from_millis(200)).await;
    assert_eq!(load(&cache, "k", options, source.values()).await?.as_deref(), Some("v2"));
    // Kept for long, but this caller takes only what ran out a moment ago.
    load(&cache, "l", brief().with_stale(STALE), source.values()).await?;
    env.pass(PAST + Duration::from_millis(200)).await;
    let strict = brief().with_stale(Duration::from_millis(10));
    assert_eq!(load(&cache, "l", strict, source.values()).await?.as_deref(), Some("v4"));
    Ok(())
}

pub(super) async fn a_deleted_or_invalidated_value_is_never_stale(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::open();
    let set = SetOptions::new().with_ttl(BRIEF).with_tag("t");
    let options = LoadOptions::new().with_set(set).with_stale(STALE);
    for key in ["deleted", "invalidated"] {
        load(&cache, key, options.clone(), source.values()).await?;
    }
    env.pass(PAST).await;
    cache.delete(&names(&["deleted"])).await?;
    cache.invalidate_tag("t").await?;
    let value = load(&cache, "deleted", options.clone(), source.values()).await?;
    assert_eq!(value.as_deref(), Some("v3"));
    let value = load(&cache, "invalidated", options, source.values()).await?;
    assert_eq!(value.as_deref(), Some("v4"));
    Ok(())
}

pub(super) async fn nothing_is_stale_unless_asked_for(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::open();
    load(&cache, "k", brief().with_stale(STALE), source.values()).await?;
    env.pass(PAST).await;
    assert_eq!(load(&cache, "k", brief(), source.values()).await?.as_deref(), Some("v2"));
    Ok(())
}

pub(super) async fn an_early_refresh_spares_the_wait(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::gated();
    // So heavy a weight, on a load of 20 ms, that of a few readers one refreshes: the chance of a
    // reader is exp(-left / (took * weight)), at least exp(-10 s / 2 s).
    let set = SetOptions::new().with_ttl(Duration::from_secs(10));
    let options = LoadOptions::new().with_set(set).with_early(100.0);
    let (first, ()) = join(load(&cache, "k", options.clone(), source.values()), async {
        source.begun().await;
        env.pass(Duration::from_millis(20)).await;
        source.release(1);
    })
    .await;
    assert_eq!(first?.as_deref(), Some("v1"));
    while source.calls() < 2 {
        let value = load(&cache, "k", options.clone(), source.values()).await?;
        assert_eq!(value.as_deref(), Some("v1"), "nobody waits");
        tokio::task::yield_now().await;
    }
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("v1"), "still fresh");
    source.release(1);
    until(&cache, "k", "v2").await?;
    cache.close().await
}

pub(super) async fn loaded_values_carry_their_tags_and_lifetime(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let source = Source::open();
    load(&cache, "a", tagged(), source.values()).await?;
    load(&cache, "b", brief(), source.values()).await?;
    assert!(cache.exists("a").await? && cache.exists("b").await?);
    cache.invalidate_tag("t").await?;
    env.pass(PAST).await;
    assert_eq!((got(&cache, "a").await?, got(&cache, "b").await?), (None, None));
    Ok(())
}

pub(super) async fn a_loaded_value_over_the_size_is_given_and_not_kept(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = env.open(policy().with_max_value_bytes(1)).await?;
    let source = Source::open();
    for expected in ["v1", "v2"] {
        let value = load(&cache, "k", LoadOptions::new(), source.values()).await?;
        assert_eq!(value.as_deref(), Some(expected));
    }
    assert_eq!(cache.stats().await?.errors, 2);
    Ok(())
}
