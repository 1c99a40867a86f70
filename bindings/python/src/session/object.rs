//! `Session` and `SessionSummary`, and what may stand for them in a call.

use std::net::IpAddr;
use std::time::Duration;

use jarvis_core::session::{self as core, SessionData, SessionId, SessionMeta, SessionRef};
use jarvis_core::vocabulary::UserId;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::convert::{self, Span};
use crate::error;
use crate::interpreter::Inside;

/// A session as stored at one version. Change `data`, `user` or `ttl`, then save it.
#[pyclass(module = "jarvis")]
pub(crate) struct Session {
    pub(super) core: core::Session,
    /// The data, once it was read. From then on it is newer than the text.
    parsed: Option<Py<PyAny>>,
}

impl Session {
    pub(super) fn new(core: core::Session) -> Self {
        Self { core, parsed: None }
    }

    pub(crate) fn object(py: Python<'_>, core: core::Session) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self::new(core))?.into_any())
    }

    /// Takes what is stored now. With `keep_data`, that is the current data.
    pub(super) fn update(&mut self, stored: core::Session, keep_data: bool) {
        self.core = stored;
        if !keep_data {
            self.parsed = None;
        }
    }

    /// The session to store, with its current data.
    pub(super) fn written(&mut self, py: Python<'_>) -> PyResult<core::Session> {
        if let Some(parsed) = &self.parsed {
            self.core.data = data(parsed.bind(py))?;
        }
        Ok(self.core.clone())
    }
}

pub(super) fn data(value: &Bound<'_, PyAny>) -> PyResult<SessionData> {
    SessionData::parse(convert::to_json(value)?).map_err(error::raise)
}

pub(super) fn user(name: &str) -> PyResult<UserId> {
    UserId::new(name).map_err(error::raise)
}

fn address(ip: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
    let text = ip.str()?;
    let text = text.to_cow()?;
    text.parse().map_err(|_| error::invalid(format!("{text:?} is not an IP address")))
}

fn meta<'py>(py: Python<'py>, meta: &SessionMeta) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "ip"), meta.ip.map(|ip| ip.to_string()))?;
    dict.set_item(intern!(py, "user_agent"), meta.user_agent.as_deref())?;
    Ok(dict)
}

pub(super) fn origin(
    ip: Option<&Bound<'_, PyAny>>,
    user_agent: Option<String>,
) -> PyResult<SessionMeta> {
    let mut meta = SessionMeta::new();
    meta.ip = ip.map(address).transpose()?;
    meta.user_agent = user_agent;
    Ok(meta)
}

#[pymethods]
impl Session {
    /// The visitor's secret. It belongs in the cookie and nowhere else.
    #[getter]
    fn id(&self) -> &str {
        self.core.id.expose()
    }

    /// The user it belongs to, once that is known.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.core.user.as_ref().map(UserId::as_str)
    }

    #[setter]
    fn set_user(&mut self, name: Option<&str>) -> PyResult<()> {
        self.core.user = name.map(user).transpose()?;
        Ok(())
    }

    /// The data: a dict, parsed when it is first read.
    #[getter]
    fn data(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.parsed.is_none() {
            self.parsed = Some(convert::parsed(py, self.core.data.as_str())?.unbind());
        }
        Ok(self.parsed.as_ref().map_or_else(|| py.None(), |parsed| parsed.clone_ref(py)))
    }

    /// A dict is kept as the same object; a Pydantic model is written at once.
    #[setter]
    fn set_data(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if value.is_instance_of::<PyDict>() {
            self.parsed = Some(value.clone().unbind());
        } else {
            self.core.data = data(value)?;
            self.parsed = None;
        }
        Ok(())
    }

    /// The data as a Pydantic model: `session.model(Cart)`.
    fn model<'py>(&mut self, kind: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = kind.py();
        let _inside = Inside::enter(py);
        match &self.parsed {
            Some(parsed) => kind.call_method1(intern!(py, "model_validate"), (parsed.bind(py),)),
            None => {
                let text = self.core.data.as_str();
                kind.call_method1(intern!(py, "model_validate_json"), (text,))
            }
        }
    }

    /// The data as JSON text.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        Ok(match &self.parsed {
            Some(parsed) => PyString::new(py, data(parsed.bind(py))?.as_str()),
            None => PyString::new(py, self.core.data.as_str()),
        })
    }

    /// A copy that later changes don't affect: the base of `save_merged`.
    fn copy(&mut self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::new(self.written(py)?))
    }

    /// Grows by one with every save.
    #[getter]
    fn version(&self) -> u64 {
        self.core.version
    }

    /// When it was created, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.created_at)
    }

    /// When it was last saved, in UTC.
    #[getter]
    fn updated_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.updated_at)
    }

    /// When it expires, in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.expires_at)
    }

    /// How long it lives after a save or an extension, as a timedelta.
    #[getter]
    fn ttl(&self) -> Duration {
        self.core.ttl
    }

    #[setter]
    fn set_ttl(&mut self, ttl: Span) {
        self.core.ttl = ttl.0;
    }

    /// Where it was created: a dict of `ip` and `user_agent`.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        meta(py, &self.core.meta)
    }

    #[setter]
    fn set_meta(&mut self, meta: &Bound<'_, PyDict>) -> PyResult<()> {
        let value = |key: &str| {
            let value = meta.get_item(key);
            value.map(|value| value.filter(|value| !value.is_none()))
        };
        let user_agent = value("user_agent")?.map(|text| text.extract()).transpose()?;
        self.core.meta = self::origin(value("ip")?.as_ref(), user_agent)?;
        Ok(())
    }

    /// Leaves out the id and the data, which are private to the visitor.
    fn __repr__(&self) -> String {
        let user = self.core.user.as_ref().map_or("None", UserId::as_str);
        format!("<jarvis.Session user={user} version={}>", self.core.version)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.parsed.as_ref().map_or(Ok(()), |parsed| visit.call(parsed))
    }

    fn __clear__(&mut self) {
        self.parsed = None;
    }
}

/// A session without its data, and without its id if ids are hashed.
#[pyclass(frozen, module = "jarvis")]
pub(crate) struct SessionSummary(pub(super) core::SessionSummary);

#[pymethods]
impl SessionSummary {
    /// Identifies it.
    #[getter]
    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        handle_class(py)?.call1((self.0.handle.as_str(),))
    }

    /// The visitor's secret, if the policy does not hash ids.
    #[getter]
    fn id(&self) -> Option<&str> {
        self.0.id.as_ref().map(SessionId::expose)
    }

    /// The user it belongs to, once that is known.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.0.user.as_ref().map(UserId::as_str)
    }

    /// How often it was saved.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// When it was created, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.created_at)
    }

    /// When it was last saved, in UTC.
    #[getter]
    fn updated_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.updated_at)
    }

    /// When it expires, in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.expires_at)
    }

    /// Where it was created: a dict of `ip` and `user_agent`.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        meta(py, &self.0.meta)
    }

    fn __repr__(&self) -> String {
        let user = self.0.user.as_ref().map_or("None", UserId::as_str);
        format!("<jarvis.SessionSummary {:?} user={user}>", self.0.handle)
    }
}

/// `jarvis.SessionHandle`, a subclass of `str`.
fn handle_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "jarvis._types", "SessionHandle")
}

/// An id, or the session itself.
pub(super) struct Id(pub(super) SessionId);

impl<'a, 'py> FromPyObject<'a, 'py> for Id {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(session) = value.cast::<Session>() {
            return Ok(Self(session.try_borrow()?.core.id.clone()));
        }
        let text = value.extract::<PyBackedStr>()?;
        SessionId::new(&*text).map(Self).map_err(error::raise)
    }
}

/// An id, a session, a handle or a summary.
pub(super) struct Named(pub(super) SessionRef);

impl<'a, 'py> FromPyObject<'a, 'py> for Named {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance(handle_class(value.py())?)? {
            let text: String = value.extract()?;
            return Ok(Self(core::SessionHandle::new(text).map_err(error::raise)?.into()));
        }
        if let Ok(summary) = value.cast::<SessionSummary>() {
            return Ok(Self(summary.get().0.handle.clone().into()));
        }
        Ok(Self(value.extract::<Id>()?.0.into()))
    }
}
