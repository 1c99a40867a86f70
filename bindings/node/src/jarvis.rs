//! [`Jarvis`]: the handle.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use jarvis_core::config::{Config, Source};
use jarvis_core::hosted::LeftBehind;
use jarvis_core::restart::Leaving;
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::cache::Cache;
use crate::convert::{Answer, millis};
use crate::error::{Thrown, thrown};
use crate::events::Events;
use crate::health::Health;
use crate::hosted::{Backends, Offered};
use crate::operator::Operator;
use crate::session::Sessions;
use crate::web::{self, RequestMeter};

/// How a handle is opened.
#[napi(object)]
#[derive(Debug)]
pub struct OpenOptions {
    /// A configuration file. Without this and `config`, the CLI's search for one applies.
    pub file: Option<String>,
    /// A configuration as the JSON of its tables, instead of a file.
    pub config: Option<String>,
    /// More tables, as JSON, beside those of the file.
    pub extra: Option<String>,
    /// Overrides all of `[store]`, as far as the backend can hold it.
    pub store: Option<String>,
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

fn source(options: OpenOptions) -> Result<Source> {
    let OpenOptions { file, config, extra, store, sessions, cache, bus, state_dir, mode, .. } =
        options;
    // Without a file the configuration is empty: the services that the CLI has then are not ours.
    let mut source = Source::from_environment().with_fallback("");
    if let Some(store) = store {
        source = source.with_store(&store);
    }
    for (key, value, option) in [
        ("store.session", sessions, "the option sessions"),
        ("store.cache", cache, "the option cache"),
        ("store.bus", bus, "the option bus"),
        ("jarvis.state_dir", state_dir, "the option stateDir"),
        ("jarvis.mode", mode, "the option mode"),
    ] {
        if let Some(value) = value {
            source = source.with_setting(key, value, option);
        }
    }
    if let Some(config) = config {
        return source.with_json(&config);
    }
    if let Some(file) = file {
        source = source.with_file(PathBuf::from(file));
    }
    match extra {
        Some(extra) => beside(source, &extra),
        None => Ok(source),
    }
}

/// Adds tables to those of the file that `source` leads to.
fn beside(source: Source, extra: &str) -> Result<Source> {
    let mut tables: serde_json::Map<String, serde_json::Value> = serde_json::from_str(extra)
        .map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "the tables are not a JSON object")
                .with_source(error)
        })?;
    // A file that can't be read is reported when the handle opens.
    let Some(found) = Config::inspect(&source).0 else { return Ok(source) };
    if tables.is_empty() {
        return Ok(source);
    }
    if let Some(file) = found.file() {
        let file = std::path::absolute(file)?.display().to_string();
        tables.insert("include".to_owned(), vec![file].into());
    }
    source.with_json(&serde_json::Value::Object(tables).to_string())
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
        // A bus on a server needs the runtime when it is made.
        let _entered = match Config::inspect(&source).0 {
            Some(config) if Place::of(registry.localities(&config).bus) != Place::Here => {
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
        let place = Place::of(self.jarvis.localities().sessions);
        Sessions::new(self.jarvis.clone(), self.bridge.clone(), place)
    }

    /// The cache.
    #[napi]
    pub fn cache(&self) -> Cache {
        let place = Place::of(self.jarvis.localities().cache);
        Cache::new(self.jarvis.clone(), self.bridge.clone(), place)
    }

    /// The events.
    #[napi]
    pub fn events(&self) -> Events {
        let place = Place::of(self.jarvis.localities().bus);
        Events::new(&self.jarvis, self.bridge.clone(), place)
    }

    /// The state of the services.
    #[napi]
    pub fn health(&self) -> Health {
        Health::new(self.jarvis.clone(), self.bridge.clone())
    }

    /// The commands of a person.
    #[napi]
    pub fn operator(&self) -> Operator {
        Operator::new(self.jarvis.clone(), self.bridge.clone())
    }

    /// The file that the configuration came from, where it came from one.
    #[napi(getter)]
    pub fn file(&self) -> Option<String> {
        self.jarvis.config().file().map(|file| file.display().to_string())
    }

    /// How many calls of JavaScript objects go on although their deadline has passed.
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

    /// Ends `run`, which resolves when everything is written and closed.
    #[napi]
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the background work of the stores.
    #[napi(ts_return_type = "null | number")]
    pub fn close(&self) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        let place = Place::of(jarvis.localities().cache);
        self.bridge.answer(place, async move { Ok(jarvis.close().await?) })
    }

    /// The answer of a health route, as JSON. `max_age` is how old, in milliseconds, a round of
    /// probes may be.
    #[napi(ts_return_type = "string | number")]
    pub fn health_answer(&self, services: Vec<String>, max_age: f64) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move {
            let services: Vec<ServiceId> =
                services.into_iter().map(ServiceId::new).collect::<Result<_>>()?;
            Ok(web::text(&jarvis.health_answer(&services, millis(max_age)?).await?))
        })
    }

    /// The answer of a liveness route, as JSON.
    #[napi]
    pub fn liveness_answer(&self) -> String {
        web::text(&self.jarvis.liveness_answer())
    }

    /// Publishes the events of a request meter; false when there were none.
    #[napi(ts_return_type = "boolean | number")]
    pub fn publish_requests(&self, meter: &RequestMeter) -> Result<Answer, Thrown> {
        let (jarvis, meter) = (self.jarvis.clone(), Arc::clone(meter.meter()));
        let place = Place::of(jarvis.localities().bus);
        self.bridge.answer(place, async move { Ok(jarvis.publish_requests(&meter).await?) })
    }
}
