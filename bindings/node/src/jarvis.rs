//! The handle.

use std::collections::HashMap;
use std::path::PathBuf;

use jarvis_core::config::{Config, Source};
use jarvis_core::hosted::LeftBehind;
use jarvis_core::restart::Leaving;
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::cache::Cache;
use crate::convert::Answer;
use crate::error::{Thrown, thrown};
use crate::events::Events;
use crate::health::Health;
use crate::hosted::{Backends, Offered};
use crate::operator::Operator;
use crate::session::Sessions;

/// How a handle is opened.
#[napi(object)]
#[derive(Debug)]
pub struct OpenOptions {
    /// A configuration file. Without it and `config`, one is looked for as the CLI does.
    pub file: Option<String>,
    /// A configuration as the JSON of its tables, instead of a file.
    pub config: Option<String>,
    /// More tables, as JSON, beside those of the file.
    pub extra: Option<String>,
    /// Overrides `[store] session`.
    pub sessions: Option<String>,
    /// Overrides `[store] cache`.
    pub cache: Option<String>,
    /// Overrides `[store] bus`.
    pub bus: Option<String>,
    /// Overrides `[jarvis] state_dir`.
    pub state_dir: Option<String>,
    /// Overrides `[jarvis] mode`.
    pub mode: Option<String>,
    /// JavaScript objects that stand for backends, by the name in `object = "…"`.
    pub objects: Option<HashMap<String, Offered>>,
    /// Functions that make probes of their settings, by `type`.
    pub probes: Option<HashMap<String, u32>>,
    /// Functions that make restarters of their settings, by `via`.
    pub restarters: Option<HashMap<String, u32>>,
    /// Functions that make alert sinks of their settings, by `type`.
    pub sinks: Option<HashMap<String, u32>>,
}

fn no_table(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("the configuration is no table: {error}"))
}

fn table_of(json: &str) -> Result<toml::Table> {
    serde_json::from_str(json).map_err(no_table)
}

fn text_of(tables: &toml::Table) -> Result<String> {
    toml::to_string(tables).map_err(no_table)
}

fn source(options: OpenOptions) -> Result<Source> {
    let OpenOptions { file, config, extra, sessions, cache, bus, state_dir, mode, .. } = options;
    let mut source = Source::from_environment();
    for (name, value) in [
        ("JARVIS_STORE__SESSION", sessions),
        ("JARVIS_STORE__CACHE", cache),
        ("JARVIS_STORE__BUS", bus),
        ("JARVIS_JARVIS__STATE_DIR", state_dir),
        ("JARVIS_JARVIS__MODE", mode),
    ] {
        if let Some(value) = value {
            source = source.with_variable(name, value);
        }
    }
    if let Some(config) = config {
        return Ok(source.with_text(text_of(&table_of(&config)?)?));
    }
    if let Some(file) = file {
        source = source.with_file(PathBuf::from(file));
    }
    beside(source, extra.as_deref().unwrap_or("{}"))
}

/// The file that `source` leads to with more tables beside it. Without a file there are those
/// alone, not the services that the command line knows then.
fn beside(source: Source, extra: &str) -> Result<Source> {
    let mut tables = table_of(extra)?;
    // What can't be read is told when it is opened.
    let Some(found) = Config::inspect(&source).0 else { return Ok(source) };
    match found.file() {
        Some(_) if tables.is_empty() => return Ok(source),
        Some(file) => {
            let file = std::path::absolute(file)?.display().to_string();
            tables.insert("include".to_owned(), vec![file].into());
        }
        None => {}
    }
    Ok(source.with_text(text_of(&tables)?))
}

/// The handle of a configuration. Opening it starts and connects nothing.
#[napi]
#[derive(Debug)]
pub struct Jarvis {
    jarvis: jarvis_core::Jarvis,
    bridge: Bridge,
    /// Ends `run`.
    stop: CancellationToken,
    left_behind: LeftBehind,
}

/// What lies in memory needs no runtime.
fn place(scheme: &str) -> Place {
    if scheme == "memory" { Place::Here } else { Place::Runtime }
}

#[napi]
impl Jarvis {
    /// Opens a handle.
    #[napi(factory)]
    pub fn open(bridge: &Bridge, mut options: OpenOptions) -> Result<Self, Thrown> {
        let backends = Backends {
            objects: options.objects.take(),
            probes: options.probes.take(),
            restarters: options.restarters.take(),
            sinks: options.sinks.take(),
        };
        let left_behind = LeftBehind::new();
        let registry = backends.registry(bridge, &left_behind);
        let source = source(options).map_err(thrown)?;
        // A bus on a server is made of the runtime.
        let _entered = match Config::inspect(&source).0 {
            Some(config) if place(config.store.bus.scheme()) == Place::Runtime => {
                Some(crate::runtime::get().map_err(thrown)?.enter())
            }
            _ => None,
        };
        let builder = jarvis_core::Jarvis::builder().with_registry(registry);
        let jarvis = builder.with_source(source).open().map_err(thrown)?;
        Ok(Self { jarvis, bridge: bridge.clone(), stop: CancellationToken::new(), left_behind })
    }

    /// The sessions.
    #[napi]
    pub fn sessions(&self) -> Sessions {
        let place = place(self.jarvis.config().store.session.scheme());
        Sessions::new(self.jarvis.clone(), self.bridge.clone(), place)
    }

    /// The cache.
    #[napi]
    pub fn cache(&self) -> Cache {
        let place = place(self.jarvis.config().store.cache.scheme());
        Cache::new(self.jarvis.clone(), self.bridge.clone(), place)
    }

    /// The events.
    #[napi]
    pub fn events(&self) -> Events {
        let place = place(self.jarvis.config().store.bus.scheme());
        Events::new(&self.jarvis, self.bridge.clone(), place)
    }

    /// What is well.
    #[napi]
    pub fn health(&self) -> Health {
        Health::new(self.jarvis.clone(), self.bridge.clone())
    }

    /// What a person asks for.
    #[napi]
    pub fn operator(&self) -> Operator {
        Operator::new(self.jarvis.clone(), self.bridge.clone())
    }

    /// The file that the configuration came from, where it came from one.
    #[napi(getter)]
    pub fn file(&self) -> Option<String> {
        self.jarvis.config().file().map(|file| file.display().to_string())
    }

    /// How many calls of JavaScript objects nobody waits for any more that have not ended.
    #[napi(getter)]
    pub fn left_behind(&self) -> u32 {
        u32::try_from(self.left_behind.count()).unwrap_or(u32::MAX)
    }

    /// Supervises until `stop()`.
    #[napi(ts_return_type = "null | number")]
    pub fn run(&self) -> Result<Answer, Thrown> {
        let (jarvis, stop) = (self.jarvis.clone(), self.stop.clone());
        self.bridge.answer(Place::Runtime, async move {
            let until = async {
                stop.cancelled().await;
                Leaving::Terminated
            };
            Ok(Box::pin(jarvis.run(until)).await?)
        })
    }

    /// Ends `run`, which resolves when all is in order.
    #[napi]
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends what goes on behind the stores.
    #[napi(ts_return_type = "null | number")]
    pub fn close(&self) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        let place = place(jarvis.config().store.cache.scheme());
        self.bridge.answer(place, async move { Ok(jarvis.close().await?) })
    }
}
