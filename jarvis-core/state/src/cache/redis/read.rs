//! Reading entries and the versions of their tags, in one trip where it can be foreseen what an
//! entry has, in two where not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moka::sync::Cache as Moka;
use redis::Value;

use super::RedisStorage;
use super::envelope::{MAX_HEADER, Stored, TagVersion};
use crate::cache::storage::{Age, Found, Look};
use base::store::redis::{Command, Effect};
use base::{Error, ErrorKind, Result};

/// Of how many keys it is remembered what they have.
const HINTS: u64 = 10_000;
/// An entry that is another one in each of so many trips, after the first one of a key that is read
/// alone, is a miss.
const ROUNDS: usize = 4;

/// What an entry had when it was read last: its tags, and whether its time is needed. It only
/// spares the second trip; what counts is what is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hint {
    tags: Vec<String>,
    timed: bool,
}

#[derive(Debug)]
pub(super) struct Hints {
    /// Most caches have neither tags nor stale values, and look nothing up.
    used: AtomicBool,
    known: Moka<Box<str>, Arc<Hint>>,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self { used: AtomicBool::new(false), known: Moka::new(HINTS) }
    }

    fn of(&self, key: &str) -> Option<Arc<Hint>> {
        self.used.load(Ordering::Relaxed).then(|| self.known.get(key)).flatten()
    }

    fn learn(&self, key: &str, hint: &Hint, known: &Hint) {
        if hint == known {
            return;
        }
        if *hint == Hint::default() {
            self.known.invalidate(key);
        } else {
            self.used.store(true, Ordering::Relaxed);
            self.known.insert(key.into(), Arc::new(hint.clone()));
        }
    }
}

/// How much of an entry is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Enough to know whether it is there.
    Header,
}

/// An entry that was read, with its tags.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Tagged {
    pub(in crate::cache) found: Found,
    pub(in crate::cache) tags: Vec<String>,
    pub(super) stored: Stored,
}

/// One key on its way.
#[derive(Debug)]
struct Probe<'a> {
    at: usize,
    key: &'a str,
    wanted: Hint,
    known: Hint,
}

/// What versions tags have; none where a tag has none.
pub(super) type Versions = HashMap<String, Option<TagVersion>>;

/// A [`Value`] as bytes; `None` of nil.
pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn integer(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(unexpected(other)),
    }
}

pub(super) fn unexpected(value: &Value) -> Error {
    let kind = match value {
        Value::Array(_) => "a list",
        Value::Int(_) => "a number",
        Value::Nil => "nothing",
        _ => "something else",
    };
    Error::new(ErrorKind::Internal, format!("Redis returned an unexpected {kind} to a cache read"))
}

pub(super) fn version(bytes: &[u8]) -> Option<TagVersion> {
    bytes.try_into().ok()
}

impl RedisStorage {
    /// An entry that is there and whose tags still count.
    pub(in crate::cache) async fn read_tagged(
        &self,
        key: &str,
        look: Look<'_>,
    ) -> Result<Option<Tagged>> {
        let mut probe = self.probe(0, key, look);
        if probe.wanted == Hint::default() {
            // As a rule an entry has nothing besides itself, and that is one command.
            let get = self.get(key, Part::Whole);
            let value = self.redis.query("cache.get", get, Effect::Read).await;
            match self.judge(probe, None, value, Ok(&Versions::new()))? {
                Judged::Answer(answer) => return Ok(answer.map(|answer| *answer)),
                Judged::Again(again) => probe = again,
            }
        }
        // Boxed, so that reading that one command is a small future.
        let mut read = Box::pin(self.rounds(vec![probe], Part::Whole)).await;
        read.pop().unwrap_or(Ok(None))
    }

    /// The entries of these keys, in their order.
    pub(super) async fn read_each(
        &self,
        keys: &[&str],
        look: Look<'_>,
        part: Part,
    ) -> Vec<Result<Option<Tagged>>> {
        let probes = keys.iter().enumerate().map(|(at, key)| self.probe(at, key, look));
        self.rounds(probes.collect(), part).await
    }

    fn probe<'a>(&self, at: usize, key: &'a str, look: Look<'_>) -> Probe<'a> {
        let known = self.hints.of(key).map_or_else(Hint::default, |hint| Hint::clone(&hint));
        let mut wanted = known.clone();
        wanted.timed |= look.timed;
        wanted.tags.extend(look.tags.iter().filter(|tag| !known.tags.contains(tag)).cloned());
        Probe { at, key, wanted, known }
    }

    /// What these probes, numbered from 0, find.
    async fn rounds(&self, mut probes: Vec<Probe<'_>>, part: Part) -> Vec<Result<Option<Tagged>>> {
        let mut answers: Vec<_> = probes.iter().map(|_| Ok(None)).collect();
        for _ in 0..ROUNDS {
            probes = self.round(probes, part, &mut answers).await;
            if probes.is_empty() {
                break;
            }
        }
        answers
    }

    /// One trip. Gives the probes that did not ask for all that their entry has.
    async fn round<'a>(
        &self,
        probes: Vec<Probe<'a>>,
        part: Part,
        answers: &mut [Result<Option<Tagged>>],
    ) -> Vec<Probe<'a>> {
        let mut tags: Vec<&str> =
            probes.iter().flat_map(|p| &p.wanted.tags).map(|t| &**t).collect();
        tags.sort_unstable();
        tags.dedup();
        let mut commands = Vec::with_capacity(probes.len() + tags.len());
        for probe in &probes {
            // The time first: of an entry that is written anew between the two, the old time can
            // only make a fresh value look like one that ran out.
            if probe.wanted.timed {
                commands.push(Command::new("PTTL").arg(self.keys.entry(probe.key)));
            }
            commands.push(self.get(probe.key, part));
        }
        commands.extend(tags.iter().map(|tag| Command::new("GET").arg(self.keys.tag(tag))));
        let mut read = self.ask_all("cache.get", commands, Effect::Read).await.into_iter();
        let mut next = || read.next().unwrap_or_else(|| Err(unexpected(&Value::Nil)));
        let raw: Vec<_> =
            probes.iter().map(|probe| (probe.wanted.timed.then(&mut next), next())).collect();
        let versions: Result<Versions> =
            tags.iter().map(|tag| Ok(((*tag).to_owned(), current(next())?))).collect();
        let mut again = Vec::new();
        for (probe, (time, value)) in probes.into_iter().zip(raw) {
            let at = probe.at;
            match self.judge(probe, time, value, versions.as_ref()) {
                Ok(Judged::Answer(answer)) => answers[at] = Ok(answer.map(|answer| *answer)),
                Ok(Judged::Again(probe)) => again.push(probe),
                Err(error) => answers[at] = Err(error),
            }
        }
        again
    }

    fn get(&self, key: &str, part: Part) -> Command {
        let entry = self.keys.entry(key);
        match part {
            Part::Whole => Command::new("GET").arg(entry),
            Part::Header => Command::new("GETRANGE").arg(entry).arg(0).arg(MAX_HEADER),
        }
    }

    fn judge<'a>(
        &self,
        mut probe: Probe<'a>,
        time: Option<Result<Value>>,
        value: Result<Value>,
        versions: std::result::Result<&Versions, &Error>,
    ) -> Result<Judged<'a>> {
        let time = time.transpose()?.as_ref().map(integer).transpose()?;
        let Some(stored) = bytes(value?)?.map(Stored::decode).transpose()?.flatten() else {
            self.hints.learn(probe.key, &Hint::default(), &probe.known);
            return Ok(Judged::Answer(None));
        };
        let tags: Vec<String> = stored.tags.iter().map(|(tag, _)| tag.clone()).collect();
        let has = Hint { tags, timed: !stored.stale.is_zero() };
        self.hints.learn(probe.key, &has, &probe.known);
        let none = Versions::new();
        let versions = match versions {
            Ok(versions) => versions,
            Err(_) if stored.tags.is_empty() => &none,
            Err(error) => return Err(error.clone()),
        };
        let is_known = |tag: &String| versions.contains_key(tag);
        if (has.timed && time.is_none()) || !has.tags.iter().all(is_known) {
            probe.wanted = Hint { timed: has.timed || probe.wanted.timed, tags: has.tags.clone() };
            probe.known = has;
            return Ok(Judged::Again(probe));
        }
        let age = time.map_or(Some(Age::Fresh(None)), |time| stored.age(time));
        let Some(age) = age.filter(|_| all_count(&stored.tags, versions)) else {
            return Ok(Judged::Answer(None));
        };
        let found = Found {
            value: stored.value.clone(),
            age,
            load_took: stored.load_took,
            id: stored.id,
            near: false,
        };
        Ok(Judged::Answer(Some(Box::new(Tagged { found, tags: has.tags, stored }))))
    }

    /// The versions that these tags have now.
    pub(super) async fn versions(&self, tags: impl Iterator<Item = &str>) -> Result<Versions> {
        let mut tags: Vec<&str> = tags.collect();
        tags.sort_unstable();
        tags.dedup();
        let ask = |tag: &&str| Command::new("GET").arg(self.keys.tag(tag));
        let commands: Vec<Command> = tags.iter().map(ask).collect();
        let answers = self.ask_all("cache.tags", commands, Effect::Read).await;
        let versions = tags.into_iter().zip(answers);
        versions.map(|(tag, answer)| Ok((tag.to_owned(), current(answer)?))).collect()
    }
}

/// The version of a tag from the answer to its `GET`.
fn current(answer: Result<Value>) -> Result<Option<TagVersion>> {
    Ok(bytes(answer?)?.as_deref().and_then(version))
}

/// Do all these tags still have their version?
pub(super) fn all_count(tags: &[(String, TagVersion)], versions: &Versions) -> bool {
    tags.iter().all(|(tag, version)| versions.get(tag) == Some(&Some(*version)))
}

enum Judged<'a> {
    Answer(Option<Box<Tagged>>),
    Again(Probe<'a>),
}
