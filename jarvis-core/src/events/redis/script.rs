//! What runs on the server: publishing, and reading the stream.

use std::sync::Arc;

use serde::Deserialize;

use super::Shared;
use crate::events::{Envelope, StreamPosition};
use crate::store::redis::{Effect, Script};
use crate::{Error, ErrorKind, Result};

/// How far back an entry is looked for whose publisher got no answer.
const LOOK_BACK: usize = 1_000;

/// How many entries are read at once.
pub(super) const PAGE: usize = 200;

/// KEYS: head, stream. ARGV: a new epoch, the name, the envelope, history, channel, how far to
/// look back for the name (0: it is new). Gives epoch and sequence.
///
/// A head that was evicted or deleted begins a new epoch, with a stream that is empty: numbers of
/// the old one would be refused.
static PUBLISH: Script = Script::new(
    r#"
local head = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local epoch, before = head[1], head[2] or ''
if epoch and ARGV[6] ~= '0' then
  local known = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[6])
  for _, entry in ipairs(known) do
    if entry[2][2] == ARGV[2] then
      return {epoch, string.match(entry[1], '^%d+')}
    end
  end
end
if not epoch then
  epoch = ARGV[1]
  before = ''
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
local sequence = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'sequence', 1))
local text = '{"stream":{"epoch":"' .. epoch .. '","sequence":' .. sequence .. '},"previous":"'
  .. before .. '",' .. string.sub(ARGV[3], 2)
redis.call('HSET', KEYS[1], 'last', ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], sequence .. '-0', 'i', ARGV[2], 'e', text)
redis.call('PUBLISH', ARGV[5], text)
return {epoch, sequence}
"#,
);

/// KEYS: head, stream. ARGV: from which sequence, how many (0: none). Gives epoch, sequence, the
/// name of the newest entry, and the entries.
static READ: Script = Script::new(
    r#"
local head = redis.call('HMGET', KEYS[1], 'epoch', 'sequence', 'last')
local texts = {}
if ARGV[2] ~= '0' then
  for i, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2])) do
    texts[i] = entry[2][4]
  end
end
return {head[1], head[2], head[3], texts}
"#,
);

/// Where everything is.
#[derive(Debug)]
pub(super) struct Keys {
    both: [String; 2],
    pub(super) channel: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            both: [format!("{{{prefix}:bus}}:head"), format!("{{{prefix}:bus}}:stream")],
            channel: format!("{prefix}:broadcasts"),
        }
    }
}

/// 64 random bits as 16 hexadecimal digits.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Exhausted, format!("no random numbers: {error}")))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// Is the entry new, or may it be in the stream already?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    New,
    LookUp,
}

/// Appends an envelope to the stream and publishes it.
pub(super) async fn publish(
    shared: &Shared,
    envelope: &Envelope,
    place: Place,
) -> Result<StreamPosition> {
    let operation = "events.publish";
    let text = serde_json::to_string(envelope).map_err(|error| {
        Error::new(ErrorKind::Internal, "an event has no JSON form")
            .with_operation(operation)
            .with_source(error)
    })?;
    let call = PUBLISH
        .call(&shared.keys.both)
        .arg(random()?)
        .arg(Name::of(envelope).to_string())
        .arg(text)
        .arg(shared.history)
        .arg(&shared.keys.channel)
        .arg(if place == Place::LookUp { LOOK_BACK } else { 0 });
    let (epoch, sequence): (String, u64) =
        shared.redis.query(operation, call, Effect::Write).await?;
    Ok(StreamPosition::new(epoch, sequence))
}

/// Where the stream stands; `None` when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: Arc<str>,
    pub(super) sequence: u64,
    /// The name of the newest entry.
    pub(super) last: Option<Name>,
}

/// What a read of the stream gave.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) head: Option<Head>,
    /// In order.
    pub(super) entries: Vec<Entry>,
    /// Were there no more?
    pub(super) complete: bool,
}

pub(super) async fn head(shared: &Shared) -> Result<Option<Head>> {
    Ok(read(shared, 0, 0).await?.head)
}

/// The entries from this sequence on, at most [`PAGE`].
pub(super) async fn page(shared: &Shared, from: u64) -> Result<Page> {
    read(shared, from, PAGE).await
}

type Answer = (Option<String>, Option<u64>, Option<String>, Vec<Vec<u8>>);

async fn read(shared: &Shared, from: u64, count: usize) -> Result<Page> {
    let call = READ.call(&shared.keys.both).arg(from).arg(count);
    let answer = shared.redis.query("events.read", call, Effect::Read).await?;
    let (epoch, sequence, last, texts): Answer = answer;
    let head = epoch.map(|epoch| Head {
        epoch: epoch.into(),
        sequence: sequence.unwrap_or(0),
        last: last.as_deref().and_then(Name::read),
    });
    let complete = texts.len() < count;
    Ok(Page {
        head,
        entries: texts.iter().filter_map(|text| Entry::read(text)).collect(),
        complete,
    })
}

/// Names an entry: `<instance>:<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    instance: Arc<str>,
    sequence: u64,
}

impl Name {
    pub(super) fn of(envelope: &Envelope) -> Self {
        Self { instance: Arc::clone(&envelope.instance), sequence: envelope.sequence }
    }

    fn read(text: &str) -> Option<Self> {
        let (instance, sequence) = text.rsplit_once(':')?;
        Some(Self { instance: instance.into(), sequence: sequence.parse().ok()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.instance, self.sequence)
    }
}

/// An entry of the stream.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) envelope: Arc<Envelope>,
    pub(super) epoch: Arc<str>,
    pub(super) sequence: u64,
    /// The entry before it; `None` for the first of an epoch.
    pub(super) previous: Option<Name>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    previous: std::borrow::Cow<'a, str>,
}

impl Entry {
    /// `None` for what is not ours: others may publish on the channel too.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let read = || -> serde_json::Result<(Envelope, Link<'_>)> {
            Ok((serde_json::from_slice(text)?, serde_json::from_slice(text)?))
        };
        let (envelope, link) = read()
            .inspect_err(|error| tracing::debug!(%error, "something else is on the bus's channel"))
            .ok()?;
        let position = envelope.stream.as_ref()?;
        let (epoch, sequence) = (Arc::clone(&position.epoch), position.sequence);
        let previous = Name::read(&link.previous);
        Some(Self { envelope: Arc::new(envelope), epoch, sequence, previous })
    }
}
