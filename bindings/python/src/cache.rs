//! `Cache`: values with a lifetime, as JSON or as bytes.

use std::sync::Arc;

use jarvis_core::cache::{
    self as core, CacheValue, Condition, Entry, Lifetime, LoadOptions, SetOptions,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::call::{Begin, Face, Size};
use crate::convert::{self, Span};
use crate::error;
use crate::handle::Handle;
use crate::host::{Callback, no_arguments};

/// Keeps values for a limited time, by key.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Cache {
    handle: Arc<Handle>,
    face: Face,
}

impl Cache {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }

    /// Calls the cache.
    fn call<T, F, C>(
        &self,
        py: Python<'_>,
        size: Size,
        work: impl FnOnce(Arc<dyn core::Cache>) -> F + Send + 'static,
        convert: C,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        F: Future<Output = jarvis_core::Result<T>> + Send,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let open = async |jarvis: jarvis_core::Jarvis| jarvis.cache().await;
        self.handle.cache(py)?.call((py, self.face, size), open, work, convert)
    }
}

/// How long an entry lives: seconds, a `timedelta`, or `math.inf` for no end.
#[derive(Clone, Copy)]
struct Ttl(Lifetime);

impl<'a, 'py> FromPyObject<'a, 'py> for Ttl {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if value.extract::<f64>().is_ok_and(|seconds| seconds == f64::INFINITY) {
            return Ok(Self(Lifetime::Unlimited));
        }
        Ok(Self(Lifetime::For(value.extract::<Span>()?.0)))
    }
}

fn value(py: Python<'_>, value: Option<CacheValue>, raw: bool) -> PyResult<Py<PyAny>> {
    let Some(value) = value else { return Ok(py.None()) };
    if raw {
        return Ok(PyBytes::new(py, &value).into_any().unbind());
    }
    let corrupt = |cause: PyErr| {
        let message = "the cached value is not JSON; read it with raw=True, or delete it";
        error::corrupt_because(message, cause)
    };
    let text = PyString::from_bytes(py, &value).map_err(corrupt)?;
    convert::from_json(text.as_any()).map(Bound::unbind).map_err(corrupt)
}

fn values(py: Python<'_>, found: Vec<Option<CacheValue>>, raw: bool) -> PyResult<Py<PyAny>> {
    let found: PyResult<Vec<Py<PyAny>>> =
        found.into_iter().map(|found| value(py, found, raw)).collect();
    found?.into_py_any(py)
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

fn options(ttl: Option<Ttl>, condition: Condition, tags: Vec<String>) -> SetOptions {
    let mut options = SetOptions::new();
    options.lifetime = ttl.map(|ttl| ttl.0);
    options.condition = condition;
    options.tags = tags;
    options
}

fn condition(if_absent: bool, if_present: bool) -> PyResult<Condition> {
    match (if_absent, if_present) {
        (false, false) => Ok(Condition::Always),
        (true, false) => Ok(Condition::IfAbsent),
        (false, true) => Ok(Condition::IfPresent),
        (true, true) => {
            Err(error::invalid("if_absent and if_present exclude each other; give one of them"))
        }
    }
}

#[pymethods]
impl Cache {
    /// The value of a key, or None. See `jarvis.Cache.get`.
    #[pyo3(signature = (key, raw=false))]
    fn get(&self, py: Python<'_>, key: PyBackedStr, raw: bool) -> PyResult<Py<PyAny>> {
        let convert = move |py: Python<'_>, found| value(py, found, raw);
        let ask = || self.handle.cache_now(|cache| cache.get_now(&key));
        if let Some(found) = Face::now(py, ask, convert) {
            return found;
        }
        self.call(py, Size::One, |cache| async move { cache.get(&key).await }, convert)
    }

    /// Stores a value. See `jarvis.Cache.set`.
    #[pyo3(signature = (key, value, *, ttl=None, if_absent=false, if_present=false, tags=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn set(
        &self,
        py: Python<'_>,
        key: PyBackedStr,
        value: &Bound<'_, PyAny>,
        ttl: Option<Ttl>,
        if_absent: bool,
        if_present: bool,
        tags: Vec<String>,
    ) -> PyResult<Py<PyAny>> {
        let options = options(ttl, condition(if_absent, if_present)?, tags);
        let value = CacheValue::from(convert::to_bytes(value)?);
        self.call(
            py,
            Size::One,
            |cache| async move { cache.set(&key, value, options).await },
            convert::object,
        )
    }

    /// Deletes keys. See `jarvis.Cache.delete`.
    #[pyo3(signature = (*keys))]
    fn delete(&self, py: Python<'_>, keys: Vec<String>) -> PyResult<Py<PyAny>> {
        self.call(py, Size::Many, |cache| async move { cache.delete(&keys).await }, convert::object)
    }

    /// Whether the key has a value. See `jarvis.Cache.exists`.
    fn exists(&self, py: Python<'_>, key: PyBackedStr) -> PyResult<Py<PyAny>> {
        self.call(py, Size::One, |cache| async move { cache.exists(&key).await }, convert::object)
    }

    /// `get` for many keys, in order. See `jarvis.Cache.get_many`.
    #[pyo3(signature = (keys, *, raw=false))]
    fn get_many(&self, py: Python<'_>, keys: Vec<String>, raw: bool) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::Many,
            |cache| async move { cache.get_many(&keys).await },
            move |py, found| values(py, found, raw),
        )
    }

    /// `set` for many keys. See `jarvis.Cache.set_many`.
    #[pyo3(signature = (entries, *, ttl=None, if_absent=false, if_present=false, tags=Vec::new()))]
    fn set_many(
        &self,
        py: Python<'_>,
        entries: &Bound<'_, PyDict>,
        ttl: Option<Ttl>,
        if_absent: bool,
        if_present: bool,
        tags: Vec<String>,
    ) -> PyResult<Py<PyAny>> {
        let options = options(ttl, condition(if_absent, if_present)?, tags);
        let entries: PyResult<Vec<Entry>> = entries
            .iter()
            .map(|(key, value)| {
                Ok(Entry::new(key.extract::<String>()?, convert::to_bytes(&value)?))
            })
            .collect();
        let entries = entries?;
        self.call(
            py,
            Size::Many,
            |cache| async move { cache.set_many(entries, options).await },
            convert::object,
        )
    }

    /// Adds to a number. See `jarvis.Cache.increment`.
    #[pyo3(signature = (key, by=1, *, ttl=None))]
    fn increment(
        &self,
        py: Python<'_>,
        key: PyBackedStr,
        by: i64,
        ttl: Option<Ttl>,
    ) -> PyResult<Py<PyAny>> {
        let lifetime = ttl.map(|ttl| ttl.0);
        self.call(
            py,
            Size::One,
            move |cache| async move { cache.increment(&key, by, lifetime).await },
            convert::object,
        )
    }

    /// Gives a key a new lifetime. See `jarvis.Cache.expire`.
    fn expire(&self, py: Python<'_>, key: PyBackedStr, ttl: Ttl) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::One,
            move |cache| async move { cache.expire(&key, ttl.0).await },
            convert::object,
        )
    }

    /// The remaining lifetime of a key in seconds. See `jarvis.Cache.lifetime`.
    fn lifetime(&self, py: Python<'_>, key: PyBackedStr) -> PyResult<Py<PyAny>> {
        let seconds = |py: Python<'_>, lifetime: Option<Lifetime>| match lifetime {
            None => Ok(py.None()),
            Some(Lifetime::For(rest)) => rest.as_secs_f64().into_py_any(py),
            Some(_) => f64::INFINITY.into_py_any(py),
        };
        self.call(py, Size::One, |cache| async move { cache.lifetime(&key).await }, seconds)
    }

    /// Makes every entry with this tag miss. See `jarvis.Cache.invalidate_tag`.
    fn invalidate_tag(&self, py: Python<'_>, tag: String) -> PyResult<Py<PyAny>> {
        self.call(py, Size::One, |cache| async move { cache.invalidate_tag(&tag).await }, nothing)
    }

    /// Deletes the keys that match a glob. See `jarvis.Cache.invalidate_pattern`.
    fn invalidate_pattern(&self, py: Python<'_>, pattern: String) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::Many,
            |cache| async move { cache.invalidate_pattern(&pattern).await },
            convert::object,
        )
    }

    /// Makes every entry miss. See `jarvis.Cache.flush`.
    fn flush(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.call(py, Size::Many, |cache| async move { cache.flush().await }, nothing)
    }

    /// The statistics of this process. See `jarvis.Cache.stats`.
    fn stats(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::One,
            |cache| async move { cache.stats().await },
            |py, stats| convert::plain(py, &stats),
        )
    }

    /// The value of a key, loaded if absent. See `jarvis.Cache.get_or_load`.
    #[pyo3(signature = (key, loader, *, ttl=None, tags=Vec::new(), stale=None, early=0.0, wait=None, raw=false))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn get_or_load(
        &self,
        py: Python<'_>,
        key: PyBackedStr,
        loader: Py<PyAny>,
        ttl: Option<Ttl>,
        tags: Vec<String>,
        stale: Option<Span>,
        early: f64,
        wait: Option<Span>,
        raw: bool,
    ) -> PyResult<Py<PyAny>> {
        let mut load =
            LoadOptions::new().with_set(options(ttl, Condition::Always, tags)).with_early(early);
        if let Some(stale) = stale {
            load.stale = stale.0;
        }
        if let Some(wait) = wait {
            load.wait = wait.0;
        }
        let loader = Callback::of_caller(py, loader, self.face)?;
        let loader = core::loader(move || loaded(Arc::clone(&loader)));
        let (jarvis, places) = self.handle.open(py)?;
        let begin = match places.cache {
            Begin::Here => Begin::HereWithRuntime,
            begin => begin,
        };
        self.face.call(
            py,
            begin,
            async move { jarvis.cache().await?.get_or_load(&key, load, loader).await },
            move |py, found| value(py, Some(found), raw),
        )
    }
}

/// Calls the Python loader.
async fn loaded(loader: Arc<Callback>) -> jarvis_core::Result<CacheValue> {
    let bytes = loader.call(no_arguments(), |found| convert::to_bytes(&found)).await?;
    Ok(CacheValue::from(bytes))
}
