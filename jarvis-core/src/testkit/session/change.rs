//! Saves, updates and moves to a fresh id.

use futures_util::future::{join, join_all, try_join_all};

use super::*;

pub(super) async fn of_saves_at_once_one_is_saved_and_the_others_conflict(
    env: &dyn SessionEnv,
) -> Result<()> {
    let handles = [open(env).await?, open(env).await?];
    let made = handles[0].create(new("{}")?).await?;
    let saves = (0..8).map(|n| {
        let mut session = made.clone();
        let store = &handles[n % 2];
        async move {
            session.data = counter(u64::try_from(n).unwrap_or(0))?;
            store.save(Save::new(session)).await
        }
    });
    let outcomes = try_join_all(saves).await?;
    let mut winners = outcomes.iter().filter_map(|outcome| match outcome {
        SaveOutcome::Saved(session) => Some(session.clone()),
        _ => None,
    });
    let winner = winners.next().ok_or_else(|| Error::new(ErrorKind::Conflict, "nobody won"))?;
    assert_eq!(winners.count(), 0, "{outcomes:?}");
    let conflicts = outcomes.iter().filter(|outcome| match outcome {
        SaveOutcome::Conflict(current) => **current == *winner,
        _ => false,
    });
    assert_eq!(conflicts.count(), 7, "each is told what is stored: {outcomes:?}");
    assert_eq!(loaded(&handles[1], &made.id).await?, *winner);
    Ok(())
}

pub(super) async fn a_conflict_tells_what_is_stored_and_changes_nothing(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":1}"#)?.with_user(user("ada")?)).await?;
    let mut ours = made.clone();
    ours.data = counter(2)?;
    let ours = saved(&store, Save::new(ours)).await?;
    assert_eq!((ours.version, number(&ours)?), (2, 2));
    let mut late = made;
    late.data = counter(3)?;
    late.user = Some(user("bob")?);
    match store.save(Save::new(late.clone())).await? {
        SaveOutcome::Conflict(current) => assert_eq!(*current, ours),
        other => panic!("{other:?}"),
    }
    late.version = 99;
    assert!(matches!(store.save(Save::new(late.clone())).await?, SaveOutcome::Conflict(_)));
    assert_eq!(loaded(&store, &ours.id).await?, ours);
    assert!(handles(&store, "bob").await?.is_empty());
    assert_eq!(handles(&store, "ada").await?.len(), 1);
    Ok(())
}

pub(super) async fn saving_version_zero_creates(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let mut session = of_user(&store, "ada").await?;
    session.id = SessionId::new("another")?;
    session.version = 0;
    let made = saved(&store, Save::new(session.clone())).await?;
    assert_eq!(made.version, 1);
    assert_eq!(loaded(&store, &session.id).await?, made);
    match store.save(Save::new(session)).await? {
        SaveOutcome::Conflict(current) => assert_eq!(*current, made),
        other => panic!("{other:?}"),
    }
    Ok(())
}

pub(super) async fn a_late_save_never_brings_a_session_back(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = of_user(&store, "ada").await?;
    store.delete(&made.id.clone().into()).await?;
    assert_eq!(store.save(Save::new(made.clone())).await?, SaveOutcome::NotFound);
    assert_eq!(store.save(Save::forced(made.clone())).await?, SaveOutcome::NotFound);
    let mut unsaved = made.clone();
    unsaved.version = 0;
    assert_eq!(store.save(Save::forced(unsaved)).await?, SaveOutcome::NotFound);
    assert_eq!(store.load(&made.id).await?, None);
    assert!(handles(&store, "ada").await?.is_empty());
    Ok(())
}

pub(super) async fn a_forced_save_ignores_the_version(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":1}"#)?).await?;
    let second = saved(&store, Save::new(made.clone())).await?;
    let mut late = made;
    late.data = counter(7)?;
    let forced = saved(&store, Save::forced(late)).await?;
    assert_eq!((forced.version, number(&forced)?), (second.version + 1, 7));
    assert_eq!(loaded(&store, &second.id).await?, forced);
    Ok(())
}

pub(super) async fn saving_prolongs_by_the_sessions_ttl(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(NewSession::new().with_ttl(10 * MINUTE)).await?;
    env.pass(9 * MINUTE).await;
    let mut session = saved(&store, Save::new(made.clone())).await?;
    assert_eq!(session.expires_at, made.created_at + 19 * MINUTE);
    assert_eq!(session.updated_at, made.created_at + 9 * MINUTE);
    session.ttl = 30 * MINUTE;
    let session = saved(&store, Save::new(session)).await?;
    assert_eq!(session.expires_at, made.created_at + 39 * MINUTE);
    env.pass(30 * MINUTE - MILLI).await;
    assert_eq!(loaded(&store, &made.id).await?, session);
    env.pass(MILLI).await;
    assert_eq!(store.load(&made.id).await?, None);
    Ok(())
}

pub(super) async fn a_save_keeps_the_time_of_creation_whatever_it_says(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = env.open(policy().with_absolute_ttl(2 * HOUR)).await?;
    let made = store.create(NewSession::new()).await?;
    let mut session = made.clone();
    session.created_at = made.created_at + 5 * HOUR;
    session.expires_at = made.created_at + 50 * HOUR;
    session.ttl = 10 * HOUR;
    let session = saved(&store, Save::new(session)).await?;
    assert_eq!(session.created_at, made.created_at);
    assert_eq!(session.expires_at, made.created_at + 2 * HOUR);
    assert_eq!(loaded(&store, &made.id).await?, session);
    Ok(())
}

pub(super) async fn a_save_repeated_is_applied_once(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":1}"#)?).await?;
    let mut session = made;
    session.data = counter(2)?;
    let save = Save::new(session);
    let first = saved(&store, save.clone()).await?;
    match store.save(save).await? {
        SaveOutcome::Conflict(current) => assert_eq!(*current, first),
        other => panic!("{other:?}"),
    }
    assert_eq!(loaded(&store, &first.id).await?.version, 2);
    Ok(())
}

pub(super) async fn updating_what_is_not_there_calls_nothing(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let mut calls = 0;
    let updated = store
        .update(&SessionId::new("nobody")?, MINUTE, &mut |_| {
            calls += 1;
            Ok(())
        })
        .await?;
    assert_eq!((updated, calls), (None, 0));
    Ok(())
}

async fn add_one(store: &Arc<dyn SessionStore>, id: &SessionId) -> Result<u64> {
    let updated = store
        .update(id, MINUTE, &mut |session| {
            session.data = counter(number(session)? + 1)?;
            Ok(())
        })
        .await?;
    updated.map_or_else(
        || Err(Error::new(ErrorKind::NotFound, "the session should be there")),
        |session| number(&session),
    )
}

pub(super) async fn of_updates_at_once_none_is_lost(env: &dyn SessionEnv) -> Result<()> {
    let handles = [open(env).await?, open(env).await?, open(env).await?];
    let made = handles[0].create(new(r#"{"n":0}"#)?).await?;
    let updates = (0..24).map(|n| add_one(&handles[n % 3], &made.id));
    let mut seen = try_join_all(updates).await?;
    seen.sort_unstable();
    let expected: Vec<u64> = (1..=24).collect();
    assert_eq!(seen, expected, "each is applied to the result of another");
    let stored = loaded(&handles[1], &made.id).await?;
    assert_eq!((number(&stored)?, stored.version), (24, 25));
    Ok(())
}

pub(super) async fn updates_in_one_process_wait_for_each_other(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":0}"#)?).await?;
    let calls = std::sync::atomic::AtomicU64::new(0);
    let updates = (0..16).map(|_| async {
        let mut change = |session: &mut Session| {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            session.data = counter(number(session)? + 1)?;
            Ok(())
        };
        store.update(&made.id, MINUTE, &mut change).await
    });
    try_join_all(updates).await?;
    assert_eq!(number(&loaded(&store, &made.id).await?)?, 16);
    assert_eq!(calls.into_inner(), 16, "nothing was changed twice");
    Ok(())
}

pub(super) async fn an_update_past_its_deadline_stores_nothing(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":0}"#)?).await?;
    let change = &mut |session: &mut Session| {
        session.data = counter(1)?;
        Ok(())
    };
    refused(store.update(&made.id, Duration::ZERO, change).await, ErrorKind::Timeout);
    assert_eq!(loaded(&store, &made.id).await?, made);
    add_one(&store, &made.id).await?;
    Ok(())
}

pub(super) async fn an_error_of_the_change_is_given_back_and_nothing_saved(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":0}"#)?).await?;
    let change = &mut |session: &mut Session| {
        session.data = counter(1)?;
        Err(Error::new(ErrorKind::BudgetExceeded, "no credits are left"))
    };
    refused(store.update(&made.id, MINUTE, change).await, ErrorKind::BudgetExceeded);
    assert_eq!(loaded(&store, &made.id).await?, made);
    Ok(())
}

pub(super) async fn an_update_changes_neither_id_nor_version(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let (made, other) = (store.create(new("{}")?).await?, store.create(new("{}")?).await?);
    let updated = store
        .update(&made.id, MINUTE, &mut |session| {
            session.id = other.id.clone();
            session.version = 40;
            session.data = counter(5)?;
            Ok(())
        })
        .await?;
    assert_eq!(updated.map(|session| (session.id, session.version)), Some((made.id.clone(), 2)));
    assert_eq!(number(&loaded(&store, &made.id).await?)?, 5);
    assert_eq!(loaded(&store, &other.id).await?, other);
    Ok(())
}

pub(super) async fn regenerating_moves_everything_to_a_fresh_id(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let meta = state::session::SessionMeta::new().with_user_agent("Firefox");
    let new = new(r#"{"n":4}"#)?.with_user(user("ada")?).with_meta(meta).with_ttl(30 * MINUTE);
    let made = store.create(new).await?;
    env.pass(MINUTE).await;
    let moved = store.regenerate(&made.id, None).await?;
    let moved = moved.ok_or_else(|| Error::new(ErrorKind::NotFound, "it was there"))?;
    assert_ne!(moved.id, made.id);
    assert_eq!((&moved.data, &moved.user, &moved.meta), (&made.data, &made.user, &made.meta));
    assert_eq!((moved.created_at, moved.ttl), (made.created_at, made.ttl));
    assert_eq!(moved.version, made.version + 1, "the version goes on");
    assert_eq!(moved.expires_at, made.created_at + 31 * MINUTE);
    assert_eq!(loaded(&store, &moved.id).await?, moved);
    assert_eq!(store.load(&made.id).await?, None, "the old id is gone");
    assert_eq!(store.save(Save::forced(made.clone())).await?, SaveOutcome::NotFound);
    assert_eq!(handles(&store, "ada").await?.len(), 1);
    assert_eq!(store.regenerate(&made.id, None).await?, None);
    Ok(())
}

pub(super) async fn regenerating_for_a_user_moves_it_to_the_users_list(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let before = store.create(new(r#"{"cart":[1]}"#)?).await?;
    let login = store.regenerate(&before.id, Some(user("ada")?)).await?;
    let login = login.ok_or_else(|| Error::new(ErrorKind::NotFound, "it was there"))?;
    assert_eq!((login.user.clone(), login.data.clone()), (Some(user("ada")?), before.data));
    assert_eq!(handles(&store, "ada").await?.len(), 1);
    let other = store.regenerate(&login.id, Some(user("bob")?)).await?;
    assert!(other.is_some());
    assert_eq!((handles(&store, "ada").await?.len(), handles(&store, "bob").await?.len()), (0, 1));
    assert_eq!(store.count(None).await?, 1);
    Ok(())
}

pub(super) async fn regenerating_keeps_the_absolute_cap(env: &dyn SessionEnv) -> Result<()> {
    let store = env.open(policy().with_absolute_ttl(2 * HOUR)).await?;
    let made = store.create(NewSession::new()).await?;
    env.pass(59 * MINUTE).await;
    saved(&store, Save::new(made.clone())).await?;
    env.pass(59 * MINUTE).await;
    let moved = store.regenerate(&made.id, Some(user("ada")?)).await?;
    assert_eq!(moved.map(|it| it.expires_at), Some(made.created_at + 2 * HOUR));
    Ok(())
}

pub(super) async fn of_two_that_regenerate_one_gets_none(env: &dyn SessionEnv) -> Result<()> {
    let (one, two) = (open(env).await?, open(env).await?);
    for _ in 0..8 {
        let made = one.create(new("{}")?).await?;
        let ada = Some(user("ada")?);
        let (a, b) = join(one.regenerate(&made.id, ada), two.regenerate(&made.id, None)).await;
        let moved: Vec<_> = [a?, b?].into_iter().flatten().collect();
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!(loaded(&two, &moved[0].id).await?, moved[0]);
        assert_eq!(one.load(&made.id).await?, None);
        assert!(one.delete(&moved[0].id.clone().into()).await?);
    }
    assert_eq!(one.count(None).await?, 0, "no copy stayed");
    Ok(())
}

pub(super) async fn encrypted_sessions_read_the_same(env: &dyn SessionEnv) -> Result<()> {
    let policy = policy().with_encryption_keys([base::Secret::new("a1".repeat(32))]);
    let (one, two) = (env.open(policy.clone()).await?, env.open(policy).await?);
    let meta = state::session::SessionMeta::new().with_user_agent("Firefox");
    let made = one.create(new(r#"{"n":1}"#)?.with_user(user("ada")?).with_meta(meta)).await?;
    assert_eq!(loaded(&two, &made.id).await?, made);
    add_one(&two, &made.id).await?;
    let moved = one.regenerate(&made.id, Some(user("bob")?)).await?;
    let moved = moved.ok_or_else(|| Error::new(ErrorKind::NotFound, "it was there"))?;
    assert_eq!(number(&loaded(&two, &moved.id).await?)?, 2);
    assert_eq!(two.list(&user("bob")?).await?[0].meta, made.meta);
    Ok(())
}

pub(super) async fn keys_can_be_changed(env: &dyn SessionEnv) -> Result<()> {
    let keys = |names: &[&str]| {
        policy().with_encryption_keys(names.iter().map(|name| base::Secret::new(name.repeat(32))))
    };
    let old = env.open(keys(&["a1"])).await?;
    let made = old.create(new(r#"{"n":1}"#)?).await?;
    let both = env.open(keys(&["b2", "a1"])).await?;
    assert_eq!(loaded(&both, &made.id).await?, made);
    add_one(&both, &made.id).await?;
    let fresh = env.open(keys(&["b2"])).await?;
    assert_eq!(number(&loaded(&fresh, &made.id).await?)?, 2);
    Ok(())
}

pub(super) async fn no_error_and_no_debug_shows_an_id_or_data(env: &dyn SessionEnv) -> Result<()> {
    let policy = policy().with_plain_ids().with_max_bytes(100);
    let store = env.open(policy.clone()).await?;
    let secret = new(r#"{"k":"hunter2"}"#)?.with_id(SessionId::new("sid-4711")?);
    let made = store.create(secret.clone().with_user(user("ada")?)).await?;
    let mut said = format!("{made:?} {secret:?} {policy:?} {store:?}");
    let mut large = made.clone();
    large.data = data(&format!("{{\"k\":\"hunter2{}\"}}", "x".repeat(100)))?;
    let saves = [Save::new(large), Save::forced(made.clone()), Save::new(made.clone())];
    for outcome in join_all(saves.into_iter().map(|save| store.save(save))).await {
        said += &format!("{outcome:?}");
    }
    said += &format!("{:?}", store.create(secret).await);
    said += &format!("{:?}", store.load(&made.id).await?);
    said += &format!("{:?}", store.list(&user("ada")?).await?);
    said += &format!("{:?}", store.scan(None, 10).await?);
    said += &format!("{:?}", store.scan(Some("sid-4711"), 10).await);
    said += &format!("{:?}", store.update(&made.id, Duration::ZERO, &mut |_| Ok(())).await);
    assert!(!said.contains("4711") && !said.contains("hunter2"), "{said}");
    Ok(())
}
