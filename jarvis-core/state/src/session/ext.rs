//! [`SessionExt`]: methods that every [`SessionStore`] provides.

use std::future::Future;
use std::time::Duration;

use super::{
    Save, SaveOutcome, Session, SessionId, SessionStore, SessionUpdate, UPDATE_DEADLINE, Updated,
};
use base::Result;

/// How a merged save ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merged {
    /// Nobody came in between: it is stored as it was given.
    Saved(Box<Session>),
    /// Others saved in between: it is stored with what they changed, as it is here.
    Merged(Box<Session>),
    /// It expired or was deleted. Nothing was stored.
    NotFound,
}

/// More ways to change a session, over any [`SessionStore`].
pub trait SessionExt: SessionStore {
    /// Saves what a request made of a session, without overwriting what other requests changed
    /// meanwhile.
    ///
    /// `base` is the session as it was loaded or saved last, `mine` what it is to be. When nobody
    /// saved since `base.version`, `mine` is stored. Otherwise each top-level key of the data that
    /// differs between `base` and `mine` is put on what is stored by then
    /// ([`SessionData::merged`](super::SessionData::merged)), and so are user, time to live and
    /// meta where they differ; again until nobody comes in between.
    ///
    /// For a value that depends on what was there, such as a counter, use
    /// [`update`](SessionStore::update): here the last request wins that key.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use jarvis_core::clock::SystemClock;
    /// # use jarvis_core::session::*;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let store = MemorySessions::new(SessionPolicy::new(), Arc::new(SystemClock::new()))?;
    /// let base = store.create(NewSession::new()).await?;
    /// let (mut one, mut two) = (base.clone(), base.clone());
    /// one.data = SessionData::parse(r#"{"cart":[7]}"#)?;
    /// two.data = SessionData::parse(r#"{"theme":"dark"}"#)?;
    /// store.save_merged(&base, one).await?;
    /// let Merged::Merged(stored) = store.save_merged(&base, two).await? else { unreachable!() };
    /// assert_eq!(stored.data.as_str(), r#"{"cart":[7],"theme":"dark"}"#);
    /// # Ok::<(), jarvis_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// `Timeout` when others kept coming in between for [`UPDATE_DEADLINE`]; those of
    /// [`save`](SessionStore::save).
    fn save_merged(
        &self,
        base: &Session,
        mine: Session,
    ) -> impl Future<Output = Result<Merged>> + Send {
        async move {
            let first = Session { id: base.id.clone(), version: base.version, ..mine.clone() };
            match self.save(Save::new(first)).await? {
                SaveOutcome::Saved(stored) => return Ok(Merged::Saved(stored)),
                SaveOutcome::NotFound => return Ok(Merged::NotFound),
                SaveOutcome::Conflict(_) => {}
            }
            let mut merge = |stored: &mut Session| merge(base, &mine, stored);
            let merged = self.update(&base.id, UPDATE_DEADLINE, &mut merge).await?;
            Ok(merged.map_or(Merged::NotFound, |stored| Merged::Merged(Box::new(stored))))
        }
    }

    /// [`update`](SessionStore::update) with an asynchronous change.
    ///
    /// Updates of the same session by this process wait while `change` runs, at most until their
    /// deadline. `change` gets the session as it is stored and gives it back changed; it may be
    /// called more than once.
    ///
    /// # Errors
    /// Those of `update`, and the one of `change`.
    fn update_with<F, Fut>(
        &self,
        id: &SessionId,
        deadline: Duration,
        mut change: F,
    ) -> impl Future<Output = Result<Option<Session>>> + Send
    where
        F: FnMut(Session) -> Fut + Send,
        Fut: Future<Output = Result<Session>> + Send,
    {
        async move {
            let mut update = SessionUpdate::begin(self, id, deadline).await?;
            while let Some(step) = update {
                let changed = change(step.session().clone()).await?;
                update = match step.save(self, changed).await? {
                    Updated::Done(stored) => return Ok(Some(*stored)),
                    Updated::Again(step) => Some(step),
                    Updated::Gone => None,
                };
            }
            Ok(None)
        }
    }
}

impl<S: SessionStore + ?Sized> SessionExt for S {}

fn merge(base: &Session, mine: &Session, stored: &mut Session) -> Result<()> {
    stored.data = base.data.merged(&mine.data, &stored.data)?;
    if mine.user != base.user {
        stored.user.clone_from(&mine.user);
    }
    if mine.ttl != base.ttl {
        stored.ttl = mine.ttl;
    }
    if mine.meta != base.meta {
        stored.meta.clone_from(&mine.meta);
    }
    Ok(())
}
