//! Storing a session: a compare-and-swap that is told what is believed to be stored, and tried again
//! with what is, where that belief alone was wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::SessionHandle;
use super::super::record::{Draft, Expect, Stored, Swapped, Verdict};
use super::answer::Answer;
use super::packed::{self, Packed, SaveName};
use super::{GUESSES, Store, scripts, unsettled};
use base::clock::WallTime;
use base::store::redis::Command;
use base::vocabulary::UserId;
use base::{Error, ErrorKind, Result, Retry};

/// Names saves and moves: no two have the same name, in whatever process.
pub(super) struct Saves {
    store: [u8; 16],
    next: AtomicU64,
}

impl Saves {
    pub(super) fn new() -> Result<Self> {
        let mut random = [0; 8];
        super::super::id::fill(&mut random)?;
        let mut store = [0; 16];
        store.copy_from_slice(format!("{:016x}", u64::from_le_bytes(random)).as_bytes());
        Ok(Self { store, next: AtomicU64::new(0) })
    }

    pub(super) fn name(&self) -> SaveName {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let number = packed::digits::<16>(i64::try_from(number).unwrap_or(i64::MAX));
        let mut name = [0; 32];
        name[..16].copy_from_slice(&self.store);
        name[16..].copy_from_slice(&number);
        name
    }
}

/// What a session is made of where nothing is stored.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) version: u64,
    pub(super) created_at: WallTime,
}

/// What is believed to be stored; for [`Expect::Absent`] what is counted on from.
struct Belief {
    version: u64,
    created_at: WallTime,
    user: Option<UserId>,
}

impl Belief {
    /// From what a caller knows, who as a rule has loaded it.
    fn first(expect: Expect, draft: &Draft, base: Option<Base>, now: WallTime) -> Self {
        let created_at = draft.created_at.unwrap_or(now);
        match expect {
            Expect::Absent => {
                let base = base.unwrap_or(Base { version: 0, created_at: now });
                Self { version: base.version, created_at: base.created_at, user: None }
            }
            Expect::Version(version) => Self { version, created_at, user: draft.user.clone() },
            Expect::Any => Self { version: 0, created_at, user: draft.user.clone() },
        }
    }
}

/// A save that is under way.
struct Saving<'a> {
    handle: &'a SessionHandle,
    /// Key of the session.
    key: String,
    /// Key of the index, where the next user has one in this slot.
    index: Option<String>,
    expect: Expect,
    draft: &'a Draft,
    name: SaveName,
    now: WallTime,
}

impl Store {
    pub(super) async fn store(
        &self,
        handle: &SessionHandle,
        expect: Expect,
        draft: &Draft,
        base: Option<Base>,
    ) -> Result<Swapped> {
        let (key, now) = (self.session_key(handle), self.terms.now());
        let index = self.near_index(handle, draft.user.as_ref());
        if let (None, Some(user)) = (&index, &draft.user) {
            self.enter(user, handle, now, draft.ttl).await?;
        }
        let name = self.saves.name();
        let saving = Saving { handle, key, index, expect, draft, name, now };
        let mut belief = Belief::first(expect, draft, base, now);
        let mut sent_again = false;
        for _ in 0..GUESSES {
            let (call, stored) = self.save_over(&saving, &belief)?;
            let (answer, again) = self.run_resent("session.redis.swap", call).await?;
            sent_again |= again;
            let stored = match answer {
                Answer::Done(_) => stored,
                Answer::Stored { version, created_at } => Stored { version, created_at, ..stored },
                answer => match saving.judge(&answer.found()?)? {
                    Judged::Ended(Swapped::Conflict(record))
                        if sent_again && record.version > stored.version =>
                    {
                        return Err(in_doubt());
                    }
                    Judged::Ended(swapped) => return Ok(swapped),
                    Judged::Again(found) => {
                        belief = found.unwrap_or(belief);
                        continue;
                    }
                },
            };
            self.left(handle, belief.user.as_ref(), draft.user.as_ref()).await;
            return Ok(Swapped::Stored(stored));
        }
        Err(unsettled())
    }

    /// The call that saves over what is believed, and what is stored then.
    fn save_over(&self, saving: &Saving<'_>, belief: &Belief) -> Result<(Command, Stored)> {
        let Saving { handle, draft, now, expect, .. } = *saving;
        let expires_at = self.terms.expiry(now, draft.ttl, belief.created_at);
        let (created_at, version) = (belief.created_at, belief.version.saturating_add(1));
        let stored = Stored { version, created_at, updated_at: now, expires_at };
        let kept_until = packed::kept_until(expires_at, draft.ttl);
        let session = packed::pack(&saving.name, draft, &stored, kept_until)?;
        let left = kept_until.saturating_since(now).max(Duration::from_millis(1));

        let before = belief.user.as_ref();
        let believed = match expect {
            Expect::Absent => Vec::new(),
            Expect::Version(_) => packed::belief(belief.version, before),
            Expect::Any => packed::user_belief(before),
        };
        let left_index = match before == draft.user.as_ref() {
            true => None,
            false => self.near_index(handle, before),
        };
        let mut keys = vec![&saving.key, saving.index.as_ref().unwrap_or(&saving.key)];
        keys.extend(&left_index);
        let call = scripts::SAVE
            .call(&keys)
            .arg(session)
            .arg(believed)
            .arg(packed::end(before))
            .arg(handle.as_str())
            .arg(left.as_millis().to_string());
        let call = match (expect, self.terms.absolute_ttl.map(|_| "capped")) {
            (Expect::Any, capped) => call.arg("any").arg(capped),
            (_, Some(capped)) => call.arg("").arg(capped),
            (_, None) => call,
        };
        Ok((call, stored))
    }
}

/// The first sending may have been applied, and what it stored been changed by others since.
fn in_doubt() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to Redis was lost in the middle of a save, and others have changed the \
         session since; whether it was applied shows in the session",
    )
    .with_retry(Retry::Indeterminate)
}

/// What is to be done about what was found.
enum Judged {
    Ended(Swapped),
    /// It is to be stored, over this where there is anything.
    Again(Option<Belief>),
}

impl Saving<'_> {
    fn judge(&self, found: &[u8]) -> Result<Judged> {
        let found = Packed::read(found)?;
        let living = match &found {
            Some(found) => {
                Some((found, found.stored()?)).filter(|(_, it)| self.now < it.expires_at)
            }
            None => None,
        };
        if let Some((found, stored)) = &living
            && found.is_by(&self.name)
        {
            // The answer to this very save was lost.
            return Ok(Judged::Ended(Swapped::Stored(*stored)));
        }
        Ok(match (self.expect.judge(living.map(|(_, stored)| stored.version)), living) {
            (Verdict::Store, None) => Judged::Again(None),
            (Verdict::Store, Some((found, Stored { version, created_at, .. }))) => {
                Judged::Again(Some(Belief { version, created_at, user: found.user()? }))
            }
            (Verdict::Conflict, Some((found, _))) => {
                Judged::Ended(Swapped::Conflict(Box::new(found.record()?)))
            }
            (Verdict::Conflict | Verdict::Missing, _) => Judged::Ended(Swapped::Missing),
        })
    }
}
