//! The sessions of a user.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use state::session::SessionMeta;

pub(super) async fn a_list_is_exactly_what_lives_oldest_first(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    assert!(store.list(&user("ada")?).await?.is_empty());
    let mut made = Vec::new();
    for minutes in [30, 10, 20] {
        let new = NewSession::new().with_user(user("ada")?).with_ttl(minutes * MINUTE);
        made.push(store.create(new).await?);
        of_user(&store, "bob").await?;
        store.create(NewSession::new()).await?;
        env.pass(MINUTE).await;
    }
    let times = |made: &[Session]| -> Vec<_> {
        made.iter().map(|it| (it.created_at, it.expires_at, it.version)).collect()
    };
    let listed = |listed: Vec<state::session::SessionSummary>| -> Vec<_> {
        listed.iter().map(|it| (it.created_at, it.expires_at, it.version)).collect()
    };
    assert_eq!(listed(store.list(&user("ada")?).await?), times(&made));
    env.pass(10 * MINUTE).await;
    made.remove(1);
    assert_eq!(listed(store.list(&user("ada")?).await?), times(&made));
    assert_eq!(store.list(&user("bob")?).await?.len(), 3);
    Ok(())
}

pub(super) async fn handles_of_a_list_delete_extend_and_protect(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(of_user(&store, "ada").await?.id);
        env.pass(MINUTE).await;
    }
    let listed = store.list(&user("ada")?).await?;
    let end = store.extend(&listed[1].handle.clone().into(), Some(5 * HOUR)).await?;
    assert_eq!(Some(loaded(&store, &ids[1]).await?.expires_at), end);
    assert!(store.delete(&listed[0].handle.clone().into()).await?);
    assert!(!store.delete(&listed[0].handle.clone().into()).await?);
    assert_eq!(store.load(&ids[0]).await?, None);
    let keep = listed[2].handle.clone().into();
    assert_eq!(store.clear(&user("ada")?, Some(&keep)).await?, 1);
    assert_eq!(store.load(&ids[1]).await?, None);
    assert!(store.load(&ids[2]).await?.is_some());
    Ok(())
}

pub(super) async fn ids_are_listed_only_where_they_are_not_hashed(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = env.open(policy().with_plain_ids()).await?;
    let made = of_user(&store, "ada").await?;
    let foreign = SessionId::new("sess:ü 1")?;
    store.create(NewSession::new().with_id(foreign.clone()).with_user(user("bob")?)).await?;
    assert_eq!(store.list(&user("ada")?).await?[0].id, Some(made.id));
    assert_eq!(store.list(&user("bob")?).await?[0].id, Some(foreign));
    let page = store.scan(None, 100).await?;
    assert!(page.sessions.iter().all(|it| it.id.is_some()));
    Ok(())
}

pub(super) async fn a_listing_knows_where_a_session_was_made(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let meta = SessionMeta::new()
        .with_ip(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_user_agent("Mozilla/5.0 (\"quoted\", ü)");
    let new = NewSession::new().with_user(user("ada")?).with_meta(meta.clone());
    let made = store.create(new).await?;
    assert_eq!(loaded(&store, &made.id).await?.meta, meta);
    let listed = store.list(&user("ada")?).await?;
    assert_eq!((&listed[0].meta, &listed[0].id, &listed[0].user), (&meta, &None, &made.user));
    assert!(!listed[0].handle.as_str().contains(&made.id.expose()[..16]), "only its hash");
    Ok(())
}

pub(super) async fn changing_the_user_moves_it_to_that_users_list(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let mut session = of_user(&store, "ada").await?;
    for (next, counts) in [(Some("bob"), [0, 1]), (None, [0, 0]), (Some("ada"), [1, 0])] {
        session.user = next.map(user).transpose()?;
        session = saved(&store, Save::new(session)).await?;
        let listed = [handles(&store, "ada").await?.len(), handles(&store, "bob").await?.len()];
        assert_eq!(listed, counts, "after {next:?}");
        assert_eq!(loaded(&store, &session.id).await?, session);
    }
    assert!(store.delete(&session.id.into()).await?);
    assert!(handles(&store, "ada").await?.is_empty());
    Ok(())
}

pub(super) async fn foreign_ids_are_listed_cleared_and_moved_alike(
    env: &dyn SessionEnv,
) -> Result<()> {
    let store = open(env).await?;
    let mut sessions = Vec::new();
    for n in 0..20 {
        let new = NewSession::new().with_id(SessionId::new(format!("express:{n}"))?);
        sessions.push(store.create(new.with_user(user("ada")?)).await?);
    }
    assert_eq!(handles(&store, "ada").await?.len(), 20);
    for session in &mut sessions[..5] {
        session.user = Some(user("bob")?);
        *session = saved(&store, Save::new(session.clone())).await?;
    }
    assert_eq!((handles(&store, "ada").await?.len(), handles(&store, "bob").await?.len()), (15, 5));
    for session in &sessions[5..10] {
        assert!(store.delete(&session.id.clone().into()).await?);
    }
    for session in &sessions[10..15] {
        let end = store.extend(&session.id.clone().into(), Some(9 * HOUR)).await?;
        assert_eq!(end, Some(session.created_at + 9 * HOUR));
    }
    env.pass(2 * HOUR).await;
    assert_eq!((handles(&store, "ada").await?.len(), handles(&store, "bob").await?.len()), (5, 0));
    let keep = sessions[12].id.clone().into();
    assert_eq!(store.clear(&user("ada")?, Some(&keep)).await?, 4);
    assert_eq!(handles(&store, "ada").await?.len(), 1);
    let again = NewSession::new().with_id(sessions[0].id.clone()).with_user(user("ada")?);
    store.create(again).await?;
    assert_eq!(handles(&store, "ada").await?.len(), 2);
    assert_eq!(store.clear(&user("ada")?, None).await?, 2);
    assert_eq!(store.count(None).await?, 0);
    Ok(())
}

pub(super) async fn clearing_removes_all_or_all_but_one(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(of_user(&store, "ada").await?.id);
    }
    let other = of_user(&store, "bob").await?;
    let keep = ids[3].clone().into();
    assert_eq!(store.clear(&user("ada")?, Some(&keep)).await?, 4);
    assert!(store.load(&ids[3]).await?.is_some());
    let theirs = other.id.clone().into();
    assert_eq!(store.clear(&user("ada")?, Some(&theirs)).await?, 1, "it protects nothing");
    assert_eq!(store.clear(&user("ada")?, None).await?, 0);
    assert_eq!(loaded(&store, &other.id).await?, other);
    Ok(())
}

pub(super) async fn a_user_is_counted_exactly(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    let ada = user("ada")?;
    for n in 0..4_u64 {
        assert_eq!(store.count(Some(&ada)).await?, n);
        of_user(&store, "ada").await?;
    }
    store.create(NewSession::new().with_user(ada.clone()).with_ttl(MINUTE)).await?;
    of_user(&store, "bob").await?;
    assert_eq!(store.count(Some(&ada)).await?, 5);
    env.pass(MINUTE).await;
    assert_eq!(store.count(Some(&ada)).await?, 4);
    Ok(())
}

pub(super) async fn all_are_counted(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    for n in 0..30 {
        let new = if n % 2 == 0 { new("{}")?.with_user(user("ada")?) } else { new("{}")? };
        let ttl = if n % 3 == 0 { MINUTE } else { HOUR };
        store.create(new.with_ttl(ttl)).await?;
    }
    assert_eq!(store.count(None).await?, 30);
    env.pass(2 * MINUTE).await;
    assert_eq!(store.count(None).await?, 20, "what expired a minute ago is not counted");
    Ok(())
}
