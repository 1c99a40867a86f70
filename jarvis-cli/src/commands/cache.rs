//! `jarvis cache`: what may be forgotten.

use std::io::IsTerminal;
use std::sync::Arc;

use base64::Engine as _;
use jarvis_core::cache::{Cache, CacheValue, Condition, Lifetime, SetOptions};
use jarvis_core::config::Config;
use jarvis_core::jarvis::{CacheServer, Jarvis};
use jarvis_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use super::{Context, shared_store, with_progress};
use crate::args::{CacheCommand, CacheSetArgs};
use crate::exit::ExitStatus;
use crate::text::{self, counted};

pub(crate) async fn run(context: &Context, command: CacheCommand) -> Result<ExitStatus> {
    // A miss and a server that is gone are two answers here.
    let jarvis = Jarvis::builder().with_source(context.source()).with_strict_cache().open()?;
    let config = jarvis.config();
    shared_store(&config.store.cache, "cache", "cached values")?;
    let room = Room { context, jarvis: &jarvis, config: &config, cache: jarvis.cache().await? };
    let status = with_progress("asking the cache", room.run(command)).await?;
    jarvis.close().await?;
    Ok(status)
}

struct Room<'a> {
    context: &'a Context,
    jarvis: &'a Jarvis,
    config: &'a Config,
    cache: Arc<dyn Cache>,
}

impl Room<'_> {
    async fn run(&self, command: CacheCommand) -> Result<ExitStatus> {
        match command {
            CacheCommand::Get { key } => self.get(&key).await,
            CacheCommand::Set(args) => self.set(args).await,
            CacheCommand::Del { keys } => self.delete(keys).await,
            CacheCommand::Invalidate { tag: Some(tag), .. } => {
                self.cache.invalidate_tag(&tag).await?;
                self.say(&json!({ "tag": tag }), &format!("all with the tag {tag:?} is gone"))
            }
            CacheCommand::Invalidate { pattern: Some(pattern), .. } => {
                let deleted = self.cache.invalidate_pattern(&pattern).await?;
                let answer = json!({ "pattern": pattern, "deleted": deleted });
                self.say(&answer, &format!("{} deleted", counted(deleted, "key")))
            }
            CacheCommand::Invalidate { .. } => {
                self.cache.flush().await?;
                let namespace = &self.config.cache.namespace;
                let answer = json!({ "namespace": namespace });
                self.say(&answer, &format!("all in the namespace {namespace:?} is gone"))
            }
            CacheCommand::Stats => self.stats().await,
            CacheCommand::Incr { key, by, ttl } => {
                let sum = self.cache.increment(&key, by, ttl.map(Lifetime::For)).await?;
                self.say(&json!({ "key": key, "value": sum }), &sum.to_string())
            }
        }
    }

    fn say(&self, answer: &impl Serialize, line: &str) -> Result<ExitStatus> {
        self.context.printer.print(answer, |_, _| format!("{line}\n"))?;
        Ok(ExitStatus::Done)
    }

    async fn get(&self, key: &str) -> Result<ExitStatus> {
        let Some(value) = self.cache.get(key).await? else {
            return Err(no_such(key));
        };
        let printer = self.context.printer;
        if printer.is_text() {
            printer.bytes(&value)?;
            if std::io::stdout().is_terminal() {
                printer.raw("\n")?;
            }
            return Ok(ExitStatus::Done);
        }
        let lifetime = self.cache.lifetime(key).await?;
        printer.print(&Found::new(key, &value, lifetime), |_, _| String::new())?;
        Ok(ExitStatus::Done)
    }

    async fn set(&self, args: CacheSetArgs) -> Result<ExitStatus> {
        let value = args.value.bytes(self.config.cache.max_value_bytes)?;
        let (condition, unmet) = match (args.nx, args.xx) {
            (true, _) => (Condition::IfAbsent, "there already"),
            (_, true) => (Condition::IfPresent, "not there"),
            _ => (Condition::Always, ""),
        };
        let mut options = SetOptions::new().with_condition(condition);
        options.lifetime = match args.ttl {
            Some(ttl) => Some(Lifetime::For(ttl)),
            None => args.persist.then_some(Lifetime::Unlimited),
        };
        options.tags = args.tags;
        if !self.cache.set(&args.key, value.into(), options).await? {
            let message = format!("{:?} is {unmet}; nothing was stored", args.key);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.say(&json!({ "key": args.key, "stored": true }), "stored")
    }

    async fn delete(&self, mut keys: Vec<String>) -> Result<ExitStatus> {
        keys.sort();
        keys.dedup();
        let deleted = self.cache.delete(&keys).await?;
        let missing = (keys.len() as u64).saturating_sub(deleted);
        let rest = if missing > 0 { format!("; {missing} not there") } else { String::new() };
        let line = format!("{} deleted{rest}", counted(deleted, "key"));
        self.say(&json!({ "deleted": deleted, "missing": missing }), &line)?;
        Ok(if missing > 0 { ExitStatus::Failed } else { ExitStatus::Done })
    }

    /// This process has seen nothing yet: what there is to know, the server knows.
    async fn stats(&self) -> Result<ExitStatus> {
        let Some(server) = self.jarvis.cache_server().await? else {
            let message = "the server of this cache tells nothing of itself";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let namespace = &self.config.cache.namespace;
        let answer = Stats { namespace, server };
        self.context.printer.print(&answer, |answer, colored| {
            text::cache::stats(answer.namespace, &answer.server, colored)
        })?;
        Ok(ExitStatus::Done)
    }
}

/// The answer to `cache stats`.
#[derive(Debug, Serialize)]
struct Stats<'a> {
    namespace: &'a str,
    server: CacheServer,
}

fn no_such(key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {key:?} in the cache"))
}

/// The answer to `cache get` for a program.
#[derive(Debug, Serialize)]
struct Found<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Absent when it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u128>,
}

impl<'a> Found<'a> {
    fn new(key: &'a str, value: &'a CacheValue, lifetime: Option<Lifetime>) -> Self {
        let text = value.as_str();
        let encode = || base64::engine::general_purpose::STANDARD.encode(value);
        let ttl_ms = match lifetime {
            Some(Lifetime::For(ttl)) => Some(ttl.as_millis()),
            _ => None,
        };
        Self { key, value: text, value_base64: text.is_none().then(encode), ttl_ms }
    }
}
