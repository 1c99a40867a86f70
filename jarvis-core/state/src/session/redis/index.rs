//! Listings: of a user by its index, of all by looking through all keys.

use std::collections::HashSet;
use std::time::Duration;

use super::super::front::damaged;
use super::super::id::Bucket;
use super::super::record::Listed;
use super::super::{SessionHandle, SessionId};
use super::packed::{self, Packed};
use super::{Store, millis, scripts};
use base::clock::WallTime;
use base::store::redis::{Command, Effect};
use base::vocabulary::UserId;
use base::{Error, ErrorKind, Result};

/// How many sessions are asked for, or removed, in one round trip.
pub(super) const AT_ONCE: usize = 500;

/// So many bytes of a session are read for a listing at first: its meta ends there, unless the
/// browser calls itself by a very long name.
const BEGINNING: usize = 1_024;

/// How many keys one step through all of them looks at.
const STEP: usize = 1_000;

/// How many steps a page takes at most when other keys lie between.
const STEPS: usize = 64;

/// What is stored of a user.
#[derive(Default)]
pub(super) struct Members {
    /// What lives.
    pub(super) sessions: Vec<Listed>,
    /// What can't be read, and why.
    pub(super) damaged: Vec<(SessionHandle, Error)>,
}

impl Members {
    /// The sessions, if all can be read.
    pub(super) fn readable(mut self) -> Result<Vec<Listed>> {
        match self.damaged.pop() {
            None => Ok(self.sessions),
            Some((_, error)) => Err(error),
        }
    }
}

impl Store {
    /// Enters a session into the index of its user in another slot, for as long as it is kept when it
    /// lives for `ttl` from `now`.
    pub(super) async fn enter(
        &self,
        user: &UserId,
        handle: &SessionHandle,
        now: WallTime,
        ttl: Duration,
    ) -> Result<()> {
        let keys = [self.index_key(user), self.mark_key(user, handle)];
        let until = packed::kept_until(now + ttl, ttl);
        let call = scripts::ENTER.call(&keys).arg(now.millis()).arg(handle.as_str());
        let call = call.arg(until.millis()).arg(millis(Some(until.saturating_since(now))));
        // Boxed, as in `leave`: few have their index in another slot, and the calls of all others
        // are smaller without it.
        Box::pin(self.run("session.redis.enter", call)).await.map(drop)
    }

    /// Takes handles out of a user's index, but those that are being written now.
    pub(super) async fn leave(&self, user: &UserId, handles: &[SessionHandle]) -> Result<()> {
        let here = Bucket::of_user(user);
        let kept_by = |handle: &SessionHandle| match handle.bucket() == here {
            true => self.session_key(handle),
            false => self.mark_key(user, handle),
        };
        let mut keys = vec![self.index_key(user)];
        keys.extend(handles.iter().map(kept_by));
        let call = scripts::DROP.call(&keys);
        let call = handles.iter().fold(call, |call, handle| call.arg(handle.as_str()));
        Box::pin(self.run("session.redis.leave", call)).await.map(drop)
    }

    /// The living sessions of a user. What the index knows too much is taken out.
    pub(super) async fn of_user(&self, user: &UserId) -> Result<Members> {
        let now = self.terms.now();
        let call = scripts::MEMBERS.call(&[self.index_key(user)]).arg(now.millis());
        let members: Vec<String> =
            self.redis.query("session.redis.list", call, Effect::Idempotent).await?;
        let mut found = Members::default();
        for members in members.chunks(AT_ONCE) {
            let handles = members.iter().map(SessionHandle::new);
            let handles = handles.collect::<Result<Vec<_>>>().map_err(|_| damaged())?;
            let mut strangers = Vec::new();
            for (handle, listed) in handles.iter().zip(self.look_at(&handles).await) {
                let listed = match listed {
                    Ok(listed) => listed,
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        found.damaged.push((handle.clone(), error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                match listed.filter(|it| it.user.as_ref() == Some(user)) {
                    Some(listed) if listed.expires_at > now => found.sessions.push(listed),
                    // It leaves with its time: by the clock of somebody else it may live, and be
                    // prolonged without being entered again.
                    Some(_) => {}
                    None => strangers.push(handle.clone()),
                }
            }
            if !strangers.is_empty() {
                // The answer is right without it; it is tried again the next time.
                drop(self.leave(user, &strangers).await);
            }
        }
        Ok(found)
    }

    /// What is stored under these handles, in their order. What can't be read names its handle, by
    /// which it can be deleted.
    async fn look_at(&self, handles: &[SessionHandle]) -> Vec<Result<Option<Listed>>> {
        let mut listed: Vec<_> = handles.iter().map(|_| Ok(None)).collect();
        let mut rest: Vec<usize> = (0..handles.len()).collect();
        for end in [i64::try_from(BEGINNING).unwrap_or(-1) - 1, -1] {
            let asked = rest.iter().map(|at| {
                Command::new("GETRANGE").arg(self.session_key(&handles[*at])).arg(0).arg(end)
            });
            let asked: Vec<Command> = asked.collect();
            let found = self.redis.pipeline::<Vec<u8>>("session.redis.list", &asked, Effect::Read);
            let mut longer = Vec::new();
            for (at, bytes) in std::mem::take(&mut rest).into_iter().zip(found.await) {
                match bytes.and_then(|bytes| Beginning::read(&bytes, &handles[at])) {
                    Ok(Beginning::Cut) => longer.push(at),
                    Ok(Beginning::Whole(read)) => listed[at] = Ok(read),
                    Err(error) => listed[at] = Err(error.with_context("session", &handles[at])),
                }
            }
            rest = longer;
            if rest.is_empty() {
                break;
            }
        }
        listed
    }

    fn pattern(&self) -> String {
        format!("{}:{{??}}:s:*", self.prefix)
    }

    /// The handle in the key of a session; `None` for a key of something else.
    fn handle_in(&self, key: &[u8]) -> Option<SessionHandle> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(self.prefix.as_str())?;
        let (bucket, name) = rest.strip_prefix(":{")?.split_once("}:s:")?;
        let handle = SessionHandle::new(format!("{bucket}{name}")).ok()?;
        // Without hashing the bucket follows from the id; another one is not ours.
        let id = (!self.terms.hash_ids).then(|| SessionId::new(name)).transpose().ok()?;
        let ours = id.is_none_or(|id| id.handle(false) == handle);
        ours.then_some(handle)
    }

    /// Looks through all keys of all masters.
    pub(super) async fn count_all(&self) -> Result<u64> {
        const OPERATION: &str = "session.redis.count";
        let mut seen = HashSet::new();
        let now = self.terms.now();
        for master in self.redis.masters(OPERATION).await? {
            let mut cursor = 0;
            loop {
                let at = (cursor, STEP);
                let (next, keys) = self.redis.scan(&master, OPERATION, at, &self.pattern()).await?;
                let handles: Vec<_> = keys.iter().filter_map(|key| self.handle_in(key)).collect();
                let listed = self.look_at(&handles).await;
                for (handle, listed) in handles.into_iter().zip(listed) {
                    let counts = match listed {
                        Ok(listed) => listed.is_some_and(|it| it.expires_at > now),
                        // It is there until somebody deletes it.
                        Err(error) if error.kind() == ErrorKind::Corrupt => true,
                        Err(error) => return Err(error),
                    };
                    if counts {
                        seen.insert(handle);
                    }
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(u64::try_from(seen.len()).unwrap_or(u64::MAX))
    }

    /// The cursor is the number of a master, a dot, and its own cursor.
    pub(super) async fn page_of_all(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        const OPERATION: &str = "session.redis.scan";
        let (mut at, mut inner) = cursor.map_or(Ok((0, 0)), read_cursor)?;
        let masters = self.redis.masters(OPERATION).await?;
        if at >= masters.len() {
            return Err(strange_cursor());
        }
        let now = self.terms.now();
        let mut sessions = Vec::new();
        for _ in 0..STEPS {
            let Some(master) = masters.get(at) else { break };
            let from = (inner, limit);
            let (next, keys) = self.redis.scan(master, OPERATION, from, &self.pattern()).await?;
            let handles: Vec<_> = keys.iter().filter_map(|key| self.handle_in(key)).collect();
            for listed in self.look_at(&handles).await {
                sessions.extend(listed?.filter(|it| it.expires_at > now));
            }
            inner = next;
            at += usize::from(next == 0);
            if !sessions.is_empty() {
                break;
            }
        }
        let next = (at < masters.len()).then(|| format!("{at}.{inner}"));
        Ok((sessions, next))
    }
}

/// What was read of a session at first.
enum Beginning {
    /// All that a listing needs; nothing where there is no session.
    Whole(Option<Listed>),
    /// It does not reach to the data: more is to be read.
    Cut,
}

impl Beginning {
    fn read(bytes: &[u8], handle: &SessionHandle) -> Result<Self> {
        Ok(match Packed::read(bytes)? {
            Some(packed) if !packed.reaches_data() && bytes.len() == BEGINNING => Self::Cut,
            packed => Self::Whole(packed.map(|it| it.listed(handle.clone())).transpose()?),
        })
    }
}

fn read_cursor(text: &str) -> Result<(usize, u64)> {
    let (master, inner) = text.split_once('.').ok_or_else(strange_cursor)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !digits(master) || !digits(inner) {
        return Err(strange_cursor());
    }
    let read = (master.parse().ok(), inner.parse().ok());
    let (Some(master), Some(inner)) = read else { return Err(strange_cursor()) };
    Ok((master, inner))
}

fn strange_cursor() -> Error {
    Error::new(ErrorKind::InvalidInput, "the cursor is not from this store; start without a cursor")
}
