//! [`Front`]: the part that all stores share: ids, limits, times to live, encryption and turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};

use super::deadline::Deadline;
use super::record::{
    Draft, Expect, Kept, Listed, Name, Origin, Record, Records, Replaced, Swapped, Terms,
};
use super::seal::{Place, Seal, no_key};
use super::turns::Turns;
use super::{
    Change, NewSession, Save, SaveOutcome, Session, SessionData, SessionHandle, SessionId,
    SessionMeta, SessionPage, SessionPolicy, SessionRef, SessionSummary, SessionTurn,
    UPDATE_DEADLINE,
};
use base::clock::{SharedClock, WallTime};
use base::vocabulary::{Locality, UserId};
use base::{Error, ErrorKind, Result};

/// How often a large session is told of at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many of a batch are under way at once.
const AT_ONCE: usize = 256;

/// The longest page.
const LONGEST_PAGE: usize = 1_000;

#[derive(Debug)]
struct Shared<R> {
    records: R,
    policy: SessionPolicy,
    terms: Terms,
    seal: Option<Seal>,
    turns: Turns,
    warned_at: AtomicI64,
}

/// A session store over records. Clones share everything.
#[derive(Debug)]
pub(super) struct Front<R>(Arc<Shared<R>>);

impl<R> Clone for Front<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Records> Front<R> {
    /// # Errors
    /// `ConfigInvalid` for a policy that is invalid; the message names the field.
    pub(super) fn new(
        policy: SessionPolicy,
        clock: SharedClock,
        records: impl FnOnce(Terms) -> R,
    ) -> Result<Self> {
        policy.check()?;
        let seal = Seal::new(&policy.encryption_keys)?.filter(|_| R::AT_REST);
        let terms = Terms::new(&policy, clock);
        Ok(Self(Arc::new(Shared {
            records: records(terms.clone()),
            policy,
            terms,
            seal,
            turns: Turns::default(),
            warned_at: AtomicI64::new(i64::MIN),
        })))
    }

    #[cfg(test)]
    pub(super) fn records(&self) -> &R {
        &self.0.records
    }

    pub(super) async fn create(&self, new: NewSession) -> Result<Session> {
        let id = match new.id {
            Some(id) => id,
            None => SessionId::generate(new.user.as_ref())?,
        };
        let ttl = self.0.policy.ttl(new.ttl)?;
        let draft = self.draft(&id, new.user.clone(), &new.data, ttl, &new.meta)?;
        match self.0.records.swap(&id, Expect::Absent, draft).await? {
            Swapped::Stored(stored) => Ok(Session {
                id,
                user: new.user,
                data: new.data,
                version: stored.version,
                created_at: stored.created_at,
                updated_at: stored.updated_at,
                expires_at: stored.expires_at,
                ttl,
                meta: new.meta,
            }),
            Swapped::Conflict(_) | Swapped::Missing => Err(Error::new(
                ErrorKind::Conflict,
                "a session with this id already exists; load it, or create one with another id",
            )),
        }
    }

    pub(super) async fn load(&self, id: &SessionId) -> Result<Option<Session>> {
        let Some(record) = self.0.records.load(id).await? else { return Ok(None) };
        if self.0.policy.rolling && self.is_due(&record) {
            // Boxed, so that every other load is a small future.
            return Box::pin(self.roll(id, record)).await;
        }
        self.session(id, record).map(Some)
    }

    pub(super) fn load_now(&self, id: &SessionId) -> Option<Result<Option<Session>>> {
        // Within this process it is complete on its first poll.
        if R::AT_REST { None } else { self.load(id).now_or_never() }
    }

    async fn roll(&self, id: &SessionId, mut record: Record) -> Result<Option<Session>> {
        let Some(expires_at) = self.0.records.extend(Name::Id(id), None).await? else {
            return Ok(None);
        };
        record.expires_at = expires_at;
        self.session(id, record).map(Some)
    }

    /// Would prolonging it now gain a tenth of its time to live?
    fn is_due(&self, record: &Record) -> bool {
        let terms = &self.0.terms;
        let wanted = terms.expiry(terms.now(), record.ttl, record.created_at);
        wanted.saturating_since(record.expires_at) >= record.ttl / 10 && wanted > record.expires_at
    }

    pub(super) async fn save(&self, save: Save) -> Result<SaveOutcome> {
        let Save { session, force } = save;
        let expect = match session.version {
            _ if force => Expect::Any,
            0 => Expect::Absent,
            version => Expect::Version(version),
        };
        let ttl = self.0.policy.ttl(Some(session.ttl))?;
        let mut draft =
            self.draft(&session.id, session.user.clone(), &session.data, ttl, &session.meta)?;
        draft.created_at = Some(session.created_at);
        Ok(match self.0.records.swap(&session.id, expect, draft).await? {
            Swapped::Stored(stored) => SaveOutcome::Saved(Box::new(Session {
                version: stored.version,
                created_at: stored.created_at,
                updated_at: stored.updated_at,
                expires_at: stored.expires_at,
                ..session
            })),
            Swapped::Conflict(record) => {
                SaveOutcome::Conflict(Box::new(self.session(&session.id, *record)?))
            }
            Swapped::Missing => SaveOutcome::NotFound,
        })
    }

    pub(super) async fn update(
        &self,
        id: &SessionId,
        deadline: Duration,
        change: Change<'_>,
    ) -> Result<Option<Session>> {
        let deadline = Deadline::new(&self.0.terms.clock, deadline);
        let _turn = deadline.cut(self.0.turns.enter(id).turn()).await?;
        let mut stored = deadline.cut(self.fetch(id)).await??;
        loop {
            let Some(mut session) = stored else { return Ok(None) };
            let version = session.version;
            change(&mut session)?;
            // A save may not be cut short: nobody would know whether it was applied. And there is
            // no pause between two: of those who collide one always gets through, and there is
            // one from each process at most.
            deadline.check()?;
            let session = Session { id: id.clone(), version, ..session };
            stored = match self.save(Save::new(session)).await? {
                SaveOutcome::Saved(session) => return Ok(Some(*session)),
                SaveOutcome::NotFound => None,
                SaveOutcome::Conflict(session) => Some(*session),
            };
        }
    }

    pub(super) async fn turn(&self, id: &SessionId, deadline: Duration) -> Result<SessionTurn> {
        let deadline = Deadline::new(&self.0.terms.clock, deadline);
        let turn = deadline.cut(self.0.turns.enter(id).turn()).await?;
        Ok(SessionTurn::until(turn, deadline))
    }

    pub(super) fn locality(&self) -> Locality {
        if R::AT_REST { Locality::Remote } else { Locality::InMemory }
    }

    pub(super) async fn delete(&self, session: &SessionRef) -> Result<bool> {
        self.0.records.remove(name(session)).await
    }

    pub(super) async fn extend(
        &self,
        session: &SessionRef,
        ttl: Option<Duration>,
    ) -> Result<Option<WallTime>> {
        self.check_ttl(ttl)?;
        self.0.records.extend(name(session), ttl).await
    }

    pub(super) async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Session>> {
        self.check_ttl(ttl)?;
        let record = self.0.records.load_and_extend(id, ttl).await?;
        record.map(|record| self.session(id, record)).transpose()
    }

    /// One that is asked for; without one it is the session's own.
    fn check_ttl(&self, ttl: Option<Duration>) -> Result<()> {
        match ttl {
            Some(_) => self.0.policy.ttl(ttl).map(drop),
            None => Ok(()),
        }
    }

    pub(super) async fn regenerate(
        &self,
        id: &SessionId,
        user: Option<UserId>,
    ) -> Result<Option<Session>> {
        let deadline = Deadline::new(&self.0.terms.clock, UPDATE_DEADLINE);
        loop {
            let Some(mut session) = self.fetch(id).await? else { return Ok(None) };
            let (version, created_at) = (session.version, session.created_at);
            let origin = Origin { version, created_at, user: session.user.clone() };
            session.user = user.clone().or(session.user);
            session.id = id.generate_for(session.user.as_ref())?;
            let draft = self.draft(
                &session.id,
                session.user.clone(),
                &session.data,
                session.ttl,
                &session.meta,
            )?;
            match self.0.records.replace(id, origin, &session.id, draft).await? {
                Replaced::Missing => return Ok(None),
                Replaced::Stored(stored) => {
                    return Ok(Some(Session {
                        version: stored.version,
                        updated_at: stored.updated_at,
                        expires_at: stored.expires_at,
                        ..session
                    }));
                }
                Replaced::Changed => deadline.check()?,
            }
        }
    }

    pub(super) async fn list(&self, user: &UserId) -> Result<Vec<SessionSummary>> {
        let listed = self.0.records.list(user).await?;
        let mut sessions = self.summaries(listed)?;
        sessions.sort_by(|one, two| {
            one.created_at.cmp(&two.created_at).then_with(|| one.handle.cmp(&two.handle))
        });
        Ok(sessions)
    }

    pub(super) async fn clear(&self, user: &UserId, except: Option<&SessionRef>) -> Result<u64> {
        let except = except.map(|session| self.0.terms.handle(name(session)));
        self.0.records.clear(user, except).await
    }

    pub(super) async fn count(&self, user: Option<&UserId>) -> Result<u64> {
        match user {
            None => self.0.records.count().await,
            Some(user) => {
                let listed = self.0.records.list(user).await?;
                Ok(u64::try_from(listed.len()).unwrap_or(u64::MAX))
            }
        }
    }

    pub(super) async fn load_many(&self, ids: &[SessionId]) -> Result<Vec<Option<Session>>> {
        let mut sessions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(AT_ONCE) {
            sessions.extend(try_join_all(ids.iter().map(|id| self.load(id))).await?);
        }
        Ok(sessions)
    }

    pub(super) async fn save_many(&self, saves: Vec<Save>) -> Vec<Result<SaveOutcome>> {
        let mut outcomes = Vec::with_capacity(saves.len());
        let mut saves = saves.into_iter().peekable();
        while saves.peek().is_some() {
            let under_way = saves.by_ref().take(AT_ONCE).map(|save| self.save(save));
            outcomes.extend(join_all(under_way).await);
        }
        outcomes
    }

    pub(super) async fn delete_many(&self, sessions: &[SessionRef]) -> Result<u64> {
        let mut removed = 0;
        for sessions in sessions.chunks(AT_ONCE) {
            let under_way = try_join_all(sessions.iter().map(|session| self.delete(session)));
            removed += under_way.await?.into_iter().map(u64::from).sum::<u64>();
        }
        Ok(removed)
    }

    pub(super) async fn scan(&self, cursor: Option<&str>, limit: usize) -> Result<SessionPage> {
        let (listed, next) = self.0.records.page(cursor, limit.clamp(1, LONGEST_PAGE)).await?;
        Ok(SessionPage::new(self.summaries(listed)?, next))
    }

    async fn fetch(&self, id: &SessionId) -> Result<Option<Session>> {
        let record = self.0.records.load(id).await?;
        record.map(|record| self.session(id, record)).transpose()
    }

    fn draft(
        &self,
        id: &SessionId,
        user: Option<UserId>,
        data: &SessionData,
        ttl: Duration,
        meta: &SessionMeta,
    ) -> Result<Draft> {
        let bytes = self.0.policy.admit(data, meta)?;
        if bytes > self.0.policy.warn_bytes {
            self.warn(bytes);
        }
        let (data, meta) = match &self.0.seal {
            None => (Kept::Plain(data.clone()), Kept::Plain(meta.clone())),
            Some(seal) => {
                let handle = id.handle(self.0.terms.hash_ids);
                let place = |part| Place { handle: &handle, user: user.as_ref(), part };
                let data = Kept::Sealed(seal.seal(data.as_str().as_bytes(), place(DATA))?);
                (data, seal_meta(seal, meta, place(META))?)
            }
        };
        Ok(Draft { user, data, ttl, meta, created_at: None })
    }

    fn warn(&self, bytes: u64) {
        let now = self.0.terms.now().millis();
        let last = self.0.warned_at.load(Ordering::Relaxed);
        let due = WallTime::from_millis(now).saturating_since(WallTime::from_millis(last));
        if last == i64::MIN || due >= WARN_EVERY {
            self.0.warned_at.store(now, Ordering::Relaxed);
            tracing::warn!(
                bytes,
                warn_bytes = self.0.policy.warn_bytes,
                "a session is large; every request that uses it transfers all of it"
            );
        }
    }

    fn session(&self, id: &SessionId, record: Record) -> Result<Session> {
        let user = record.user;
        let data = match record.data {
            Kept::Plain(data) => data,
            Kept::Sealed(sealed) => {
                let handle = id.handle(self.0.terms.hash_ids);
                let plain = self.open(&sealed, &handle, user.as_ref(), DATA)?;
                SessionData::trusted(String::from_utf8(plain).map_err(|_| damaged())?.into())
            }
        };
        let meta = match record.meta {
            Kept::Plain(meta) => meta,
            sealed @ Kept::Sealed(_) => {
                self.meta(sealed, &id.handle(self.0.terms.hash_ids), user.as_ref())?
            }
        };
        Ok(Session {
            id: id.clone(),
            user,
            data,
            version: record.version,
            created_at: record.created_at,
            updated_at: record.updated_at,
            expires_at: record.expires_at,
            ttl: record.ttl,
            meta,
        })
    }

    fn meta(
        &self,
        meta: Kept<SessionMeta>,
        handle: &SessionHandle,
        user: Option<&UserId>,
    ) -> Result<SessionMeta> {
        match meta {
            Kept::Plain(meta) => Ok(meta),
            Kept::Sealed(sealed) => {
                let plain = self.open(&sealed, handle, user, META)?;
                serde_json::from_slice(&plain).map_err(|_| damaged())
            }
        }
    }

    fn open(
        &self,
        sealed: &[u8],
        handle: &SessionHandle,
        user: Option<&UserId>,
        part: &'static str,
    ) -> Result<Vec<u8>> {
        let seal = self.0.seal.as_ref().ok_or_else(no_key)?;
        seal.open(sealed, Place { handle, user, part })
    }

    fn summaries(&self, listed: Vec<Listed>) -> Result<Vec<SessionSummary>> {
        listed
            .into_iter()
            .map(|it| {
                let id = match self.0.terms.hash_ids {
                    true => None,
                    false => Some(SessionId::new(it.handle.name())?),
                };
                let meta = self.meta(it.meta, &it.handle, it.user.as_ref())?;
                Ok(SessionSummary {
                    handle: it.handle,
                    id,
                    user: it.user,
                    version: it.version,
                    created_at: it.created_at,
                    updated_at: it.updated_at,
                    expires_at: it.expires_at,
                    meta,
                })
            })
            .collect()
    }
}

const DATA: &str = "data";
const META: &str = "meta";

fn seal_meta(seal: &Seal, meta: &SessionMeta, place: Place<'_>) -> Result<Kept<SessionMeta>> {
    if *meta == SessionMeta::default() {
        return Ok(Kept::Plain(SessionMeta::default()));
    }
    let text = serde_json::to_vec(meta).map_err(|_| damaged())?;
    seal.seal(&text, place).map(Kept::Sealed)
}

fn name(session: &SessionRef) -> Name<'_> {
    match session {
        SessionRef::Id(id) => Name::Id(id),
        SessionRef::Handle(handle) => Name::Handle(handle),
    }
}

/// Never with a word of what is stored.
pub(super) fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a stored session is unreadable: another program changed it; delete it",
    )
}
