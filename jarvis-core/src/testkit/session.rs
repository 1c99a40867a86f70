//! Cases of [`SessionStore`].

mod change;
mod life;
mod many;
mod shared;
mod user;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cases;
use base::vocabulary::UserId;
use base::{Error, ErrorKind, Result};
use state::session::{
    NewSession, Save, SaveOutcome, Session, SessionData, SessionId, SessionPolicy, SessionRef,
    SessionStore,
};

/// One storage for sessions, fresh.
#[async_trait]
pub trait SessionEnv: Debug + Send + Sync {
    /// A new handle to the same storage, as another process would open it. Within one case the
    /// policy is always the same.
    async fn open(&self, policy: SessionPolicy) -> Result<Arc<dyn SessionStore>>;
    /// Lets time pass for the store: moves its clock, or waits.
    async fn pass(&self, duration: Duration);
}

use change::*;
use life::*;
use many::*;
use shared::*;
use user::*;

cases!(dyn SessionEnv:
    fresh_ids_are_long_and_never_the_same,
    a_created_session_is_what_was_asked_for,
    a_taken_id_is_a_conflict_and_what_is_there_stays,
    what_is_loaded_now_is_what_is_loaded,
    it_lives_exactly_for_its_ttl,
    without_a_ttl_it_lives_for_the_policys,
    nothing_prolongs_it_beyond_the_absolute_cap,
    a_ttl_that_is_none_is_refused_everywhere,
    what_is_too_large_or_too_deep_is_refused_and_not_stored,
    an_unknown_id_is_none_and_makes_no_session,
    what_was_saved_last_is_loaded_byte_for_byte,
    all_handles_see_one_truth,
    loading_does_not_prolong,
    rolling_prolongs_once_a_tenth_has_passed,
    what_expired_is_gone_for_every_method,
    an_expired_id_can_be_taken_again,
    extending_goes_by_its_own_ttl_or_by_another,
    extending_keeps_the_version,
    loading_and_extending_is_both_in_one,
    loading_and_extending_keeps_to_the_limits_of_extending,
    deleting_is_idempotent,
    of_deletions_at_once_one_is_told,
    of_saves_at_once_one_is_saved_and_the_others_conflict,
    a_conflict_tells_what_is_stored_and_changes_nothing,
    saving_version_zero_creates,
    a_late_save_never_brings_a_session_back,
    a_forced_save_ignores_the_version,
    saving_prolongs_by_the_sessions_ttl,
    a_save_keeps_the_time_of_creation_whatever_it_says,
    a_save_repeated_is_applied_once,
    updating_what_is_not_there_calls_nothing,
    of_updates_at_once_none_is_lost,
    updates_in_one_process_wait_for_each_other,
    an_update_past_its_deadline_stores_nothing,
    an_error_of_the_change_is_given_back_and_nothing_saved,
    an_update_changes_neither_id_nor_version,
    what_is_in_memory_is_complete_on_its_first_poll,
    a_turn_is_held_by_one_at_a_time,
    of_updates_in_steps_at_once_none_is_lost,
    an_update_in_steps_sees_who_came_in_between,
    a_merged_save_keeps_what_others_changed,
    of_merged_saves_at_once_none_is_lost,
    regenerating_moves_everything_to_a_fresh_id,
    regenerating_for_a_user_moves_it_to_the_users_list,
    regenerating_keeps_the_absolute_cap,
    of_two_that_regenerate_one_gets_none,
    a_list_is_exactly_what_lives_oldest_first,
    handles_of_a_list_delete_extend_and_protect,
    ids_are_listed_only_where_they_are_not_hashed,
    a_listing_knows_where_a_session_was_made,
    changing_the_user_moves_it_to_that_users_list,
    foreign_ids_are_listed_cleared_and_moved_alike,
    clearing_removes_all_or_all_but_one,
    a_user_is_counted_exactly,
    all_are_counted,
    loading_many_answers_in_order,
    saving_many_is_each_for_itself,
    deleting_many_counts_what_was_there,
    pages_hold_all_that_live,
    a_cursor_from_elsewhere_is_refused,
    encrypted_sessions_read_the_same,
    keys_can_be_changed,
    no_error_and_no_debug_shows_an_id_or_data,
);

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

fn policy() -> SessionPolicy {
    SessionPolicy::default()
}

async fn open(env: &dyn SessionEnv) -> Result<Arc<dyn SessionStore>> {
    env.open(policy()).await
}

fn user(name: &str) -> Result<UserId> {
    UserId::new(name)
}

fn data(text: &str) -> Result<SessionData> {
    SessionData::parse(text)
}

fn new(text: &str) -> Result<NewSession> {
    Ok(NewSession::new().with_data(data(text)?))
}

async fn of_user(store: &Arc<dyn SessionStore>, name: &str) -> Result<Session> {
    store.create(NewSession::new().with_user(user(name)?)).await
}

/// The number in `{"n":…}`.
fn number(session: &Session) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct Counter {
        n: u64,
    }
    session.data.get::<Counter>().map(|counter| counter.n)
}

fn counter(n: u64) -> Result<SessionData> {
    data(&format!("{{\"n\":{n}}}"))
}

async fn saved(store: &Arc<dyn SessionStore>, save: Save) -> Result<Session> {
    match store.save(save).await? {
        SaveOutcome::Saved(session) => Ok(*session),
        other => Err(Error::new(ErrorKind::Conflict, format!("it should be saved: {other:?}"))),
    }
}

async fn loaded(store: &Arc<dyn SessionStore>, id: &SessionId) -> Result<Session> {
    let session = store.load(id).await?;
    session.ok_or_else(|| Error::new(ErrorKind::NotFound, "the session should be there"))
}

async fn handles(store: &Arc<dyn SessionStore>, name: &str) -> Result<Vec<String>> {
    let listed = store.list(&user(name)?).await?;
    Ok(listed.iter().map(|it| it.handle.as_str().to_owned()).collect())
}

fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) {
    match result {
        Err(error) => assert_eq!(error.kind(), kind, "{error:?}"),
        Ok(value) => panic!("it should be refused as {kind}: {value:?}"),
    }
}
