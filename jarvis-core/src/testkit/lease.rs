//! Cases of [`Lease`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::cases;
use base::vocabulary::HolderId;
use base::{Error, ErrorKind, Result};
use supervision::lease::{Grant, Lease};

/// One lease, fresh.
#[async_trait]
pub trait LeaseEnv: Debug + Send + Sync {
    /// A new handle to the same lease, as another process would open it.
    async fn open(&self) -> Result<Arc<dyn Lease>>;
    /// Lets time pass for the backend: moves its clock, or waits.
    async fn pass(&self, duration: Duration);
}

cases!(dyn LeaseEnv:
    nobody_holds_a_fresh_lease,
    at_most_one_holder,
    of_many_at_once_one_gets_it,
    tokens_grow_over_release_expiry_and_reopening,
    the_holder_that_asks_again_keeps_its_grant,
    asking_again_prolongs,
    renewing_prolongs,
    a_lease_that_ran_out_can_be_taken,
    renewing_after_expiry_is_refused_even_if_it_is_free,
    renewing_after_a_takeover_is_refused,
    an_old_grant_of_the_same_holder_is_not_in_force,
    releasing_is_idempotent_and_frees,
    releasing_a_lost_grant_changes_nothing,
);

const TTL: Duration = Duration::from_secs(2);
const PAST: Duration = Duration::from_millis(2_100);

fn holder(name: &str) -> Result<HolderId> {
    HolderId::new(name)
}

async fn granted(lease: &Arc<dyn Lease>, name: &str) -> Result<Grant> {
    lease.acquire(&holder(name)?, TTL).await?.ok_or_else(|| {
        Error::new(ErrorKind::Conflict, format!("{name} should have been granted the lease"))
    })
}

async fn nobody_holds_a_fresh_lease(env: &dyn LeaseEnv) -> Result<()> {
    assert_eq!(env.open().await?.current().await?, None);
    Ok(())
}

async fn at_most_one_holder(env: &dyn LeaseEnv) -> Result<()> {
    let (one, two) = (env.open().await?, env.open().await?);
    let grant = granted(&one, "a").await?;
    assert_eq!(grant.holder, holder("a")?);
    assert_eq!(two.acquire(&holder("b")?, TTL).await?, None);
    assert_eq!(two.current().await?, Some(grant));
    Ok(())
}

async fn of_many_at_once_one_gets_it(env: &dyn LeaseEnv) -> Result<()> {
    let handles = try_join_all((0..16).map(|_| env.open())).await?;
    let names = (0..16).map(|n| holder(&format!("h{n}"))).collect::<Result<Vec<_>>>()?;
    let asked = handles.iter().zip(&names).map(|(lease, name)| lease.acquire(name, TTL));
    let granted: Vec<Grant> = try_join_all(asked).await?.into_iter().flatten().collect();
    assert_eq!(granted.len(), 1, "{granted:?}");
    Ok(())
}

async fn tokens_grow_over_release_expiry_and_reopening(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let first = granted(&lease, "a").await?;
    lease.release(&first).await?;
    let second = granted(&lease, "a").await?;
    assert!(second.token > first.token, "after a release: {second:?}");
    env.pass(PAST).await;
    let third = granted(&lease, "a").await?;
    assert!(third.token > second.token, "after an expiry: {third:?}");
    lease.release(&third).await?;
    drop(lease);
    let fourth = granted(&env.open().await?, "b").await?;
    assert!(fourth.token > third.token, "after reopening: {fourth:?}");
    Ok(())
}

async fn the_holder_that_asks_again_keeps_its_grant(env: &dyn LeaseEnv) -> Result<()> {
    let (one, two) = (env.open().await?, env.open().await?);
    let first = granted(&one, "a").await?;
    assert_eq!(granted(&two, "a").await?, first);
    Ok(())
}

async fn asking_again_prolongs(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let first = granted(&lease, "a").await?;
    env.pass(TTL * 3 / 4).await;
    granted(&lease, "a").await?;
    env.pass(TTL / 2).await;
    assert_eq!(lease.current().await?, Some(first));
    Ok(())
}

async fn renewing_prolongs(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let grant = granted(&lease, "a").await?;
    env.pass(TTL * 3 / 4).await;
    assert!(lease.renew(&grant, TTL).await?);
    env.pass(TTL / 2).await;
    assert_eq!(lease.current().await?, Some(grant.clone()));
    assert_eq!(lease.acquire(&holder("b")?, TTL).await?, None);
    env.pass(TTL).await;
    assert_eq!(lease.current().await?, None);
    Ok(())
}

async fn a_lease_that_ran_out_can_be_taken(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let lost = granted(&lease, "a").await?;
    env.pass(PAST).await;
    assert_eq!(lease.current().await?, None);
    let grant = granted(&lease, "b").await?;
    assert!(grant.token > lost.token);
    assert_eq!(lease.current().await?, Some(grant));
    Ok(())
}

async fn renewing_after_expiry_is_refused_even_if_it_is_free(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let lost = granted(&lease, "a").await?;
    env.pass(PAST).await;
    assert!(!lease.renew(&lost, TTL).await?);
    assert_eq!(lease.current().await?, None);
    let again = granted(&lease, "a").await?;
    assert!(again.token > lost.token);
    Ok(())
}

async fn renewing_after_a_takeover_is_refused(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let lost = granted(&lease, "a").await?;
    env.pass(PAST).await;
    let grant = granted(&lease, "b").await?;
    assert!(!lease.renew(&lost, TTL).await?);
    assert_eq!(lease.current().await?, Some(grant));
    Ok(())
}

async fn an_old_grant_of_the_same_holder_is_not_in_force(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let old = granted(&lease, "a").await?;
    env.pass(PAST).await;
    let new = granted(&lease, "a").await?;
    assert!(!lease.renew(&old, TTL).await?);
    lease.release(&old).await?;
    assert_eq!(lease.current().await?, Some(new));
    Ok(())
}

async fn releasing_is_idempotent_and_frees(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let grant = granted(&lease, "a").await?;
    lease.release(&grant).await?;
    lease.release(&grant).await?;
    assert_eq!(lease.current().await?, None);
    assert!(!lease.renew(&grant, TTL).await?);
    granted(&lease, "b").await?;
    Ok(())
}

async fn releasing_a_lost_grant_changes_nothing(env: &dyn LeaseEnv) -> Result<()> {
    let lease = env.open().await?;
    let lost = granted(&lease, "a").await?;
    env.pass(PAST).await;
    let grant = granted(&lease, "b").await?;
    lease.release(&lost).await?;
    assert_eq!(lease.current().await?, Some(grant));
    Ok(())
}
