//! What runs on the server: publishing, and reading the stream.

use std::sync::Arc;

use super::Shared;
use crate::events::envelope::Wire;
use crate::events::{Envelope, StreamPosition};
use crate::store::redis::{Effect, Script};
use crate::vocabulary::KeyPrefix;
use crate::{Error, ErrorKind, Result};

/// How far back an entry is looked for whose publisher got no answer.
const LOOK_BACK: usize = 1_000;

/// How many entries are read at once.
pub(super) const PAGE: usize = 200;

/// What is done when a message is published, for errors.
pub(super) const PUBLISHING: &str = "events.publish";

/// KEYS: head, stream. ARGV: a new epoch, history, channel, how far to look back for the names (0: they
/// are new), and of each message its name and its envelope. Gives the epoch and the sequences.
///
/// A head that was evicted or deleted begins a new epoch, with a stream that is empty: numbers of
/// the old one would be refused.
static PUBLISH: Script = Script::new(
    r#"
local head = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local epoch, before, known, sequences = head[1], head[2] or '', {}, {}
if epoch and ARGV[4] ~= '0' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[4])) do
    known[entry[2][2]] = string.match(entry[1], '^%d+')
  end
end
if not epoch then
  epoch = ARGV[1]
  before = ''
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
for at = 5, #ARGV, 2 do
  local name = ARGV[at]
  local sequence = known[name]
  if not sequence then
    sequence = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'sequence', 1))
    local text = '{"stream":{"epoch":"' .. epoch .. '","sequence":' .. sequence .. '},"previous":"'
      .. before .. '",' .. string.sub(ARGV[at + 1], 2)
    redis.call('HSET', KEYS[1], 'last', name)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], sequence .. '-0', 'i', name, 'e', text)
    redis.call('PUBLISH', ARGV[3], text)
    before = name
  end
  sequences[#sequences + 1] = sequence
end
return {epoch, sequences}
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
    pub(super) fn new(prefix: &KeyPrefix) -> Self {
        Self {
            both: [format!("{{{prefix}:bus}}:head"), format!("{{{prefix}:bus}}:stream")],
            channel: format!("{prefix}:broadcasts"),
        }
    }
}

/// 64 random bits as 16 hexadecimal digits.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            ErrorKind::Exhausted,
            format!("the operating system provided no random numbers: {error}"),
        )
    })?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// Are the entries new, or may they be in the stream already?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    New,
    LookUp,
}

/// An envelope as it is published.
#[derive(Debug)]
pub(super) struct Post {
    name: String,
    pub(super) text: String,
}

impl Post {
    pub(super) fn new(envelope: &Envelope) -> Result<Self> {
        let text = serde_json::to_string(envelope).map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to serialize an event as JSON")
                .with_operation(PUBLISHING)
                .with_source(error)
        })?;
        Ok(Self { name: Name::of(envelope).to_string(), text })
    }
}

/// Appends envelopes to the stream and publishes them, in one step and in their order.
pub(super) async fn publish(
    shared: &Shared,
    posts: &[Post],
    place: Place,
) -> Result<Vec<StreamPosition>> {
    let mut call = PUBLISH
        .call(&shared.keys.both)
        .arg(random()?)
        .arg(shared.history)
        .arg(&shared.keys.channel)
        .arg(if place == Place::LookUp { LOOK_BACK } else { 0 });
    for Post { name, text } in posts {
        call = call.arg(name).arg(text);
    }
    let (epoch, sequences): (String, Vec<u64>) =
        shared.redis.query(PUBLISHING, call, Effect::Write).await?;
    let epoch: Arc<str> = epoch.into();
    let position = |sequence| StreamPosition::new(Arc::clone(&epoch), sequence);
    Ok(sequences.into_iter().map(position).collect())
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

impl Entry {
    /// `None` for what is not ours: others may publish on the channel too.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(text)
            .inspect_err(|error| tracing::debug!(%error, "a message on the bus's channel is not from JARVIS"))
            .ok()?;
        let previous = Name::read(wire.previous.as_deref()?);
        let envelope = Envelope::from(wire);
        let position = envelope.stream.as_ref()?;
        let (epoch, sequence) = (Arc::clone(&position.epoch), position.sequence);
        Some(Self { envelope: Arc::new(envelope), epoch, sequence, previous })
    }
}
