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
use crate::host::{Arguments, Callback, Ground, Home};

/// How long making an object may take while the configuration is read again.
const MAKING: Duration = Duration::from_secs(10);

/// An object of Python's with the methods that it has.
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
    fn new(object: &Bound<'_, PyAny>, ground: &Arc<Ground>) -> PyResult<Self> {
        let mut methods = HashMap::new();
        for name in METHODS {
            let Some(method) = object.getattr_opt(name)?.filter(Bound::is_callable) else {
                continue;
            };
            let home = Home::of_method(&method, ground)?;
            methods.insert(name, Callback::of_method(method.unbind(), home));
        }
        // A probe may be a bare function.
        if methods.is_empty() && object.is_callable() {
            let home = Home::of_method(object, ground)?;
            methods.insert("probe", Callback::of_method(object.clone().unbind(), home));
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
            // What is asked of nothing is asked without an argument.
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

/// The JSON value of an answer.
fn value(answer: &Bound<'_, PyAny>) -> PyResult<Value> {
    let text = convert::to_json(answer)?;
    serde_json::from_str(&text).map_err(|error| crate::error::invalid(error.to_string()))
}

/// The kinds of backends that a program gave by name.
pub(crate) struct Kinds {
    pub(crate) probes: Vec<(String, Py<PyAny>)>,
    pub(crate) restarters: Vec<(String, Py<PyAny>)>,
    pub(crate) sinks: Vec<(String, Py<PyAny>)>,
}

impl Kinds {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.probes, &self.restarters, &self.sinks].iter().all(|kinds| kinds.is_empty())
    }

    /// Those, beside what the core has.
    pub(crate) fn registry(
        &self,
        py: Python<'_>,
        ground: &Arc<Ground>,
        left_behind: &LeftBehind,
    ) -> PyResult<Registry> {
        let mut registry = Registry::with_defaults();
        for (kind, factory) in &self.probes {
            let (make, left) = (Factory::new(py, factory, ground)?, left_behind.clone());
            registry.probe(kind, move |section, context| {
                let object = make.object(section)?;
                let probe = health::HostedProbe::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(probe))
            });
        }
        for (kind, factory) in &self.restarters {
            let (make, left) = (Factory::new(py, factory, ground)?, left_behind.clone());
            registry.restarter(kind, move |section, context: &FactoryContext| {
                let (object, clock) = (make.object(section)?, context.clock.clone());
                Ok(Arc::new(restart::HostedRestarter::new(object, clock, left.clone())?))
            });
        }
        for (kind, factory) in &self.sinks {
            let (make, left) = (Factory::new(py, factory, ground)?, left_behind.clone());
            registry.sink(kind, move |section, context| {
                let object = make.object(section)?;
                let sink = alert::HostedSink::new(object, context.clock.clone(), left.clone())?;
                Ok(Arc::new(sink))
            });
        }
        Ok(registry)
    }
}

/// Makes objects from the keys of a section.
struct Factory {
    function: Arc<Callback>,
    ground: Arc<Ground>,
}

impl Factory {
    fn new(py: Python<'_>, function: &Py<PyAny>, ground: &Arc<Ground>) -> PyResult<Self> {
        let home = Home::of_method(function.bind(py), ground)?;
        let function = Callback::of_method(function.clone_ref(py), home);
        Ok(Self { function, ground: Arc::clone(ground) })
    }

    fn object(&self, section: &Section) -> jarvis_core::Result<Arc<dyn HostedObject>> {
        let settings: Value = section.parse()?;
        let arguments: Arguments = Box::new(move |py| {
            let settings = convert::plain(py, &settings)?;
            Ok((settings,).into_pyobject(py)?.unbind())
        });
        let ground = Arc::clone(&self.ground);
        let object = self
            .function
            .call_now(MAKING, arguments, move |object| Object::new(&object, &ground))?;
        Ok(Arc::new(object))
    }
}
