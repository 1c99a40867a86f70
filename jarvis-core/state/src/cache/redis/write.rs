//! Changing entries: set, delete, add, expire, and their announcement to near caches.

use std::time::Duration;

use redis::Value;

use super::RedisStorage;
use super::announce::Change;
use super::envelope::{MAX_HEADER, Stored, TagVersion, px};
use super::read::{Part, all_count, bytes, integer, unexpected, version};
use super::scripts::{ADD, DROP_TAG, EXPIRE, HOLD_TAG, KEEP_TAG, PUT, REMOVE, SWAP};
use crate::cache::storage::{
    Age, Done, Look, Write, WriteId, beyond_64_bits, no_number, whole_number,
};
use crate::cache::{CacheValue, Condition};
use base::store::redis::{Command, Effect};
use base::{Error, ErrorKind, Result};

/// A tag lives that much longer than its entries, for the time between the two commands.
const TAG_MARGIN: Duration = Duration::from_secs(60);
/// Somebody else wrote between look and act so often: give up.
const ROUNDS: usize = 16;

/// What was there when it was looked at, as the scripts compare it.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    None,
    Start(Vec<u8>),
    Whole(Vec<u8>),
}

impl Seen {
    pub(super) fn of(stored: Option<&Stored>) -> Self {
        match stored {
            None => Self::None,
            Some(stored) if matches!(stored.id, WriteId::Number(_)) => {
                Self::Whole(stored.identity())
            }
            Some(stored) => Self::Start(stored.identity()),
        }
    }

    pub(super) fn args(&self) -> (&'static str, &[u8]) {
        match self {
            Self::None => ("none", b""),
            Self::Start(bytes) => ("start", bytes),
            Self::Whole(bytes) => ("whole", bytes),
        }
    }
}

/// A time as the scripts take it: milliseconds, or nothing for no end.
pub(super) fn time_arg(time: Option<Duration>) -> String {
    time.map(|time| px(time).to_string()).unwrap_or_default()
}

/// What was removed, by its own time fresh until then.
fn fresh_before(answer: Value) -> Result<Option<Stored>> {
    let Value::Array(parts) = answer else { return Err(unexpected(&answer)) };
    let [time, header] = <[Value; 2]>::try_from(parts).map_err(|_| unexpected(&Value::Nil))?;
    let time = integer(&time)?;
    // What nobody here stored is removed all the same.
    let stored = bytes(header)?.and_then(|header| Stored::decode(header).ok().flatten());
    Ok(stored.filter(|stored| matches!(stored.age(time), Some(Age::Fresh(_)))))
}

fn contended() -> Error {
    Error::new(ErrorKind::Conflict, "other writers keep changing this key; try again")
        .with_retry(base::Retry::Safe { after: None })
}

impl RedisStorage {
    /// Channel and message of a change; two empty ones when nobody keeps copies.
    pub(super) fn announcement(&self, change: &Change<'_>) -> (String, Vec<u8>) {
        if self.announces {
            (self.keys.channel(), change.encode())
        } else {
            (String::new(), Vec::new())
        }
    }

    /// The versions of these tags, which live at least that long.
    pub(super) async fn hold_tags(
        &self,
        tags: &[String],
        time: Option<Duration>,
    ) -> Result<Vec<(String, TagVersion)>> {
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let time = time_arg(time.map(|time| time.saturating_add(TAG_MARGIN)));
        let hold = |tag: &String| {
            let drawn = self.ids.draw().to_be_bytes();
            HOLD_TAG.call(&[self.keys.tag(tag)]).arg(&drawn[..]).arg(&time)
        };
        let commands: Vec<Command> = tags.iter().map(hold).collect();
        // Boxed, so that a write without tags is a small future.
        let answers = Box::pin(self.ask_all("cache.tags", commands, Effect::Idempotent)).await;
        let held = tags.iter().zip(answers).map(|(tag, answer)| {
            let held = bytes(answer?)?.as_deref().and_then(version);
            Ok((tag.clone(), held.ok_or_else(|| unexpected(&Value::Nil))?))
        });
        held.collect()
    }

    /// Lets tags live at least that long, where they still have these versions.
    pub(super) async fn keep_tags(
        &self,
        tags: &[(String, TagVersion)],
        time: Option<Duration>,
    ) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let time = time_arg(time.map(|time| time.saturating_add(TAG_MARGIN)));
        let keep = |(tag, version): &(String, TagVersion)| {
            KEEP_TAG.call(&[self.keys.tag(tag)]).arg(&version[..]).arg(&time)
        };
        let commands: Vec<Command> = tags.iter().map(keep).collect();
        for answer in self.ask_all("cache.tags", commands, Effect::Idempotent).await {
            answer?;
        }
        Ok(())
    }

    pub(super) async fn write_all(
        &self,
        writes: Vec<Write>,
        tags: &[String],
        condition: Condition,
    ) -> Done {
        let longest = writes.iter().map(|write| write.ttl).reduce(|one, two| Some(one?.max(two?)));
        let tags = match self.hold_tags(tags, longest.flatten()).await {
            Ok(tags) => tags,
            Err(error) => return Err(error).into(),
        };
        let encoded = writes.into_iter().map(|Write { key, value, ttl }| {
            let stored = Stored {
                id: WriteId::Drawn(self.ids.draw()),
                load_took: Duration::ZERO,
                stale: Duration::ZERO,
                tags: tags.clone(),
                value,
            };
            Encoded { key, bytes: stored.encode(), ttl }
        });
        let encoded: Vec<Encoded> = encoded.collect();
        if condition == Condition::IfPresent {
            // Boxed, here and below: most writes have no condition.
            return Box::pin(self.put_where(&encoded, true)).await;
        }
        let absent = condition == Condition::IfAbsent;
        let commands: Vec<Command> = encoded.iter().map(|one| self.put(one, absent)).collect();
        // Twice is the same as once, except that the second try may find the first one there.
        let effect = if absent { Effect::Write } else { Effect::Idempotent };
        let mut stored = Done::default();
        let mut there = Vec::new();
        for (one, answer) in
            encoded.into_iter().zip(self.ask_all("cache.set", commands, effect).await)
        {
            match answer {
                Ok(Value::Okay | Value::Int(1)) => stored.count += 1,
                Ok(Value::Nil | Value::Int(0)) => there.push(one),
                Ok(other) => stored.fails(unexpected(&other)),
                Err(error) => stored.fails(error),
            }
        }
        // What is there may have run out, or its tags may not count any more.
        if !there.is_empty() {
            stored.add(Box::pin(self.put_where(&there, false)).await);
        }
        stored
    }

    fn put(&self, one: &Encoded, absent: bool) -> Command {
        let entry = self.keys.entry(&one.key);
        if self.announces {
            let (channel, message) = self.announcement(&Change::key(&one.key));
            let put = PUT.call(&[entry]).arg(&one.bytes).arg(time_arg(one.ttl));
            return put.arg(if absent { "NX" } else { "" }).arg(channel).arg(message);
        }
        let mut set = Command::new("SET").arg(entry).arg(&one.bytes);
        if let Some(ttl) = one.ttl {
            set = set.arg("PX").arg(px(ttl));
        }
        if absent { set.arg("NX") } else { set }
    }

    /// Stores those for which there is a fresh value, or none. Each is compared with what was
    /// looked at, and looked at again when it has changed since.
    async fn put_where(&self, entries: &[Encoded], present: bool) -> Done {
        let mut waiting: Vec<&Encoded> = entries.iter().collect();
        let mut stored = Done::default();
        for _ in 0..ROUNDS {
            let keys: Vec<&str> = waiting.iter().map(|one| one.key.as_str()).collect();
            let mut swaps = Vec::new();
            let mut swapped = Vec::new();
            for (one, there) in waiting.into_iter().zip(self.look_each(&keys).await) {
                match there {
                    Ok(there) if there.is_fresh == present => {
                        let time = time_arg(one.ttl);
                        swaps.push(self.swap(&one.key, &there.seen, &one.bytes, &time));
                        swapped.push(one);
                    }
                    Ok(_) => {}
                    Err(error) => stored.fails(error),
                }
            }
            waiting = Vec::new();
            let answers = self.ask_all("cache.set", swaps, Effect::Write).await;
            for (one, answer) in swapped.into_iter().zip(answers) {
                match answer.and_then(|answer| integer(&answer)) {
                    Ok(1) => stored.count += 1,
                    Ok(_) => waiting.push(one),
                    Err(error) => stored.fails(error),
                }
            }
            if waiting.is_empty() {
                return stored;
            }
        }
        stored.fails(contended());
        stored
    }

    /// What lies under these keys, also where it does not count any more.
    async fn look_each(&self, keys: &[&str]) -> Vec<Result<There>> {
        // The bytes first: if what is read afterwards does not count, then neither do they,
        // unless they have changed by then, which the comparison of the swap will find.
        let raw: Vec<Command> = keys.iter().map(|key| self.header(key)).collect();
        let raw = self.ask_all("cache.get", raw, Effect::Read).await;
        let read = self.read_each(keys, Look::default(), Part::Header).await;
        let there = read.into_iter().zip(raw).map(|(read, raw)| {
            let raw = bytes(raw?)?.map(Stored::decode).transpose()?.flatten();
            let fresh = read?.filter(|read| read.found.is_fresh());
            let seen = Seen::of(fresh.as_ref().map(|read| &read.stored).or(raw.as_ref()));
            Ok(There { is_fresh: fresh.is_some(), seen })
        });
        there.collect()
    }

    fn header(&self, key: &str) -> Command {
        Command::new("GETRANGE").arg(self.keys.entry(key)).arg(0).arg(MAX_HEADER)
    }

    fn swap(&self, key: &str, seen: &Seen, bytes: &[u8], time: &str) -> Command {
        let (kind, seen) = seen.args();
        let (channel, message) = self.announcement(&Change::key(key));
        let swap = SWAP.call(&[self.keys.entry(key)]).arg(kind).arg(seen);
        swap.arg(bytes).arg(time).arg(channel).arg(message)
    }

    pub(super) async fn remove_all(&self, keys: &[String]) -> Done {
        let remove = |key: &String| {
            let (channel, message) = self.announcement(&Change::key(key));
            REMOVE
                .call(&[self.keys.entry(key), self.keys.lock(key)])
                .arg(MAX_HEADER)
                .arg(channel)
                .arg(message)
        };
        let commands: Vec<Command> = keys.iter().map(remove).collect();
        let mut removed = Done::default();
        let mut fresh = Vec::new();
        for answer in self.ask_all("cache.delete", commands, Effect::Idempotent).await {
            match answer.and_then(fresh_before) {
                Ok(stored) => fresh.extend(stored),
                Err(error) => removed.fails(error),
            }
        }
        let tags = fresh.iter().flat_map(|stored| &stored.tags).map(|(tag, _)| tag.as_str());
        removed.add(match self.versions(tags).await {
            Ok(versions) => {
                let counting = fresh.iter().filter(|stored| all_count(&stored.tags, &versions));
                Ok(counting.count() as u64).into()
            }
            Err(error) => Err(error).into(),
        });
        removed
    }

    pub(super) async fn add_to(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64> {
        let (channel, message) = self.announcement(&Change::key(key));
        for _ in 0..ROUNDS {
            let add = ADD.call(&[self.keys.entry(key)]).arg(by).arg(time_arg(ttl));
            let add = add.arg(&channel).arg(&message);
            let answer: Value = self.redis.query("cache.increment", add, Effect::Write).await?;
            match bytes(answer)?.as_deref().unwrap_or_default() {
                b"text" => return Err(no_number()),
                b"overflow" => return Err(beyond_64_bits()),
                b"envelope" => {
                    if let Some(sum) = self.add_in_envelope(key, by, ttl).await? {
                        return Ok(sum);
                    }
                }
                sum => return whole_number(sum).ok_or_else(|| unexpected(&Value::Nil)),
            }
        }
        Err(contended())
    }

    /// Adds to a number that has tags or the like; `None` when it was changed meanwhile.
    async fn add_in_envelope(
        &self,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<Option<i64>> {
        let read = self.read_tagged(key, Look::default()).await?;
        let (seen, bytes, time, sum) = match read.filter(|read| read.found.is_fresh()) {
            Some(read) => {
                let number = whole_number(&read.found.value).ok_or_else(no_number)?;
                let sum = number.checked_add(by).ok_or_else(beyond_64_bits)?;
                let seen = Seen::of(Some(&read.stored));
                let next = Stored {
                    id: WriteId::Drawn(self.ids.draw()),
                    value: CacheValue::from(sum.to_string()),
                    ..read.stored
                };
                (seen, next.encode(), "keep".to_owned(), sum)
            }
            None => {
                let there = self.look_each(&[key]).await.pop().transpose()?;
                let Some(there) = there.filter(|there| !there.is_fresh) else { return Ok(None) };
                (there.seen, by.to_string().into_bytes(), time_arg(ttl), by)
            }
        };
        let swap = self.swap(key, &seen, &bytes, &time);
        let swapped: i64 = self.redis.query("cache.increment", swap, Effect::Write).await?;
        Ok((swapped == 1).then_some(sum))
    }

    pub(super) async fn expire_at(&self, key: &str, ttl: Option<Duration>) -> Result<bool> {
        for _ in 0..ROUNDS {
            let mut read = self.read_each(&[key], Look::default(), Part::Header).await;
            let read = read.pop().unwrap_or(Ok(None))?;
            let Some(read) = read.filter(|read| read.found.is_fresh()) else { return Ok(false) };
            let kept = ttl.map(|ttl| ttl.saturating_add(read.stored.stale));
            self.keep_tags(&read.stored.tags, kept).await?;
            let identity = match read.stored.id {
                WriteId::Drawn(_) => read.stored.identity(),
                // It may be counted up at any time, and stays the same number for this.
                WriteId::Number(_) => Vec::new(),
            };
            let (channel, message) = self.announcement(&Change::key(key));
            let expire = EXPIRE.call(&[self.keys.entry(key)]).arg(identity).arg(time_arg(kept));
            let expire = expire.arg(channel).arg(message);
            let done: i64 = self.redis.query("cache.expire", expire, Effect::Idempotent).await?;
            if done == 1 {
                return Ok(true);
            }
        }
        Err(contended())
    }

    pub(super) async fn drop_tag(&self, tag: &str) -> Result<()> {
        let name = self.keys.tag(tag);
        let drop = if self.announces {
            let (channel, message) = self.announcement(&Change::tag(tag));
            DROP_TAG.call(&[name]).arg(channel).arg(message)
        } else {
            Command::new("UNLINK").arg(name)
        };
        let _: i64 = self.redis.query("cache.invalidate_tag", drop, Effect::Idempotent).await?;
        Ok(())
    }
}

/// An entry in the bytes that are stored.
#[derive(Debug)]
struct Encoded {
    key: String,
    bytes: Vec<u8>,
    ttl: Option<Duration>,
}

/// What lies under a key.
#[derive(Debug)]
struct There {
    is_fresh: bool,
    seen: Seen,
}
