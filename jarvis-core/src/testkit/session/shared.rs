//! What requests at once make of one session: turns, updates in steps, merged saves. And where the
//! sessions are.

use std::pin::pin;
use std::task::Poll;

use base::vocabulary::Locality;
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use state::session::{Merged, SessionExt, SessionUpdate, Updated};

use super::*;

pub(super) async fn what_is_in_memory_is_complete_on_its_first_poll(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    assert_eq!(store.locality(), open(env).await?.locality());
    let made = of_user(&store, "ada").await?;
    if store.locality() != Locality::InMemory {
        assert!(store.load_now(&made.id).is_none(), "only memory knows without asking");
        return Ok(());
    }
    let (id, name) = (&made.id, SessionRef::Id(made.id.clone()));
    let at_once = |what: &str, is_ready: bool| assert!(is_ready, "{what} was not ready");
    at_once("create", store.create(NewSession::new()).now_or_never().is_some());
    at_once("load", store.load(id).now_or_never().is_some());
    at_once("load_now", store.load_now(id).is_some());
    at_once("save", store.save(Save::new(made.clone())).now_or_never().is_some());
    at_once("update", store.update(id, MINUTE, &mut |_| Ok(())).now_or_never().is_some());
    at_once("turn", store.turn(id, MINUTE).now_or_never().is_some());
    at_once("extend", store.extend(&name, None).now_or_never().is_some());
    at_once("load_and_extend", store.load_and_extend(id, None).now_or_never().is_some());
    at_once("list", store.list(&user("ada")?).now_or_never().is_some());
    at_once("count", store.count(None).now_or_never().is_some());
    at_once("load_many", store.load_many(std::slice::from_ref(id)).now_or_never().is_some());
    at_once("scan", store.scan(None, 10).now_or_never().is_some());
    at_once("regenerate", store.regenerate(id, None).now_or_never().is_some());
    at_once("clear", store.clear(&user("ada")?, None).now_or_never().is_some());
    at_once("delete", store.delete(&name).now_or_never().is_some());
    Ok(())
}

/// Awaits a call whose deadline is on the clock of `env`.
async fn while_time_passes<T>(env: &dyn SessionEnv, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        if let Poll::Ready(output) = futures_util::poll!(call.as_mut()) {
            return output;
        }
        env.pass(MILLI).await;
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_turn_is_held_by_one_at_a_time(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":0}"#)?).await?;
    let held = store.turn(&made.id, MINUTE).await?;
    let late = while_time_passes(env, store.turn(&made.id, MILLI)).await;
    refused(late, ErrorKind::Timeout);
    let late = while_time_passes(env, store.update(&made.id, MILLI, &mut |_| Ok(()))).await;
    refused(late, ErrorKind::Timeout);
    // Nothing else waits for it.
    drop(store.turn(&SessionId::new("another")?, MINUTE).await?);
    let stored = saved(&store, Save::new(made.clone())).await?;
    assert_eq!(stored.version, 2);
    drop(held);
    drop(store.turn(&made.id, MINUTE).await?);
    Ok(())
}

pub(super) async fn of_updates_in_steps_at_once_none_is_lost(env: &dyn SessionEnv) -> Result<()> {
    let handles = [open(env).await?, open(env).await?];
    let made = handles[0].create(new(r#"{"n":0}"#)?).await?;
    let updates = (0..16).map(|n| {
        let (store, id) = (&handles[n % 2], &made.id);
        store.update_with(id, MINUTE, |mut session| async {
            tokio::task::yield_now().await;
            session.data = counter(number(&session)? + 1)?;
            Ok(session)
        })
    });
    try_join_all(updates).await?;
    let stored = loaded(&handles[1], &made.id).await?;
    assert_eq!((number(&stored)?, stored.version), (16, 17));
    Ok(())
}

pub(super) async fn an_update_in_steps_sees_who_came_in_between(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":1}"#)?).await?;
    let begin = || SessionUpdate::begin(&*store, &made.id, MINUTE);
    let Some(step) = begin().await? else { panic!("it is there") };
    assert_eq!(*step.session(), made);
    // A plain save waits for no turn.
    let mut theirs = made.clone();
    theirs.data = counter(5)?;
    saved(&store, Save::new(theirs)).await?;
    let mut mine = made.clone();
    (mine.version, mine.id) = (99, SessionId::new("another")?);
    mine.data = counter(2)?;
    let Updated::Again(step) = step.save(&*store, mine.clone()).await? else {
        panic!("somebody came in between")
    };
    assert_eq!(number(step.session())?, 5);
    let Updated::Done(stored) = step.save(&*store, mine).await? else { panic!("nobody did") };
    assert_eq!((number(&stored)?, stored.version, &stored.id), (2, 3, &made.id));
    // One that is dropped stores nothing, and lets the next one in.
    drop(begin().await?);
    let Some(step) = begin().await? else { panic!("it is there") };
    assert!(store.delete(&made.id.clone().into()).await?);
    assert!(matches!(step.save(&*store, made.clone()).await?, Updated::Gone));
    assert!(begin().await?.is_none());
    Ok(())
}

pub(super) async fn a_merged_save_keeps_what_others_changed(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let first = r#"{"cart":{"items":[1],"total":3},"theme":"dark","seen":1}"#;
    let base = store.create(new(first)?.with_user(user("ada")?)).await?;
    let mut theirs = base.clone();
    theirs.data = data(r#"{"cart":{"items":[],"total":0},"theme":"dark","seen":1,"new":true}"#)?;
    theirs.ttl = MINUTE;
    saved(&store, Save::new(theirs)).await?;
    let mut mine = base.clone();
    mine.data = data(r#"{"theme":"light","cart":{"total":3,"items":[1]}}"#)?;
    mine.user = Some(user("bob")?);
    let Merged::Merged(stored) = store.save_merged(&base, mine.clone()).await? else {
        panic!("others came in between")
    };
    let expected = r#"{"cart":{"items":[],"total":0},"theme":"light","new":true}"#;
    assert_eq!(stored.data.as_str(), expected);
    assert_eq!((stored.version, stored.ttl), (3, MINUTE));
    assert_eq!(stored.user, Some(user("bob")?));
    assert_eq!(loaded(&store, &base.id).await?, *stored);
    // From there nobody comes in between.
    let mut next = (*stored).clone();
    next.data = counter(7)?;
    let Merged::Saved(last) = store.save_merged(&stored, next).await? else {
        panic!("nobody came in between")
    };
    assert_eq!((number(&last)?, last.version), (7, 4));
    assert!(store.delete(&base.id.clone().into()).await?);
    assert_eq!(store.save_merged(&base, mine.clone()).await?, Merged::NotFound);
    assert_eq!(store.save_merged(&last, mine).await?, Merged::NotFound);
    assert_eq!(store.load(&base.id).await?, None);
    Ok(())
}

pub(super) async fn of_merged_saves_at_once_none_is_lost(env: &dyn SessionEnv) -> Result<()> {
    let handles = [open(env).await?, open(env).await?];
    let base = handles[0].create(NewSession::new()).await?;
    let saves = (0..12).map(|n| {
        let (store, base) = (&handles[n % 2], &base);
        async move {
            let mut mine = base.clone();
            mine.data = data(&format!("{{\"key{n}\":{n}}}"))?;
            store.save_merged(base, mine).await
        }
    });
    let outcomes = try_join_all(saves).await?;
    let alone = outcomes.iter().filter(|outcome| matches!(outcome, Merged::Saved(_)));
    assert_eq!(alone.count(), 1, "{outcomes:?}");
    let stored = loaded(&handles[1], &base.id).await?;
    let keys: std::collections::BTreeMap<String, u64> = stored.data.get()?;
    assert_eq!((keys.len(), stored.version), (12, 13));
    Ok(())
}
