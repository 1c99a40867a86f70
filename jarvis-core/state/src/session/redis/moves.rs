//! Moving a session to another id: in one step where one script reaches both, else in two.

use std::time::Duration;

use super::super::SessionHandle;
use super::super::record::{Draft, Expect, Origin, Replaced, Stored, Swapped};
use super::answer::Answer;
use super::packed::{self, Packed};
use super::save::Base;
use super::{Store, scripts};
use base::store::redis::Command;
use base::{Error, ErrorKind, Result, Retry};

/// How often a move is told before it is given up.
const TELLS: u32 = 3;

/// A session that is to move, as it was when it was read.
#[derive(Clone, Copy)]
pub(super) struct Old<'a> {
    pub(super) handle: &'a SessionHandle,
    pub(super) origin: &'a Origin,
}

/// What a session becomes that moves within a slot.
struct New {
    key: String,
    /// Key of its user's index, where that lies in the slot.
    index: Option<String>,
    session: Vec<u8>,
    left: Duration,
}

/// What taking a session away found.
enum Taken {
    /// It, as it was when it was read; it is away now.
    Same,
    /// One that somebody has changed meanwhile.
    Changed,
    Nothing,
}

impl Store {
    /// For how long a command may be repeated because its answer was lost.
    pub(super) fn repeated_within(&self) -> Duration {
        self.redis.longest_call().saturating_mul(2 * TELLS)
    }

    /// Stores `draft` under `new` in place of `old`.
    pub(super) async fn move_to(
        &self,
        old: Old<'_>,
        new: &SessionHandle,
        draft: &Draft,
    ) -> Result<Replaced> {
        match self.redis.has_slots() && old.handle.bucket() != new.bucket() {
            true => self.move_in_two(old, new, draft).await,
            false => self.move_at_once(old, new, draft).await,
        }
    }

    async fn move_at_once(
        &self,
        old: Old<'_>,
        new: &SessionHandle,
        draft: &Draft,
    ) -> Result<Replaced> {
        let (now, origin) = (self.terms.now(), old.origin);
        let index = self.near_index(new, draft.user.as_ref());
        if let (None, Some(user)) = (&index, &draft.user) {
            self.enter(user, new, now, draft.ttl).await?;
        }
        let stored = Stored {
            version: origin.version.saturating_add(1),
            created_at: origin.created_at,
            updated_at: now,
            expires_at: self.terms.expiry(now, draft.ttl, origin.created_at),
        };
        let kept_until = packed::kept_until(stored.expires_at, draft.ttl);
        let to = New {
            key: self.session_key(new),
            index,
            session: packed::pack(&self.saves.name(), draft, &stored, kept_until)?,
            left: kept_until.saturating_since(now).max(Duration::from_millis(1)),
        };
        Ok(match self.take(old, Some((new, &to))).await? {
            Taken::Same => Replaced::Stored(stored),
            Taken::Changed => Replaced::Changed,
            Taken::Nothing => Replaced::Missing,
        })
    }

    async fn move_in_two(
        &self,
        old: Old<'_>,
        new: &SessionHandle,
        draft: &Draft,
    ) -> Result<Replaced> {
        let base = Base { version: old.origin.version, created_at: old.origin.created_at };
        let stored = match self.store(new, Expect::Absent, draft, Some(base)).await {
            Ok(Swapped::Stored(stored)) => stored,
            Ok(_) => return Err(exists()),
            Err(error) => {
                // It may be there all the same. The old one is.
                drop(self.remove_of(new, draft.user.as_ref()).await);
                return Err(error);
            }
        };
        let outcome = match self.take(old, None).await? {
            Taken::Same => return Ok(Replaced::Stored(stored)),
            Taken::Changed => Replaced::Changed,
            Taken::Nothing => Replaced::Missing,
        };
        // The copy must not outlive what it was made of.
        self.remove_of(new, draft.user.as_ref()).await?;
        Ok(outcome)
    }

    /// Takes the old session away, and with the same step stores the new one where that is told,
    /// however often it has to be said.
    async fn take(&self, old: Old<'_>, new: Option<(&SessionHandle, &New)>) -> Result<Taken> {
        let user = old.origin.user.as_ref();
        let call = self.move_call(old, new);
        let (mut tells, mut in_doubt) = (1, false);
        let answer = loop {
            match self.run("session.redis.move", call.clone()).await {
                Ok(answer) => break answer,
                Err(error) => {
                    in_doubt |= error.retry() == Retry::Indeterminate;
                    if tells == TELLS {
                        // That the last one reached nobody says nothing about those before.
                        return Err(match in_doubt {
                            true => error.with_retry(Retry::Indeterminate),
                            false => error,
                        });
                    }
                    tells += 1;
                }
            }
        };
        Ok(match answer {
            Answer::Done(_) => {
                self.left(old.handle, user, None).await;
                Taken::Same
            }
            answer => match Packed::read(&answer.found()?)? {
                Some(found) if self.terms.now() < found.stored()?.expires_at => Taken::Changed,
                _ => Taken::Nothing,
            },
        })
    }

    fn move_call(&self, old: Old<'_>, new: Option<(&SessionHandle, &New)>) -> Command {
        let Old { handle, origin } = old;
        let (key, user) = (self.session_key(handle), origin.user.as_ref());
        let index = self.near_index(handle, user).unwrap_or_else(|| key.clone());
        let mut keys = vec![key, index];
        if let Some((_, new)) = new {
            keys.extend([new.key.clone(), new.index.as_ref().unwrap_or(&new.key).clone()]);
        }
        let call = scripts::MOVE
            .call(&keys)
            .arg(packed::belief(origin.version, user))
            .arg(packed::end(user))
            .arg(handle.as_str())
            .arg(self.terms.now().millis())
            .arg(&self.saves.name())
            .arg(self.repeated_within().as_millis().to_string());
        match new {
            None => call,
            Some((handle, new)) => {
                let left = new.left.as_millis().to_string();
                call.arg(&new.session).arg(handle.as_str()).arg(left)
            }
        }
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::Conflict, "a session with a new random id already exists; this is a bug")
}
