//! Cases of [`Cache`].

mod entries;
mod loads;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::Case;
use base::{Error, ErrorKind, Result};
use state::cache::{Cache, CachePolicy, CacheValue, Loader, SetOptions, loader};

/// One storage, fresh: nothing is in it in any namespace.
#[async_trait]
pub trait CacheEnv: Debug + Send + Sync {
    /// A cache on that storage. Opening one again with the same policy is what another process
    /// does; an environment whose storage is the handle itself gives the same handle again.
    async fn open(&self, policy: CachePolicy) -> Result<Arc<dyn Cache>>;
    /// Lets time pass for the storage: moves its clock, or waits.
    async fn pass(&self, duration: Duration);
}

/// Handles by namespace, for an environment whose storage is the handle itself.
#[derive(Debug, Default)]
pub struct Opened(base::sync::Mutex<BTreeMap<String, Arc<dyn Cache>>>);

impl Opened {
    /// The handle of this namespace, made when there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn or_open(
        &self,
        policy: CachePolicy,
        make: impl FnOnce(CachePolicy) -> Result<Arc<dyn Cache>>,
    ) -> Result<Arc<dyn Cache>> {
        let mut opened = self.0.lock();
        if let Some(cache) = opened.get(&policy.namespace) {
            return Ok(Arc::clone(cache));
        }
        let namespace = policy.namespace.clone();
        let cache = make(policy)?;
        opened.insert(namespace, Arc::clone(&cache));
        Ok(cache)
    }
}

/// How long what should run out lives.
const BRIEF: Duration = Duration::from_millis(400);
/// When it has run out.
const PAST: Duration = Duration::from_millis(450);

macro_rules! all {
    ($($module:ident: $($case:ident),+ $(,)?;)+) => {
        /// Every case of this trait.
        pub const CASES: &[Case<dyn CacheEnv>] = &[
            $($(Case::new(stringify!($case), |env| Box::pin($module::$case(env))),)+)+
        ];
    };
}

all!(
    entries:
        what_is_in_memory_is_complete_on_its_first_poll,
        what_was_set_is_got_byte_for_byte,
        what_is_got_now_is_what_is_got,
        nothing_is_got_of_a_key_that_is_not_there,
        what_ran_out_is_gone,
        setting_replaces_value_lifetime_and_tags,
        if_absent_stores_only_where_there_is_none,
        if_absent_stores_over_what_ran_out_or_was_invalidated,
        if_present_stores_only_where_there_is_one,
        of_many_at_once_one_is_the_first,
        the_policys_lifetime_is_the_default,
        a_zero_lifetime_is_refused,
        keys_tags_and_values_have_limits,
        deleting_counts_what_was_there_once,
        existing_is_neither_hit_nor_miss,
        many_are_got_in_their_order,
        many_are_set_each_for_itself,
        increments_are_exact,
        a_number_starts_from_zero_and_keeps_its_first_lifetime,
        what_is_no_number_is_refused_and_stays,
        a_number_that_was_set_can_be_incremented,
        expiring_sets_a_new_lifetime,
        a_lifetime_without_end,
        a_tag_invalidates_its_entries_and_no_others,
        any_of_four_tags_invalidates,
        what_is_stored_after_an_invalidation_stays,
        a_pattern_removes_what_it_matches,
        a_bad_pattern_is_refused,
        a_flush_leaves_other_namespaces,
        namespaces_do_not_see_each_other,
        every_read_is_counted,
        closing_twice_leaves_reading_and_writing;
    loads:
        a_missing_value_is_loaded_once_and_kept,
        many_callers_share_one_load,
        a_failed_load_is_given_to_all_and_not_kept,
        a_dropped_loader_hands_over,
        an_invalidation_during_a_load_keeps_it_from_being_fresh,
        a_deletion_during_a_load_is_not_undone,
        a_pattern_during_a_load_is_not_undone,
        a_flush_during_a_load_is_not_undone,
        who_asks_after_a_deletion_gets_nothing_from_before_it,
        a_value_set_during_a_load_stays,
        a_stale_value_is_given_while_it_is_refreshed,
        a_stale_value_is_given_when_the_refresh_fails,
        a_value_is_not_given_past_its_stale_time,
        a_deleted_or_invalidated_value_is_never_stale,
        nothing_is_stale_unless_asked_for,
        an_early_refresh_spares_the_wait,
        loaded_values_carry_their_tags_and_lifetime,
        a_loaded_value_over_the_size_is_given_and_not_kept;
);

fn policy() -> CachePolicy {
    CachePolicy::new("cases")
}

fn text(value: Option<CacheValue>) -> Option<String> {
    value.map(|value| value.as_str().unwrap_or("not UTF-8").to_owned())
}

async fn got(cache: &Arc<dyn Cache>, key: &str) -> Result<Option<String>> {
    Ok(text(cache.get(key).await?))
}

async fn put(cache: &Arc<dyn Cache>, key: &str, value: &str) -> Result<()> {
    assert!(cache.set(key, value.into(), SetOptions::new()).await?, "{key} was not stored");
    Ok(())
}

fn names(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(value) => panic!("an error was expected, not {value:?}"),
        Err(error) => error.kind(),
    }
}

/// A load that counts its calls and waits at a gate.
#[derive(Debug, Clone)]
struct Source {
    calls: Arc<AtomicU32>,
    started: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Source {
    /// Nothing holds its calls.
    fn open() -> Self {
        let source = Self::gated();
        source.release(Semaphore::MAX_PERMITS >> 1);
        source
    }

    /// Each call waits until it is released.
    fn gated() -> Self {
        Self {
            calls: Arc::default(),
            started: Arc::new(Semaphore::new(0)),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    fn release(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// Waits for one more call to begin.
    async fn begun(&self) {
        if let Ok(permit) = self.started.acquire().await {
            permit.forget();
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn call(self) -> Result<u32> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.started.add_permits(1);
        let permit = self.gate.acquire().await;
        permit.map_err(|_| Error::new(ErrorKind::Internal, "the gate is gone"))?.forget();
        Ok(call)
    }

    /// Gives `v1`, `v2`, …
    fn values(&self) -> Loader {
        let source = self.clone();
        loader(move || {
            let call = source.clone().call();
            async move { Ok(format!("v{}", call.await?).into()) }
        })
    }

    /// Fails every time.
    fn failures(&self) -> Loader {
        let source = self.clone();
        loader(move || {
            let call = source.clone().call();
            async move {
                let call = call.await?;
                Err(Error::new(ErrorKind::RateLimited, format!("failure {call}")))
            }
        })
    }
}
