//! `jarvis cache`: reads and changes the cache.

use std::io::IsTerminal;
use std::sync::Arc;

use base64::Engine as _;
use jarvis_core::cache::{Cache, CacheValue, Condition, Lifetime, SetOptions};
use jarvis_core::config::Config;
use jarvis_core::jarvis::{CacheServer, Jarvis};
use jarvis_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use super::{Context, shared_store};
use crate::args::{CacheCommand, CacheSetArgs};
use crate::exit::ExitStatus;
use crate::text::{self, counted};

pub(crate) async fn run(context: &Context, command: CacheCommand) -> Result<ExitStatus> {
    // Strict: a server that is down is an error here, not a miss.
    let jarvis = Jarvis::builder().with_source(context.source()).with_strict_cache().open()?;
    let config = jarvis.config();
    shared_store(&config.store.cache, "cache", "cached values")?;
    let commands =
        Commands { context, jarvis: &jarvis, config: &config, cache: jarvis.cache().await? };
    let status = context.wait_for("asking the cache", commands.run(command)).await?;
    jarvis.close().await?;
    Ok(status)
}

/// What every one of these commands needs.
struct Commands<'a> {
    context: &'a Context,
    jarvis: &'a Jarvis,
    config: &'a Config,
    cache: Arc<dyn Cache>,
}

impl Commands<'_> {
    async fn run(&self, command: CacheCommand) -> Result<ExitStatus> {
        match command {
            CacheCommand::Get { key } => self.get(&key).await,
            CacheCommand::Set(args) => self.set(args).await,
            CacheCommand::Delete { keys } => self.delete(keys).await,
            CacheCommand::Invalidate { tag: Some(tag), .. } => {
                self.cache.invalidate_tag(&tag).await?;
                let line = format!("all keys with tag {tag:?} deleted");
                self.confirm(&json!({ "tag": tag }), &line)
            }
            CacheCommand::Invalidate { pattern: Some(pattern), .. } => {
                let deleted = self.cache.invalidate_pattern(&pattern).await?;
                let answer = json!({ "pattern": pattern, "deleted": deleted });
                self.confirm(&answer, &format!("{} deleted", counted(deleted, "key")))
            }
            CacheCommand::Invalidate { .. } => {
                self.cache.flush().await?;
                let namespace = &self.config.cache.namespace;
                let answer = json!({ "namespace": namespace });
                self.confirm(&answer, &format!("all keys in namespace {namespace:?} deleted"))
            }
            CacheCommand::Stats => self.stats().await,
            CacheCommand::Incr { key, by, ttl } => {
                let sum = self.cache.increment(&key, by, ttl.map(Lifetime::For)).await?;
                let answer = json!({ "key": key, "value": sum });
                self.context.printer.print(&answer, |_, _| format!("{sum}\n"))?;
                Ok(ExitStatus::Done)
            }
        }
    }

    fn confirm(&self, answer: &impl Serialize, line: &str) -> Result<ExitStatus> {
        self.context.printer.confirm(answer, |_| format!("{line}\n"))?;
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
            (true, _) => (Condition::IfAbsent, "already exists"),
            (_, true) => (Condition::IfPresent, "does not exist"),
            _ => (Condition::Always, ""),
        };
        let mut options = SetOptions::new().with_condition(condition);
        options.lifetime = match args.ttl {
            Some(ttl) => Some(Lifetime::For(ttl)),
            None => args.persist.then_some(Lifetime::Unlimited),
        };
        options.tags = args.tags;
        if !self.cache.set(&args.key, value.into(), options).await? {
            let message = format!("key {:?} {unmet}; nothing was stored", args.key);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.confirm(&json!({ "key": args.key, "stored": true }), "stored")
    }

    async fn delete(&self, mut keys: Vec<String>) -> Result<ExitStatus> {
        keys.sort();
        keys.dedup();
        let deleted = self.cache.delete(&keys).await?;
        let missing = (keys.len() as u64).saturating_sub(deleted);
        let rest = if missing > 0 { format!(", {missing} not found") } else { String::new() };
        let line = format!("{} deleted{rest}", counted(deleted, "key"));
        self.confirm(&json!({ "deleted": deleted, "missing": missing }), &line)?;
        Ok(if missing > 0 { ExitStatus::Failed } else { ExitStatus::Done })
    }

    /// This process has not used the cache yet, so the statistics are the server's.
    async fn stats(&self) -> Result<ExitStatus> {
        let Some(server) = self.jarvis.cache_server().await? else {
            let message = "this cache has no server that keeps statistics";
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
    Error::new(ErrorKind::NotFound, format!("key {key:?} not found"))
}

/// The answer to `cache get` for a program.
#[derive(Debug, Serialize)]
struct Found<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Absent for a value without a time to live.
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
