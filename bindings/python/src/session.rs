//! `SessionStore` and what it gives.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jarvis_core::session::{
    self as core, NewSession, SaveOutcome, SessionData, SessionId, SessionMeta, SessionRef,
};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{Error, ErrorKind};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::call::{Face, Size};
use crate::convert::{self, Span, duration};
use crate::error;
use crate::host::{self, Arguments, Callback};
use crate::jarvis::Handle;
use crate::runtime::Inside;

/// A session as it was stored at one version. Change `data`, `user` or `ttl`, then save it.
#[pyclass(module = "jarvis")]
pub(crate) struct Session {
    core: core::Session,
    /// The data, once somebody looked at it; newer than the text from then on.
    parsed: Option<Py<PyAny>>,
}

impl Session {
    fn new(core: core::Session) -> Self {
        Self { core, parsed: None }
    }

    pub(crate) fn object(py: Python<'_>, core: core::Session) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self::new(core))?.into_any())
    }

    /// As it is to be stored.
    fn written(&mut self, py: Python<'_>) -> PyResult<core::Session> {
        if let Some(parsed) = &self.parsed {
            self.core.data = data(parsed.bind(py))?;
        }
        Ok(self.core.clone())
    }
}

fn data(value: &Bound<'_, PyAny>) -> PyResult<SessionData> {
    SessionData::parse(convert::to_json(value)?).map_err(error::raise)
}

fn user(name: &str) -> PyResult<UserId> {
    UserId::new(name).map_err(error::raise)
}

fn address(ip: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
    let text = ip.str()?;
    let text = text.to_cow()?;
    text.parse().map_err(|_| error::invalid(format!("{text:?} is no IP address")))
}

fn meta<'py>(py: Python<'py>, meta: &SessionMeta) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "ip"), meta.ip.map(|ip| ip.to_string()))?;
    dict.set_item(intern!(py, "user_agent"), meta.user_agent.as_deref())?;
    Ok(dict)
}

fn where_made(ip: Option<&Bound<'_, PyAny>>, user_agent: Option<String>) -> PyResult<SessionMeta> {
    let mut meta = SessionMeta::new();
    meta.ip = ip.map(address).transpose()?;
    meta.user_agent = user_agent;
    Ok(meta)
}

#[pymethods]
impl Session {
    /// The visitor's secret: what belongs into the cookie and nowhere else.
    #[getter]
    fn id(&self) -> &str {
        self.core.id.expose()
    }

    /// Whose it is, once that is known.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.core.user.as_ref().map(UserId::as_str)
    }

    #[setter]
    fn set_user(&mut self, name: Option<&str>) -> PyResult<()> {
        self.core.user = name.map(user).transpose()?;
        Ok(())
    }

    /// What it holds: a dict, parsed when it is first looked at.
    #[getter]
    fn data(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.parsed.is_none() {
            self.parsed = Some(convert::parsed(py, self.core.data.as_str())?.unbind());
        }
        Ok(self.parsed.as_ref().map_or_else(|| py.None(), |parsed| parsed.clone_ref(py)))
    }

    /// A dict is kept as it is given; a Pydantic model is written at once.
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

    /// Grows by one with every save.
    #[getter]
    fn version(&self) -> u64 {
        self.core.version
    }

    /// When it was made, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.created_at)
    }

    /// When it was last saved, in UTC.
    #[getter]
    fn updated_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.updated_at)
    }

    /// From when on it is gone, in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.core.expires_at)
    }

    /// How long it lives after a save or an extension: a timedelta.
    #[getter]
    fn ttl(&self) -> Duration {
        self.core.ttl
    }

    #[setter]
    fn set_ttl(&mut self, ttl: Span) {
        self.core.ttl = ttl.0;
    }

    /// Where it was made: a dict of `ip` and `user_agent`.
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
        self.core.meta = self::where_made(value("ip")?.as_ref(), user_agent)?;
        Ok(())
    }

    /// Without the id and the data, which are the visitor's.
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

/// A session as others may see it: without its data, and without its id where ids are hashed.
#[pyclass(frozen, module = "jarvis")]
pub(crate) struct SessionSummary(core::SessionSummary);

#[pymethods]
impl SessionSummary {
    /// Names it.
    #[getter]
    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        handle_class(py)?.call1((self.0.handle.as_str(),))
    }

    /// The visitor's secret, only where the policy does not hash ids.
    #[getter]
    fn id(&self) -> Option<&str> {
        self.0.id.as_ref().map(SessionId::expose)
    }

    /// Whose it is, once that is known.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.0.user.as_ref().map(UserId::as_str)
    }

    /// How often it was saved.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// When it was made, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.created_at)
    }

    /// When it was last saved, in UTC.
    #[getter]
    fn updated_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.updated_at)
    }

    /// From when on it is gone, in UTC.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.expires_at)
    }

    /// Where it was made: a dict of `ip` and `user_agent`.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        meta(py, &self.0.meta)
    }

    fn __repr__(&self) -> String {
        let user = self.0.user.as_ref().map_or("None", UserId::as_str);
        format!("<jarvis.SessionSummary {:?} user={user}>", self.0.handle)
    }
}

/// `jarvis.SessionHandle`, a text of its own kind.
fn handle_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "jarvis._types", "SessionHandle")
}

/// An id; whoever has the session itself may give that.
struct Id(SessionId);

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
struct Named(SessionRef);

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

/// Keeps sessions.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct SessionStore {
    handle: Arc<Handle>,
    face: Face,
}

impl SessionStore {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }

    /// Calls the store: every method goes through here.
    fn call<T, F, C>(
        &self,
        py: Python<'_>,
        size: Size,
        work: impl FnOnce(Arc<dyn core::SessionStore>) -> F + Send + 'static,
        convert: C,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        F: Future<Output = jarvis_core::Result<T>> + Send,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let open = async |jarvis: jarvis_core::Jarvis| jarvis.sessions().await;
        self.handle.sessions(py)?.call((py, self.face, size), open, work, convert)
    }
}

fn session(py: Python<'_>, found: Option<core::Session>) -> PyResult<Py<PyAny>> {
    found.map_or_else(|| Ok(py.None()), |session| Session::object(py, session))
}

fn summaries(py: Python<'_>, found: Vec<core::SessionSummary>) -> PyResult<Py<PyAny>> {
    let found: Vec<SessionSummary> = found.into_iter().map(SessionSummary).collect();
    Ok(found.into_pyobject(py)?.unbind())
}

/// What a save made of `session`, which is brought up to date.
fn saved(py: Python<'_>, session: &Py<Session>, outcome: SaveOutcome) -> PyResult<Py<PyAny>> {
    match outcome {
        SaveOutcome::Saved(stored) => {
            session.bind(py).try_borrow_mut()?.core = *stored;
            Ok(session.clone_ref(py).into_any())
        }
        SaveOutcome::Conflict(current) => {
            let error = Error::new(
                ErrorKind::Conflict,
                "somebody saved this session first; take `current`, change it and save that, or use update()",
            )
            .with_operation("session.save");
            Err(error::conflict(py, &error, Session::object(py, *current)?))
        }
        _ => Err(error::raise(
            Error::new(ErrorKind::NotFound, "the session expired or was deleted; make another")
                .with_operation("session.save"),
        )),
    }
}

/// The function, unless it is one that has to be awaited.
fn plain_function(change: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if host::is_coroutine_function(change)? {
        return Err(error::invalid(
            "update() takes a plain function: it may be called again, and others wait for it",
        ));
    }
    Ok(change.clone().unbind())
}

/// The session after Python's function changed it.
fn changed(
    change: &Arc<Callback>,
    deadline: Duration,
    loaded: core::Session,
) -> jarvis_core::Result<core::Session> {
    let given = Arc::new(OnceLock::new());
    let changed = Arc::clone(&given);
    let arguments: Arguments = Box::new(move |py| {
        let session = Py::new(py, Session::new(loaded))?;
        let arguments = (session.clone_ref(py),).into_pyobject(py)?.unbind();
        let _ = given.set(session);
        Ok(arguments)
    });
    change.call_now(deadline, arguments, move |answer| {
        let py = answer.py();
        let session = changed.get().ok_or_else(|| error::invalid("there is no session"))?;
        session.bind(py).try_borrow_mut()?.written(py)
    })
}

fn save(py: Python<'_>, session: &Py<Session>, force: bool) -> PyResult<core::Save> {
    let written = session.bind(py).try_borrow_mut()?.written(py)?;
    Ok(if force { core::Save::forced(written) } else { core::Save::new(written) })
}

#[pymethods]
impl SessionStore {
    /// Makes a session. See `jarvis.SessionStore.create`.
    #[pyo3(signature = (user=None, data=None, *, id=None, ttl=None, ip=None, user_agent=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn create(
        &self,
        py: Python<'_>,
        user: Option<&str>,
        data: Option<&Bound<'_, PyAny>>,
        id: Option<Id>,
        ttl: Option<Span>,
        ip: Option<&Bound<'_, PyAny>>,
        user_agent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let mut new = NewSession::new();
        new.id = id.map(|id| id.0);
        new.user = user.map(self::user).transpose()?;
        if let Some(data) = data {
            new.data = self::data(data)?;
        }
        new.ttl = duration(ttl);
        new.meta = where_made(ip, user_agent)?;
        self.call(py, Size::One, |store| async move { store.create(new).await }, Session::object)
    }

    /// The session of this id, or None. See `jarvis.SessionStore.load`.
    fn load(&self, py: Python<'_>, id: Id) -> PyResult<Py<PyAny>> {
        let ask = || self.handle.sessions_now(|store| store.load_now(&id.0));
        if let Some(found) = Face::now(py, ask, session) {
            return found;
        }
        self.call(py, Size::One, |store| async move { store.load(&id.0).await }, session)
    }

    /// `load` and `extend` at once. See `jarvis.SessionStore.load_and_extend`.
    #[pyo3(signature = (id, ttl=None))]
    fn load_and_extend(&self, py: Python<'_>, id: Id, ttl: Option<Span>) -> PyResult<Py<PyAny>> {
        let ttl = duration(ttl);
        let work = move |store: Arc<dyn core::SessionStore>| async move {
            store.load_and_extend(&id.0, ttl).await
        };
        self.call(py, Size::One, work, session)
    }

    /// Stores a session if nobody changed it since. See `jarvis.SessionStore.save`.
    #[pyo3(signature = (session, *, force=false))]
    fn save(&self, py: Python<'_>, session: Py<Session>, force: bool) -> PyResult<Py<PyAny>> {
        let save = save(py, &session, force)?;
        self.call(
            py,
            Size::One,
            |store| async move { store.save(save).await },
            move |py, outcome| saved(py, &session, outcome),
        )
    }

    /// Loads, changes and saves. See `jarvis.SessionStore.update`.
    #[pyo3(signature = (id, change, *, deadline=None))]
    fn update(
        &self,
        py: Python<'_>,
        id: Id,
        change: &Bound<'_, PyAny>,
        deadline: Option<Span>,
    ) -> PyResult<Py<PyAny>> {
        let change = Callback::of_caller(py, plain_function(change)?, self.face)?;
        let deadline = duration(deadline).unwrap_or(core::UPDATE_DEADLINE);
        let work = move |store: Arc<dyn core::SessionStore>| async move {
            let mut change = |session: &mut core::Session| {
                *session = changed(&change, deadline, session.clone())?;
                Ok(())
            };
            store.update(&id.0, deadline, &mut change).await
        };
        self.call(py, Size::InTurn, work, session)
    }

    /// Removes a session; was there one? See `jarvis.SessionStore.delete`.
    fn delete(&self, py: Python<'_>, session: Named) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::One,
            |store| async move { store.delete(&session.0).await },
            convert::object,
        )
    }

    /// Lets a session live on, and says until when. See `jarvis.SessionStore.extend`.
    #[pyo3(signature = (session, ttl=None))]
    fn extend(&self, py: Python<'_>, session: Named, ttl: Option<Span>) -> PyResult<Py<PyAny>> {
        let ttl = duration(ttl);
        self.call(
            py,
            Size::One,
            move |store| async move { store.extend(&session.0, ttl).await },
            |py, until| {
                until.map_or_else(
                    || Ok(py.None()),
                    |until| convert::datetime(py, until).map(Bound::unbind),
                )
            },
        )
    }

    /// Moves a session to a fresh id. See `jarvis.SessionStore.regenerate`.
    #[pyo3(signature = (id, user=None))]
    fn regenerate(&self, py: Python<'_>, id: Id, user: Option<&str>) -> PyResult<Py<PyAny>> {
        let user = user.map(self::user).transpose()?;
        self.call(
            py,
            Size::One,
            |store| async move { store.regenerate(&id.0, user).await },
            session,
        )
    }

    /// The sessions of a user, oldest first. See `jarvis.SessionStore.list`.
    fn list(&self, py: Python<'_>, user: &str) -> PyResult<Py<PyAny>> {
        let user = self::user(user)?;
        self.call(py, Size::Many, |store| async move { store.list(&user).await }, summaries)
    }

    /// Removes the sessions of a user. See `jarvis.SessionStore.clear`.
    #[pyo3(signature = (user, except_=None))]
    fn clear(&self, py: Python<'_>, user: &str, except_: Option<Named>) -> PyResult<Py<PyAny>> {
        let user = self::user(user)?;
        let except = except_.map(|except| except.0);
        self.call(
            py,
            Size::Many,
            |store| async move { store.clear(&user, except.as_ref()).await },
            convert::object,
        )
    }

    /// How many sessions live. See `jarvis.SessionStore.count`.
    #[pyo3(signature = (user=None))]
    fn count(&self, py: Python<'_>, user: Option<&str>) -> PyResult<Py<PyAny>> {
        let user = user.map(self::user).transpose()?;
        self.call(
            py,
            Size::Many,
            |store| async move { store.count(user.as_ref()).await },
            convert::object,
        )
    }

    /// `load` for many, answered in their order. See `jarvis.SessionStore.load_many`.
    fn load_many(&self, py: Python<'_>, ids: Vec<Id>) -> PyResult<Py<PyAny>> {
        let ids: Vec<SessionId> = ids.into_iter().map(|id| id.0).collect();
        self.call(
            py,
            Size::Many,
            |store| async move { store.load_many(&ids).await },
            |py, found| {
                let found: Vec<Option<Session>> =
                    found.into_iter().map(|found| found.map(Session::new)).collect();
                Ok(found.into_pyobject(py)?.unbind())
            },
        )
    }

    /// `save` for many, each for itself. See `jarvis.SessionStore.save_many`.
    #[pyo3(signature = (sessions, *, force=false))]
    fn save_many(
        &self,
        py: Python<'_>,
        sessions: Vec<Py<Session>>,
        force: bool,
    ) -> PyResult<Py<PyAny>> {
        let saves: PyResult<Vec<core::Save>> =
            sessions.iter().map(|session| save(py, session, force)).collect();
        let saves = saves?;
        self.call(
            py,
            Size::Many,
            |store| async move { Ok(store.save_many(saves).await) },
            move |py, outcomes| {
                let answers: Vec<Py<PyAny>> = sessions
                    .iter()
                    .zip(outcomes)
                    .map(|(session, outcome)| {
                        let outcome = outcome.map_err(error::raise);
                        outcome
                            .and_then(|outcome| saved(py, session, outcome))
                            .unwrap_or_else(|error| error.into_value(py).into_any())
                    })
                    .collect();
                Ok(answers.into_pyobject(py)?.unbind())
            },
        )
    }

    /// `delete` for many; how many there were. See `jarvis.SessionStore.delete_many`.
    fn delete_many(&self, py: Python<'_>, sessions: Vec<Named>) -> PyResult<Py<PyAny>> {
        let sessions: Vec<SessionRef> = sessions.into_iter().map(|session| session.0).collect();
        self.call(
            py,
            Size::Many,
            |store| async move { store.delete_many(&sessions).await },
            convert::object,
        )
    }

    /// A page of all living sessions, and what asks for the next.
    #[pyo3(signature = (cursor=None, limit=256))]
    fn scan_page(
        &self,
        py: Python<'_>,
        cursor: Option<String>,
        limit: usize,
    ) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::Many,
            move |store| async move { store.scan(cursor.as_deref(), limit).await },
            |py, page| {
                let page = (summaries(py, page.sessions)?, page.next);
                Ok(page.into_pyobject(py)?.into_any().unbind())
            },
        )
    }
}
