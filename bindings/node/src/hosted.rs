//! JavaScript objects as probes, restarters and sinks.

use std::collections::HashMap;
use std::sync::Arc;

use jarvis_core::config::Section;
use jarvis_core::hosted::{HostedCall, HostedObject, LeftBehind, Running};
use jarvis_core::registry::Registry;
use jarvis_core::{Error, ErrorKind, Result, alert, health, restart};
use napi_derive::napi;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::bridge::Bridge;
use crate::foreign::Foreign;

/// The kind of backends that are an object: `type = "javascript"`, `via = "javascript"`.
const JAVASCRIPT: &str = "javascript";

/// A function that calls the methods of an object, and the methods that there are.
#[napi(object)]
#[derive(Debug, Deserialize)]
pub struct Offered {
    /// Called with the method and its argument.
    pub function: u32,
    /// By the core's names.
    pub methods: Vec<String>,
}

/// The backends that a program wrote in JavaScript.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    /// Objects, by the name in `object = "…"`.
    pub(crate) objects: Option<HashMap<String, Offered>>,
    /// Functions that make objects from their settings, by kind.
    pub(crate) probes: Option<HashMap<String, u32>>,
    pub(crate) restarters: Option<HashMap<String, u32>>,
    pub(crate) sinks: Option<HashMap<String, u32>>,
}

impl Backends {
    /// The core's registry with these added.
    pub(crate) fn registry(self, bridge: &Bridge, left_behind: &LeftBehind) -> Registry {
        let objects = self.objects.unwrap_or_default().into_iter();
        let objects = objects.map(|(name, offered)| {
            let function = Foreign::new(bridge.inbox(), offered.function);
            (name, Arc::new(Object { function, methods: offered.methods }))
        });
        let objects = Arc::new(objects.collect::<HashMap<_, _>>());
        let makers = |functions: Option<HashMap<String, u32>>| {
            let functions = functions.unwrap_or_default().into_iter();
            let made = functions.map(|(kind, function)| {
                let factory = Arc::new(Foreign::new(bridge.inbox(), function));
                (kind, Maker::Factory(factory))
            });
            let given = Maker::Given(Arc::clone(&objects));
            made.chain([(JAVASCRIPT.to_owned(), given)]).collect::<Vec<_>>()
        };
        let mut registry = Registry::with_defaults();
        for (kind, maker) in makers(self.probes) {
            let left = left_behind.clone();
            registry.probe(kind, move |section, context| {
                let object = maker.object(section)?;
                let probe = health::HostedProbe::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(probe))
            });
        }
        for (kind, maker) in makers(self.restarters) {
            let left = left_behind.clone();
            registry.restarter(kind, move |section, context| {
                let (object, clock) = (maker.object(section)?, context.clock.clone());
                Ok(Arc::new(restart::HostedRestarter::new(object, clock, left.clone())?))
            });
        }
        for (kind, maker) in makers(self.sinks) {
            let left = left_behind.clone();
            registry.sink(kind, move |section, context| {
                let object = maker.object(section)?;
                let sink = alert::HostedSink::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(sink))
            });
        }
        registry
    }
}

/// Where the object of a section comes from.
#[derive(Debug)]
enum Maker {
    Given(Arc<HashMap<String, Arc<Object>>>),
    Factory(Arc<Foreign>),
}

/// The keys of a section whose backend is an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    object: String,
}

impl Maker {
    fn object(&self, section: &Section) -> Result<Arc<dyn HostedObject>> {
        match self {
            Self::Given(objects) => {
                let Named { object } = section.parse()?;
                let found = objects.get(&object).ok_or_else(|| {
                    section.error("object", "there is no JavaScript object of this name")
                })?;
                Ok(Arc::new(Given(Arc::clone(found))))
            }
            Self::Factory(factory) => {
                let (factory, settings) = (Arc::clone(factory), section.parse()?);
                Ok(Arc::new(Made(Arc::new(Making { factory, settings, made: OnceCell::new() }))))
            }
        }
    }
}

/// A JavaScript object and its methods.
#[derive(Debug)]
struct Object {
    function: Foreign,
    methods: Vec<String>,
}

impl Object {
    async fn call(&self, method: &str, argument: &Value, running: Running) -> Result<Value> {
        if !self.has(method) {
            let message = format!("this object has no method `{method}`");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let answer =
            self.function.call(json!([method, argument]).to_string(), Some(running)).await?;
        serde_json::from_str(&answer).map_err(|error| {
            Error::new(ErrorKind::Internal, "the answer of a JavaScript method is not JSON")
                .with_source(error)
        })
    }

    fn has(&self, method: &str) -> bool {
        self.methods.iter().any(|has| has == method)
    }
}

/// An object that the program gave.
#[derive(Debug)]
struct Given(Arc<Object>);

impl HostedObject for Given {
    fn has(&self, method: &str) -> bool {
        self.0.has(method)
    }

    fn call(&self, method: &'static str, argument: Value, running: Running) -> HostedCall {
        let object = Arc::clone(&self.0);
        Box::pin(async move { object.call(method, &argument, running).await })
    }
}

/// An object that a factory makes at the first call. It can't be made earlier: JavaScript's thread is
/// the one that opens the handle, and would have to run the factory meanwhile.
#[derive(Debug)]
struct Made(Arc<Making>);

#[derive(Debug)]
struct Making {
    factory: Arc<Foreign>,
    settings: Value,
    made: OnceCell<Object>,
}

impl Making {
    async fn object(&self) -> Result<&Object> {
        let make = || async {
            let made = self.factory.call(json!([self.settings]).to_string(), None).await?;
            let Offered { function, methods } = serde_json::from_str(&made).map_err(|error| {
                Error::new(ErrorKind::Internal, "the JavaScript factory made no object")
                    .with_source(error)
            })?;
            Ok(Object { function: self.factory.sibling(function), methods })
        };
        self.made.get_or_try_init(make).await
    }
}

impl HostedObject for Made {
    fn has(&self, method: &str) -> bool {
        self.0.made.get().is_none_or(|object| object.has(method))
    }

    fn call(&self, method: &'static str, argument: Value, running: Running) -> HostedCall {
        let making = Arc::clone(&self.0);
        Box::pin(async move { making.object().await?.call(method, &argument, running).await })
    }
}
