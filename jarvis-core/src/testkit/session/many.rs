//! Batches and pages.

use std::collections::BTreeSet;

use super::*;

pub(super) async fn loading_many_answers_in_order(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    assert!(store.load_many(&[]).await?.is_empty());
    let mut expected = Vec::new();
    for n in 0..25 {
        let made = store.create(NewSession::new().with_data(counter(n)?)).await?;
        expected.push((made.id.clone(), Some(made)));
        expected.push((SessionId::new(format!("missing {n}"))?, None));
    }
    expected.push(expected[0].clone());
    let ids: Vec<SessionId> = expected.iter().map(|(id, _)| id.clone()).collect();
    let expected: Vec<_> = expected.into_iter().map(|(_, session)| session).collect();
    assert_eq!(store.load_many(&ids).await?, expected);
    Ok(())
}

pub(super) async fn saving_many_is_each_for_itself(env: &dyn SessionEnv) -> Result<()> {
    let store = env.open(policy().with_max_bytes(1_000)).await?;
    assert!(store.save_many(Vec::new()).await.is_empty());
    let (fine, stale) = (store.create(new("{}")?).await?, store.create(new("{}")?).await?);
    let (gone, large) = (store.create(new("{}")?).await?, store.create(new("{}")?).await?);
    let current = saved(&store, Save::new(stale.clone())).await?;
    store.delete(&gone.id.clone().into()).await?;
    let mut changed = fine.clone();
    changed.data = counter(8)?;
    let mut too_large = large.clone();
    too_large.data = data(&format!("{{\"a\":\"{}\"}}", "x".repeat(2_000)))?;
    let saves = [stale, gone, too_large, changed].map(Save::new);
    let outcomes = store.save_many(saves.to_vec()).await;
    assert_eq!(outcomes.len(), 4);
    assert!(
        matches!(&outcomes[0], Ok(SaveOutcome::Conflict(it)) if **it == current),
        "{outcomes:?}"
    );
    assert!(matches!(&outcomes[1], Ok(SaveOutcome::NotFound)), "{outcomes:?}");
    assert!(matches!(&outcomes[2], Err(e) if e.kind() == ErrorKind::TooLarge), "{outcomes:?}");
    assert!(matches!(&outcomes[3], Ok(SaveOutcome::Saved(it)) if it.version == 2), "{outcomes:?}");
    assert_eq!(number(&loaded(&store, &fine.id).await?)?, 8);
    assert_eq!(loaded(&store, &large.id).await?, large);
    Ok(())
}

pub(super) async fn deleting_many_counts_what_was_there(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    assert_eq!(store.delete_many(&[]).await?, 0);
    let (one, two) = (of_user(&store, "ada").await?, of_user(&store, "ada").await?);
    let three = of_user(&store, "bob").await?;
    let handle = store.list(&user("bob")?).await?[0].handle.clone();
    let gone = [
        one.id.clone().into(),
        handle.into(),
        one.id.clone().into(),
        SessionId::new("missing")?.into(),
        three.id.clone().into(),
    ];
    assert_eq!(store.delete_many(&gone).await?, 2);
    assert_eq!((store.load(&one.id).await?, store.load(&three.id).await?), (None, None));
    assert_eq!(loaded(&store, &two.id).await?, two);
    assert_eq!(handles(&store, "ada").await?.len(), 1);
    Ok(())
}

async fn pages(store: &Arc<dyn SessionStore>, limit: usize) -> Result<(BTreeSet<String>, usize)> {
    let (mut found, mut pages, mut cursor) = (BTreeSet::new(), 0, None);
    loop {
        let page = store.scan(cursor.as_deref(), limit).await?;
        pages += 1;
        found.extend(page.sessions.iter().map(|it| it.handle.as_str().to_owned()));
        assert!(pages < 10_000, "it ends");
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok((found, pages)),
        }
    }
}

pub(super) async fn pages_hold_all_that_live(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    assert!(pages(&store, 10).await?.0.is_empty());
    let mut expected = BTreeSet::new();
    for n in 0..120 {
        let name = format!("user {}", n % 5);
        if n % 3 == 0 {
            store.create(new("{}")?.with_user(user(&name)?).with_ttl(MINUTE)).await?;
        } else if n % 2 == 0 {
            let id = SessionId::new(format!("foreign {n}"))?;
            store.create(new("{}")?.with_id(id).with_user(user(&name)?)).await?;
        } else {
            of_user(&store, &name).await?;
        }
    }
    env.pass(MINUTE).await;
    for n in 0..5 {
        expected.extend(handles(&store, &format!("user {n}")).await?);
    }
    assert_eq!(expected.len(), 80);
    for limit in [1, 7, 80, 1_000, usize::MAX] {
        assert_eq!(pages(&store, limit).await?.0, expected, "in pages of {limit}");
    }
    Ok(())
}

pub(super) async fn a_cursor_from_elsewhere_is_refused(env: &dyn SessionEnv) -> Result<()> {
    let store = open(env).await?;
    for cursor in ["", "!", "not a cursor", "\0", "-1"] {
        refused(store.scan(Some(cursor), 10).await, ErrorKind::InvalidInput);
    }
    Ok(())
}
