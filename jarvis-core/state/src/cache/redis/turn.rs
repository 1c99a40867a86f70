//! Whose turn it is to load, across processes.

use std::time::Duration;

use redis::Value;

use super::RedisStorage;
use super::announce::Change;
use super::envelope::{Stored, TagVersion, px};
use super::read::{all_count, bytes, integer, unexpected};
use super::scripts::{ABANDON, BEGIN, FINISH, KEEP};
use super::write::{Seen, time_arg};
use crate::cache::CacheValue;
use crate::cache::storage::{Begun, Found, Terms, WriteId};
use base::Result;
use base::store::redis::Effect;

/// How long a turn lasts without a sign of life: so long others wait for a process that died.
const TURN: Duration = Duration::from_secs(3);
/// How long a turn that nobody else took can still be ended with a value: by a loader that could give
/// no sign of life, since it blocked its thread, or by who loaded beside one that died.
const LATE: Duration = Duration::from_secs(600);
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What was the case when a load began.
#[derive(Debug)]
pub(in crate::cache) struct RedisTicket {
    /// Who has the turn.
    holder: Vec<u8>,
    ours: bool,
    tags: Vec<(String, TagVersion)>,
    seen: Seen,
}

impl RedisStorage {
    pub(super) async fn begin_turn(&self, key: &str, terms: &Terms) -> Result<Begun<RedisTicket>> {
        let tags = self.hold_tags(&terms.tags, kept(terms)).await?;
        let token = self.ids.token();
        let begin = BEGIN
            .call(&[self.keys.entry(key), self.keys.lock(key)])
            .arg(&token)
            .arg(&self.ids.instance)
            .arg(px(TURN + LATE))
            .arg(px(LATE));
        let answer: Value = self.redis.query("cache.load", begin, Effect::Idempotent).await?;
        let Value::Array(parts) = answer else { return Err(unexpected(&answer)) };
        let [holder, time, value] =
            <[Value; 3]>::try_from(parts).map_err(|_| unexpected(&Value::Nil))?;
        let holder = bytes(holder)?.unwrap_or_default();
        let stored = bytes(value)?.map(Stored::decode).transpose()?.flatten();
        let found = self.found(stored.as_ref(), integer(&time)?, &tags).await?;
        let ours = holder == token.as_bytes();
        let seen = Seen::of(stored.as_ref());
        Ok(Begun { ours, ticket: RedisTicket { holder, ours, tags, seen }, found })
    }

    /// What was read is only good while its tags are.
    async fn found(
        &self,
        stored: Option<&Stored>,
        time: i64,
        held: &[(String, TagVersion)],
    ) -> Result<Option<Found>> {
        let Some((stored, age)) = stored.and_then(|stored| Some((stored, stored.age(time)?)))
        else {
            return Ok(None);
        };
        // The versions were held before the entry was read; those it has besides are asked for.
        let (known, unknown): (Vec<_>, Vec<_>) = stored
            .tags
            .iter()
            .cloned()
            .partition(|(tag, _)| held.iter().any(|(its, _)| its == tag));
        let counts = known.iter().all(|tag| held.contains(tag));
        let names = unknown.iter().map(|(tag, _)| tag.as_str());
        if !counts || !all_count(&unknown, &self.versions(names).await?) {
            return Ok(None);
        }
        Ok(Some(Found {
            value: stored.value.clone(),
            age,
            load_took: stored.load_took,
            id: stored.id,
            near: false,
        }))
    }

    pub(super) async fn keep_turn(&self, key: &str, ticket: &RedisTicket) -> Result<()> {
        let keep = KEEP.call(&[self.keys.lock(key)]).arg(&ticket.holder).arg(px(TURN + LATE));
        let _: i64 = self.redis.query("cache.load", keep, Effect::Idempotent).await?;
        Ok(())
    }

    pub(super) async fn finish_turn(
        &self,
        key: &str,
        ticket: RedisTicket,
        value: &CacheValue,
        terms: &Terms,
    ) -> Result<()> {
        let kept = kept(terms);
        self.keep_tags(&ticket.tags, kept).await?;
        let stored = Stored {
            id: WriteId::Drawn(self.ids.draw()),
            load_took: terms.load_took,
            stale: if terms.ttl.is_some() { terms.stale } else { Duration::ZERO },
            tags: ticket.tags,
            value: value.clone(),
        };
        let (kind, seen) = ticket.seen.args();
        let (channel, message) = self.announcement(&Change::key(key));
        let finish = FINISH
            .call(&[self.keys.entry(key), self.keys.lock(key)])
            .arg(&ticket.holder)
            .arg(i64::from(ticket.ours))
            .arg(kind)
            .arg(seen)
            .arg(stored.encode())
            .arg(time_arg(kept))
            .arg(channel)
            .arg(message);
        // The second time it finds the turn ended, or another writing.
        let _: i64 = self.redis.query("cache.load", finish, Effect::Idempotent).await?;
        Ok(())
    }

    pub(super) async fn abandon_turn(&self, key: &str, ticket: &RedisTicket) -> Result<()> {
        if ticket.ours {
            let abandon = ABANDON.call(&[self.keys.lock(key)]).arg(&ticket.holder);
            let _: i64 = self.redis.query("cache.load", abandon, Effect::Idempotent).await?;
        }
        Ok(())
    }
}

/// How long an entry is in Redis.
fn kept(terms: &Terms) -> Option<Duration> {
    terms.ttl.map(|ttl| ttl.saturating_add(terms.stale))
}
