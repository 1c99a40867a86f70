//! The shared client of [`store::redis`](base::store::redis), laid open for tests and benches:
//! backends use it through their traits.

use redis::Value;

use base::Result;
use base::store::redis::{Command, Effect, Event, Redis, Script, Subscription};

const OPERATION: &str = "testkit.redis";

/// May a command be sent again when its answer is lost?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing.
    Read,
    /// No.
    Write,
    /// Twice is the same as once.
    Idempotent,
}

impl Repeat {
    const fn effect(self) -> Effect {
        match self {
            Self::Read => Effect::Read,
            Self::Write => Effect::Write,
            Self::Idempotent => Effect::Idempotent,
        }
    }
}

fn command(words: &[&str]) -> Command {
    let (name, arguments) = words.split_first().unwrap_or((&"PING", &[]));
    arguments.iter().fold(Command::new(name), |command, word| command.arg(*word))
}

/// What a server answered, as text; lists are joined with spaces.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Nil => return None,
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(values) | Value::Set(values) => {
            let texts: Vec<String> = values.iter().map(|it| text(it).unwrap_or_default()).collect();
            texts.join(" ")
        }
        other => format!("{other:?}"),
    })
}

/// Sends one command.
///
/// # Errors
/// What the client makes of it.
pub async fn call(redis: &Redis, words: &[&str], repeat: Repeat) -> Result<Option<String>> {
    let answer: Value = redis.query(OPERATION, command(words), repeat.effect()).await?;
    Ok(text(&answer))
}

/// Sends commands at once.
pub async fn pipeline(
    redis: &Redis,
    commands: &[&[&str]],
    repeat: Repeat,
) -> Vec<Result<Option<String>>> {
    let commands: Vec<Command> = commands.iter().map(|words| command(words)).collect();
    let answers = redis.pipeline::<Value>(OPERATION, &commands, repeat.effect()).await;
    answers.into_iter().map(|answer| answer.map(|value| text(&value))).collect()
}

/// Adds to a counter with a script; what it is then.
///
/// # Errors
/// What the client makes of it.
pub async fn add_by_script(redis: &Redis, key: &str, amount: i64) -> Result<i64> {
    static ADD: Script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    redis.query(OPERATION, ADD.call(&[key]).arg(amount), Effect::Write).await
}

/// Removes every key that matches a pattern, on every master; how many there were.
///
/// # Errors
/// What the client makes of it.
pub async fn remove_all(redis: &Redis, pattern: &str) -> Result<u64> {
    let mut removed = 0;
    for master in redis.masters(OPERATION).await? {
        let mut cursor = 0;
        loop {
            let (next, keys) = redis.scan(&master, OPERATION, (cursor, 1_000), pattern).await?;
            removed += redis.unlink(OPERATION, &keys).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(removed)
}

/// The server's clock, in milliseconds since 1970, and its version.
///
/// # Errors
/// What the client makes of it.
pub async fn clock_and_version(redis: &Redis) -> Result<(i64, String)> {
    Ok((redis.now(OPERATION).await?.millis(), redis.version(OPERATION).await?))
}

/// What a subscription tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerEvent {
    /// It is in force (again).
    Restored,
    /// The connection is gone, and why.
    Lost(String),
    /// Channel and payload.
    Message(String, String),
    /// So many messages were left out.
    Dropped(u64),
}

/// A subscription.
#[derive(Debug)]
pub struct Listener(Subscription);

impl Listener {
    /// The next thing it tells.
    pub async fn next(&mut self) -> ListenerEvent {
        match self.0.next().await {
            Event::Restored => ListenerEvent::Restored,
            Event::Lost(error) => ListenerEvent::Lost(error.to_string()),
            Event::Message { channel, payload } => {
                ListenerEvent::Message(channel, String::from_utf8_lossy(&payload).into_owned())
            }
            Event::Dropped(count) => ListenerEvent::Dropped(count),
        }
    }
}

/// Subscribes to channels and patterns, keeping at most `capacity` events for a slow reader.
///
/// # Errors
/// Outside of a tokio runtime.
pub fn subscribe(
    redis: &Redis,
    channels: &[&str],
    patterns: &[&str],
    capacity: usize,
) -> Result<Listener> {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    redis.subscribe(&owned(channels), &owned(patterns), capacity).map(Listener)
}
