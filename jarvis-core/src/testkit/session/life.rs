//! How a session comes, how long it lives and how it goes.

use super::*;

pub(super) async fn fresh_ids_are_long_and_never_the_same(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let mut ids = std::collections::HashSet::new();
    for n in 0..100 {
        let session = if n % 2 == 0 {
            of_user(&store, "ada").await?
        } else {
            store.create(NewSession::new()).await?
        };
        assert!(session.id.expose().len() >= 32, "192 bits take 32 characters of base64");
        assert!(ids.insert(session.id.expose().to_owned()));
    }
    let starts: std::collections::HashSet<_> = ids.iter().map(|id| &id[..8]).collect();
    assert_eq!(starts.len(), 100, "no part of an id is the same for all");
    Ok(())
}

pub(super) async fn a_created_session_is_what_was_asked_for(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let id = SessionId::new("from a framework")?;
    let new = new(r#"{"a":1}"#)?.with_id(id.clone()).with_user(user("ada")?).with_ttl(MINUTE);
    let made = store.create(new).await?;
    assert_eq!((&made.id, made.version, made.ttl), (&id, 1, MINUTE));
    assert_eq!((made.user.clone(), made.data.as_str()), (Some(user("ada")?), r#"{"a":1}"#));
    assert_eq!(made.created_at, made.updated_at);
    assert_eq!(made.expires_at, made.created_at + MINUTE);
    assert_eq!(loaded(&store, &id).await?, made);
    Ok(())
}

pub(super) async fn a_taken_id_is_a_conflict_and_what_is_there_stays(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"first":true}"#)?.with_user(user("ada")?)).await?;
    let again = new("{}")?.with_id(made.id.clone()).with_user(user("bob")?);
    refused(store.create(again).await, ErrorKind::Conflict);
    assert_eq!(loaded(&store, &made.id).await?, made);
    assert_eq!(handles(&store, "bob").await?.len(), 0);
    Ok(())
}

pub(super) async fn it_lives_exactly_for_its_ttl(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(NewSession::new().with_ttl(10 * MINUTE)).await?;
    env.pass(10 * MINUTE - MILLI).await;
    assert!(store.load(&made.id).await?.is_some(), "a millisecond before its end");
    env.pass(MILLI).await;
    assert!(store.load(&made.id).await?.is_none(), "at its end");
    Ok(())
}

pub(super) async fn what_is_loaded_now_is_what_is_loaded(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"a":1}"#)?.with_user(user("ada")?).with_ttl(MINUTE)).await?;
    // Whoever would have to wait says nothing.
    let now = async |id: &SessionId| match store.load_now(id) {
        Some(loaded) => loaded,
        None => store.load(id).await,
    };
    assert_eq!(now(&made.id).await?, Some(made.clone()));
    let again = saved(&store, Save::new(made.clone())).await?;
    assert_eq!(now(&made.id).await?, Some(again));
    assert_eq!(now(&SessionId::new("never made")?).await?, None);
    env.pass(MINUTE).await;
    assert_eq!(now(&made.id).await?, None, "it expired");
    Ok(())
}

pub(super) async fn without_a_ttl_it_lives_for_the_policys(env: &dyn SessionEnv) -> Result<()> {
    let store = env.open(policy().with_ttl(7 * MINUTE)).await?;
    let made = store.create(NewSession::new()).await?;
    assert_eq!(made.expires_at, made.created_at + 7 * MINUTE);
    Ok(())
}

pub(super) async fn nothing_prolongs_it_beyond_the_absolute_cap(
    env: &dyn SessionEnv,
) -> Result<()> {
    let policy = policy().with_absolute_ttl(2 * HOUR).rolling();
    let store = env.open(policy).await?;
    let long = store.create(NewSession::new().with_ttl(5 * HOUR)).await?;
    assert_eq!(long.expires_at, long.created_at + 2 * HOUR, "created");
    let made = store.create(NewSession::new()).await?;
    let end = made.created_at + 2 * HOUR;
    env.pass(50 * MINUTE).await;
    let extended = store.extend(&made.id.clone().into(), Some(3 * HOUR)).await?;
    assert_eq!(extended, Some(end), "extended");
    store.extend(&made.id.clone().into(), Some(15 * MINUTE)).await?;
    env.pass(14 * MINUTE).await;
    let rolled = loaded(&store, &made.id).await?;
    assert_eq!(rolled.expires_at, end.min(made.created_at + 124 * MINUTE), "loaded");
    let saved = saved(&store, Save::new(rolled)).await?;
    assert_eq!(saved.expires_at, end, "saved");
    env.pass(56 * MINUTE).await;
    assert!(store.load(&made.id).await?.is_none());
    Ok(())
}

pub(super) async fn a_ttl_that_is_none_is_refused_everywhere(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(NewSession::new()).await?;
    let reference = made.id.clone().into();
    for bad in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        refused(store.create(NewSession::new().with_ttl(bad)).await, ErrorKind::InvalidInput);
        refused(store.extend(&reference, Some(bad)).await, ErrorKind::InvalidInput);
        let mut session = made.clone();
        session.ttl = bad;
        refused(store.save(Save::new(session)).await, ErrorKind::InvalidInput);
    }
    assert_eq!(loaded(&store, &made.id).await?, made);
    Ok(())
}

pub(super) async fn what_is_too_large_or_too_deep_is_refused_and_not_stored(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = env.open(policy().with_max_bytes(1_000).with_max_depth(3)).await?;
    let fits = data(&format!("{{\"a\":\"{}\"}}", "x".repeat(992)))?;
    let large = data(&format!("{{\"a\":\"{}\"}}", "x".repeat(993)))?;
    let deep = data(r#"{"a":[[[1]]]}"#)?;
    let made = store.create(NewSession::new().with_data(fits)).await?;
    for (bad, kind) in [(large, ErrorKind::TooLarge), (deep, ErrorKind::InvalidInput)] {
        let id = SessionId::new("refused")?;
        let new = NewSession::new().with_id(id.clone()).with_data(bad.clone());
        refused(store.create(new).await, kind);
        assert!(store.load(&id).await?.is_none());
        let mut session = made.clone();
        session.data = bad.clone();
        refused(store.save(Save::new(session.clone())).await, kind);
        refused(store.save(Save::forced(session)).await, kind);
        let updated = store
            .update(&made.id, MINUTE, &mut |session| {
                session.data = bad.clone();
                Ok(())
            })
            .await;
        refused(updated, kind);
    }
    refused(SessionData::parse("[1]"), ErrorKind::InvalidInput);
    assert_eq!(loaded(&store, &made.id).await?, made);
    Ok(())
}

pub(super) async fn an_unknown_id_is_none_and_makes_no_session(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let id = SessionId::new("never made")?;
    assert_eq!(store.load(&id).await?, None);
    assert_eq!(store.extend(&id.clone().into(), None).await?, None);
    assert_eq!(store.regenerate(&id, Some(user("ada")?)).await?, None);
    assert_eq!(store.load(&id).await?, None);
    assert_eq!(store.count(None).await?, 0);
    Ok(())
}

pub(super) async fn what_was_saved_last_is_loaded_byte_for_byte(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let odd = "{ \"b\" : 1.0,\n\t\"a\":\"\\u0000 \u{1F3B5} \\\"{\", \"n\": 12345678901234567890 }";
    let made = store.create(new(odd)?).await?;
    assert_eq!(loaded(&store, &made.id).await?.data.as_str(), odd);
    let mut session = made;
    session.data = data("{}")?;
    let session = saved(&store, Save::new(session)).await?;
    assert_eq!(loaded(&store, &session.id).await?, session);
    Ok(())
}

pub(super) async fn all_handles_see_one_truth(env: &dyn SessionEnv) -> Result<()> {
    let (one, two) = (open(env).await?, open(env).await?);
    let made = one.create(new(r#"{"n":1}"#)?.with_user(user("ada")?)).await?;
    assert_eq!(loaded(&two, &made.id).await?, made);
    assert!(two.delete(&made.id.clone().into()).await?);
    assert_eq!(one.load(&made.id).await?, None);
    assert!(one.list(&user("ada")?).await?.is_empty());
    Ok(())
}

pub(super) async fn loading_does_not_prolong(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(NewSession::new()).await?;
    env.pass(HOUR - MINUTE).await;
    assert_eq!(loaded(&store, &made.id).await?.expires_at, made.expires_at);
    env.pass(MINUTE).await;
    assert_eq!(store.load(&made.id).await?, None);
    Ok(())
}

pub(super) async fn rolling_prolongs_once_a_tenth_has_passed(env: &dyn SessionEnv) -> Result<()> {
    let store = env.open(policy().rolling()).await?;
    let made = store.create(NewSession::new()).await?;
    env.pass(6 * MINUTE - MILLI).await;
    let early = loaded(&store, &made.id).await?;
    assert_eq!(early.expires_at, made.expires_at, "not for less than a tenth");
    env.pass(MILLI).await;
    let rolled = loaded(&store, &made.id).await?;
    assert_eq!(rolled.expires_at, made.expires_at + 6 * MINUTE);
    assert_eq!(rolled.version, made.version);
    env.pass(HOUR - MILLI).await;
    assert!(store.load(&made.id).await?.is_some(), "what it said is what is stored");
    env.pass(HOUR).await;
    assert_eq!(store.load(&made.id).await?, None);
    Ok(())
}

pub(super) async fn what_expired_is_gone_for_every_method(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new("{}")?.with_user(user("ada")?)).await?;
    let handle = store.list(&user("ada")?).await?[0].handle.clone();
    env.pass(HOUR).await;
    assert_eq!(store.load(&made.id).await?, None);
    assert_eq!(store.extend(&made.id.clone().into(), None).await?, None);
    assert_eq!(store.extend(&handle.clone().into(), None).await?, None);
    assert_eq!(store.save(Save::new(made.clone())).await?, SaveOutcome::NotFound);
    assert_eq!(store.save(Save::forced(made.clone())).await?, SaveOutcome::NotFound);
    assert_eq!(store.update(&made.id, MINUTE, &mut |_| Ok(())).await?, None);
    assert_eq!(store.regenerate(&made.id, None).await?, None);
    assert!(store.list(&user("ada")?).await?.is_empty());
    assert_eq!(store.count(Some(&user("ada")?)).await?, 0);
    assert_eq!(store.clear(&user("ada")?, None).await?, 0);
    assert!(!store.delete(&made.id.clone().into()).await?);
    assert!(!store.delete(&handle.into()).await?);
    assert_eq!(store.load(&made.id).await?, None);
    Ok(())
}

pub(super) async fn an_expired_id_can_be_taken_again(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(new(r#"{"n":1}"#)?.with_user(user("ada")?)).await?;
    env.pass(HOUR).await;
    let new = new(r#"{"n":2}"#)?.with_id(made.id.clone()).with_user(user("bob")?);
    let again = store.create(new).await?;
    assert_eq!((again.version, again.created_at), (1, made.created_at + HOUR));
    assert_eq!(loaded(&store, &made.id).await?, again);
    assert!(handles(&store, "ada").await?.is_empty());
    assert_eq!(handles(&store, "bob").await?.len(), 1);
    Ok(())
}

pub(super) async fn extending_goes_by_its_own_ttl_or_by_another(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let new = NewSession::new().with_ttl(20 * MINUTE).with_user(user("ada")?);
    let made = store.create(new).await?;
    let reference = made.id.clone().into();
    env.pass(5 * MINUTE).await;
    let end = made.created_at + 25 * MINUTE;
    assert_eq!(store.extend(&reference, None).await?, Some(end));
    assert_eq!(loaded(&store, &made.id).await?.expires_at, end);
    assert_eq!(store.list(&user("ada")?).await?[0].expires_at, end);
    let end = made.created_at + 6 * MINUTE;
    assert_eq!(store.extend(&reference, Some(MINUTE)).await?, Some(end), "it may shorten");
    assert_eq!(loaded(&store, &made.id).await?.ttl, 20 * MINUTE, "its own ttl stays");
    env.pass(MINUTE).await;
    assert_eq!(store.load(&made.id).await?, None);
    assert!(handles(&store, "ada").await?.is_empty());
    Ok(())
}

pub(super) async fn extending_keeps_the_version(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = store.create(NewSession::new()).await?;
    store.extend(&made.id.clone().into(), Some(2 * HOUR)).await?;
    let saved = saved(&store, Save::new(made.clone())).await?;
    assert_eq!(saved.version, made.version + 1, "a save under way is not disturbed");
    Ok(())
}

pub(super) async fn loading_and_extending_is_both_in_one(env: &dyn SessionEnv) -> Result<()> {
    let (store, other) = (open(env).await?, open(env).await?);
    let foreign = NewSession::new().with_id(SessionId::new("from a framework")?);
    let near = NewSession::new().with_user(user("ada")?);
    for new in [near, new(r#"{"n":1}"#)?, foreign.with_user(user("bob")?)] {
        let made = store.create(new).await?;
        let mut expected = made.clone();
        // Often and seldom, so that all that keeps a session is written now and then.
        for minutes in [1, 1, 9, 40, 1, 55] {
            env.pass(minutes * MINUTE).await;
            expected.expires_at = expected.expires_at + minutes * MINUTE;
            let found = store.load_and_extend(&made.id, None).await?;
            assert_eq!(found.as_ref(), Some(&expected));
            assert_eq!(loaded(&other, &made.id).await?, expected);
            if let Some(user) = &made.user {
                let listed = other.list(user).await?;
                assert_eq!(listed.len(), 1);
                assert_eq!(listed[0].expires_at, expected.expires_at);
            }
        }
        let mut session = expected;
        session.data = data(r#"{"saved":true}"#)?;
        let saved = saved(&other, Save::new(session)).await?;
        assert_eq!(store.load_and_extend(&made.id, None).await?, Some(saved), "as it is now");
        assert!(other.delete(&made.id.clone().into()).await?);
        assert_eq!(store.load_and_extend(&made.id, None).await?, None, "it stays gone");
    }
    Ok(())
}

pub(super) async fn loading_and_extending_keeps_to_the_limits_of_extending(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = env.open(policy().with_absolute_ttl(2 * HOUR)).await?;
    for owner in [None, Some(user("ada")?)] {
        let mut session = NewSession::new();
        session.user = owner.clone();
        let made = store.create(session).await?;
        for bad in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
            refused(store.load_and_extend(&made.id, Some(bad)).await, ErrorKind::InvalidInput);
        }
        assert_eq!(loaded(&store, &made.id).await?, made);
        let until = |found: Option<Session>| found.map(|it| it.expires_at);
        env.pass(50 * MINUTE).await;
        let found = store.load_and_extend(&made.id, Some(3 * HOUR)).await?;
        assert_eq!(until(found), Some(made.created_at + 2 * HOUR), "never beyond the cap");
        let found = store.load_and_extend(&made.id, Some(MINUTE)).await?;
        assert_eq!(until(found), Some(made.created_at + 51 * MINUTE), "it may shorten");
        if let Some(owner) = &owner {
            assert_eq!(store.list(owner).await?[0].expires_at, made.created_at + 51 * MINUTE);
        }
        let again = saved(&store, Save::new(made.clone())).await?;
        assert_eq!(again.version, made.version + 1, "a save under way is not disturbed");
        env.pass(HOUR).await;
        assert_eq!(store.load_and_extend(&made.id, None).await?, None, "it expired");
    }
    let unknown = SessionId::new("never made")?;
    assert_eq!(store.load_and_extend(&unknown, None).await?, None);
    assert_eq!(store.load(&unknown).await?, None);
    Ok(())
}

pub(super) async fn of_deletions_at_once_one_is_told(env: &dyn SessionEnv) -> Result<()> {
    let handles = [open(env).await?, open(env).await?];
    for user in [None, Some(user("ada")?)] {
        let mut session = new("{}")?;
        session.user = user;
        let made = handles[0].create(session).await?;
        let handle = made.id.handle(true);
        let deletions = (0..8).map(|n| {
            let name = if n % 3 == 0 { handle.clone().into() } else { made.id.clone().into() };
            let store = &handles[n % 2];
            async move { store.delete(&name).await }
        });
        let told = futures_util::future::try_join_all(deletions).await?;
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "{told:?}");
    }
    Ok(())
}

pub(super) async fn deleting_is_idempotent(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let made = of_user(&store, "ada").await?;
    let reference = made.id.clone().into();
    assert!(store.delete(&reference).await?);
    assert!(!store.delete(&reference).await?);
    assert_eq!(store.load(&made.id).await?, None);
    assert!(handles(&store, "ada").await?.is_empty());
    Ok(())
}
