//! Python objects as probes, restarters and sinks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::config::Section;
use jarvis_core::hosted::{HostedCall, HostedObject, LeftBehind, METHODS, Running};
use jarvis_core::registry::{FactoryContext, Registry};
use jarvis_core::{alert, health, restart};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde_json::Value;

use crate::convert;
use crate::host::{Arguments, Callback, LastUse};

/// How long a factory may take while the configuration is reloaded.
const FACTORY_DEADLINE: Duration = Duration::from_secs(10);

/// A Python object and the methods that it has.
struct Object {
    name: String,
    methods: HashMap<&'static str, Arc<Callback>>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.name)
    }
}

impl Object {
    fn new(object: &Bound<'_, PyAny>, last_use: &Arc<LastUse>) -> PyResult<Self> {
        let mut methods = HashMap::new();
        for name in METHODS {
            let Some(method) = object.getattr_opt(name)?.filter(Bound::is_callable) else {
                continue;
            };
            methods.insert(name, Callback::of_method(&method, last_use)?);
        }
        // A probe may be a bare function.
        if methods.is_empty() && object.is_callable() {
            methods.insert("probe", Callback::of_method(object, last_use)?);
        }
        Ok(Self { name: object.get_type().name()?.to_string(), methods })
    }
}

impl HostedObject for Object {
    fn has(&self, method: &str) -> bool {
        self.methods.contains_key(method)
    }

    fn call(&self, method: &'static str, argument: Value, running: Running) -> HostedCall {
        let Some(method) = self.methods.get(method).cloned() else {
            let missing = format!("{} has no method {method}", self.name);
            return Box::pin(async {
                Err(jarvis_core::Error::new(jarvis_core::ErrorKind::Unsupported, missing))
            });
        };
        let arguments: Arguments = Box::new(move |py| {
            // An empty request is no argument.
            if argument.as_object().is_some_and(serde_json::Map::is_empty) {
                return Ok(PyTuple::empty(py).unbind());
            }
            let argument = convert::plain(py, &argument)?;
            Ok((argument,).into_pyobject(py)?.unbind())
        });
        Box::pin(method.call(arguments, move |answer| {
            drop(running);
            value(&answer)
        }))
    }
}

/// An answer as JSON.
fn value(answer: &Bound<'_, PyAny>) -> PyResult<Value> {
    let text = convert::to_json(answer)?;
    serde_json::from_str(&text).map_err(|error| crate::error::invalid(error.to_string()))
}

/// The kinds of backends that the program adds, by name.
pub(crate) struct Kinds {
    pub(crate) probes: Vec<(String, Py<PyAny>)>,
    pub(crate) restarters: Vec<(String, Py<PyAny>)>,
    pub(crate) sinks: Vec<(String, Py<PyAny>)>,
}

impl Kinds {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.probes, &self.restarters, &self.sinks].iter().all(|kinds| kinds.is_empty())
    }

    /// The core's registry with these kinds added.
    pub(crate) fn registry(
        &self,
        py: Python<'_>,
        last_use: &Arc<LastUse>,
        left_behind: &LeftBehind,
    ) -> PyResult<Registry> {
        let mut registry = Registry::with_defaults();
        for (kind, factory) in &self.probes {
            let (make, left) = (Factory::new(py, factory, last_use)?, left_behind.clone());
            registry.probe(kind, move |section, context| {
                let object = make.object(section)?;
                let probe = health::HostedProbe::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(probe))
            });
        }
        for (kind, factory) in &self.restarters {
            let (make, left) = (Factory::new(py, factory, last_use)?, left_behind.clone());
            registry.restarter(kind, move |section, context: &FactoryContext| {
                let (object, clock) = (make.object(section)?, context.clock.clone());
                Ok(Arc::new(restart::HostedRestarter::new(object, clock, left.clone())?))
            });
        }
        for (kind, factory) in &self.sinks {
            let (make, left) = (Factory::new(py, factory, last_use)?, left_behind.clone());
            registry.sink(kind, move |section, context| {
                let object = make.object(section)?;
                let sink = alert::HostedSink::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(sink))
            });
        }
        Ok(registry)
    }
}

/// Creates objects from the keys of a section.
struct Factory {
    function: Arc<Callback>,
    last_use: Arc<LastUse>,
}

impl Factory {
    fn new(py: Python<'_>, function: &Py<PyAny>, last_use: &Arc<LastUse>) -> PyResult<Self> {
        let function = Callback::of_method(function.bind(py), last_use)?;
        Ok(Self { function, last_use: Arc::clone(last_use) })
    }

    fn object(&self, section: &Section) -> jarvis_core::Result<Arc<dyn HostedObject>> {
        let settings: Value = section.parse()?;
        let arguments: Arguments = Box::new(move |py| {
            let settings = convert::plain(py, &settings)?;
            Ok((settings,).into_pyobject(py)?.unbind())
        });
        let last_use = Arc::clone(&self.last_use);
        let object = self
            .function
            .call_now(FACTORY_DEADLINE, arguments, move |object| Object::new(&object, &last_use))?;
        Ok(Arc::new(object))
    }
}
