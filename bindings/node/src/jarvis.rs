//! The handle.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use jarvis_core::config::{Config, Section, Source};
use jarvis_core::registry::Registry;
use jarvis_core::restart::Leaving;
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::alert::ForeignSink;
use crate::bridge::{Bridge, Place};
use crate::cache::Cache;
use crate::convert::Answer;
use crate::error::{Thrown, thrown};
use crate::events::Events;
use crate::foreign::{Foreign, Object};
use crate::health::{ForeignProbe, Health};
use crate::operator::Operator;
use crate::restart::ForeignRestarter;
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
    pub objects: Option<HashMap<String, u32>>,
    /// Functions that make probes of their settings, by `type`.
    pub probes: Option<HashMap<String, u32>>,
    /// Functions that make restarters of their settings, by `via`.
    pub restarters: Option<HashMap<String, u32>>,
    /// Functions that make alert sinks of their settings, by `type`.
    pub sinks: Option<HashMap<String, u32>>,
}

/// What a table of the configuration says when its backend is a JavaScript object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    object: String,
}

/// The kind of those backends: `type = "javascript"`, `via = "javascript"`.
const JAVASCRIPT: &str = "javascript";

type Functions = Option<HashMap<String, u32>>;

/// Adds what is written in JavaScript to the backends that a configuration may name.
fn registry(bridge: &Bridge, options: &mut OpenOptions) -> Registry {
    let held = |functions: &mut Functions| -> HashMap<String, Arc<Foreign>> {
        let functions = functions.take().unwrap_or_default().into_iter();
        functions.map(|(name, at)| (name, Arc::new(Foreign::new(bridge.shared(), at)))).collect()
    };
    let mut registry = Registry::with_defaults();
    let objects = Arc::new(held(&mut options.objects));
    let of = Arc::clone(&objects);
    registry.probe(JAVASCRIPT, move |section, _| Ok(Arc::new(ForeignProbe(named(&of, section)?))));
    let of = Arc::clone(&objects);
    registry.restarter(JAVASCRIPT, move |section, context| {
        Ok(Arc::new(ForeignRestarter::new(named(&of, section)?, context.clock.clone())))
    });
    registry.sink(JAVASCRIPT, move |section, context| {
        Ok(Arc::new(ForeignSink::new(named(&objects, section)?, context.clock.clone())))
    });
    for (kind, factory) in held(&mut options.probes) {
        registry
            .probe(kind, move |section, _| Ok(Arc::new(ForeignProbe(made(&factory, section)?))));
    }
    for (kind, factory) in held(&mut options.restarters) {
        registry.restarter(kind, move |section, context| {
            Ok(Arc::new(ForeignRestarter::new(made(&factory, section)?, context.clock.clone())))
        });
    }
    for (kind, factory) in held(&mut options.sinks) {
        registry.sink(kind, move |section, context| {
            Ok(Arc::new(ForeignSink::new(made(&factory, section)?, context.clock.clone())))
        });
    }
    registry
}

fn named(objects: &HashMap<String, Arc<Foreign>>, section: &Section) -> Result<Object> {
    let Named { object } = section.parse()?;
    let found = objects
        .get(&object)
        .ok_or_else(|| section.error("object", "no JavaScript object of this name was given"))?;
    Ok(Object::given(Arc::clone(found)))
}

fn made(factory: &Arc<Foreign>, section: &Section) -> Result<Object> {
    Ok(Object::later(Arc::clone(factory), section.parse()?))
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
        let registry = registry(bridge, &mut options);
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
        Ok(Self { jarvis, bridge: bridge.clone(), stop: CancellationToken::new() })
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
