//! `SessionStore`.

use std::sync::{Arc, OnceLock};

use jarvis_core::session::{
    self as core, Merged, NewSession, SaveOutcome, SessionExt, SessionId, SessionRef,
};
use jarvis_core::{Error, ErrorKind};
use pyo3::prelude::*;

use super::object::{self, Id, Named, Session, SessionSummary};
use crate::call::{Begin, Face, Size};
use crate::convert::{self, Span, duration};
use crate::error;
use crate::handle::Handle;
use crate::host::{Arguments, Callback};

/// Stores sessions.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct SessionStore {
    handle: Arc<Handle>,
    face: Face,
}

impl SessionStore {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }

    /// Calls the store.
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

/// Updates `session` with the outcome of its save.
fn saved(py: Python<'_>, session: &Py<Session>, outcome: SaveOutcome) -> PyResult<Py<PyAny>> {
    match outcome {
        SaveOutcome::Saved(stored) => {
            session.bind(py).try_borrow_mut()?.update(*stored, true);
            Ok(session.clone_ref(py).into_any())
        }
        SaveOutcome::Conflict(current) => {
            let error = Error::new(
                ErrorKind::Conflict,
                "another request saved this session first; change `current` and save that, or use update()",
            )
            .with_operation("session.save");
            Err(error::conflict(py, &error, Session::object(py, *current)?))
        }
        _ => Err(error::raise(
            Error::new(ErrorKind::NotFound, "the session expired or was deleted; create a new one")
                .with_operation("session.save"),
        )),
    }
}

/// Updates `session` with the outcome of its merged save.
fn merged(py: Python<'_>, session: &Py<Session>, outcome: Merged) -> PyResult<Py<PyAny>> {
    let (stored, keep_data) = match outcome {
        Merged::Saved(stored) => (stored, true),
        Merged::Merged(stored) => (stored, false),
        _ => return Ok(py.None()),
    };
    session.bind(py).try_borrow_mut()?.update(*stored, keep_data);
    Ok(session.clone_ref(py).into_any())
}

/// The session after the Python function changed it.
async fn changed(
    change: Arc<Callback>,
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
    let convert = move |answer: Bound<'_, PyAny>| {
        let py = answer.py();
        let session = changed
            .get()
            .ok_or_else(|| error::invalid("the change was called without a session"))?;
        session.bind(py).try_borrow_mut()?.written(py)
    };
    change.call(arguments, convert).await
}

fn save(py: Python<'_>, session: &Py<Session>, force: bool) -> PyResult<core::Save> {
    let written = session.bind(py).try_borrow_mut()?.written(py)?;
    Ok(if force { core::Save::forced(written) } else { core::Save::new(written) })
}

#[pymethods]
impl SessionStore {
    /// The same store for the blocking face.
    #[getter]
    #[pyo3(name = "_blocking")]
    fn blocking(&self) -> Self {
        Self::new(Arc::clone(&self.handle), Face::Blocking)
    }

    /// Whether the sessions are in memory, so that no call blocks.
    #[getter]
    #[pyo3(name = "_in_memory")]
    fn in_memory(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.handle.open(py)?.1.sessions == Begin::Here)
    }

    /// Creates a session. See `jarvis.SessionStore.create`.
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
        new.user = user.map(object::user).transpose()?;
        if let Some(data) = data {
            new.data = object::data(data)?;
        }
        new.ttl = duration(ttl);
        new.meta = object::origin(ip, user_agent)?;
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

    /// Stores a session if it has not changed since it was loaded. See `jarvis.SessionStore.save`.
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

    /// Stores a session, and merges it if another request saved first. See
    /// `jarvis.SessionStore.save_merged`.
    fn save_merged(
        &self,
        py: Python<'_>,
        base: &Bound<'_, Session>,
        session: Py<Session>,
    ) -> PyResult<Py<PyAny>> {
        let base = base.try_borrow_mut()?.written(py)?;
        let mine = session.bind(py).try_borrow_mut()?.written(py)?;
        self.call(
            py,
            Size::InTurn,
            |store| async move { store.save_merged(&base, mine).await },
            move |py, outcome| merged(py, &session, outcome),
        )
    }

    /// Loads, changes and saves. See `jarvis.SessionStore.update`.
    #[pyo3(signature = (id, change, *, deadline=None))]
    fn update(
        &self,
        py: Python<'_>,
        id: Id,
        change: Py<PyAny>,
        deadline: Option<Span>,
    ) -> PyResult<Py<PyAny>> {
        let change = Callback::of_caller(py, change, self.face)?;
        let deadline = duration(deadline).unwrap_or(core::UPDATE_DEADLINE);
        let work = move |store: Arc<dyn core::SessionStore>| async move {
            store.update_with(&id.0, deadline, |loaded| changed(Arc::clone(&change), loaded)).await
        };
        self.call(py, Size::InTurn, work, session)
    }

    /// Deletes a session. See `jarvis.SessionStore.delete`.
    fn delete(&self, py: Python<'_>, session: Named) -> PyResult<Py<PyAny>> {
        self.call(
            py,
            Size::One,
            |store| async move { store.delete(&session.0).await },
            convert::object,
        )
    }

    /// Extends the life of a session. See `jarvis.SessionStore.extend`.
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
        let user = user.map(object::user).transpose()?;
        self.call(
            py,
            Size::One,
            |store| async move { store.regenerate(&id.0, user).await },
            session,
        )
    }

    /// The sessions of a user, oldest first. See `jarvis.SessionStore.list`.
    fn list(&self, py: Python<'_>, user: &str) -> PyResult<Py<PyAny>> {
        let user = object::user(user)?;
        self.call(py, Size::Many, |store| async move { store.list(&user).await }, summaries)
    }

    /// Deletes the sessions of a user. See `jarvis.SessionStore.clear`.
    #[pyo3(signature = (user, except_=None))]
    fn clear(&self, py: Python<'_>, user: &str, except_: Option<Named>) -> PyResult<Py<PyAny>> {
        let user = object::user(user)?;
        let except = except_.map(|except| except.0);
        self.call(
            py,
            Size::Many,
            |store| async move { store.clear(&user, except.as_ref()).await },
            convert::object,
        )
    }

    /// Counts the live sessions. See `jarvis.SessionStore.count`.
    #[pyo3(signature = (user=None))]
    fn count(&self, py: Python<'_>, user: Option<&str>) -> PyResult<Py<PyAny>> {
        let user = user.map(object::user).transpose()?;
        self.call(
            py,
            Size::Many,
            |store| async move { store.count(user.as_ref()).await },
            convert::object,
        )
    }

    /// `load` for many ids, in order. See `jarvis.SessionStore.load_many`.
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

    /// `save` for many sessions, each on its own. See `jarvis.SessionStore.save_many`.
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

    /// `delete` for many sessions. See `jarvis.SessionStore.delete_many`.
    fn delete_many(&self, py: Python<'_>, sessions: Vec<Named>) -> PyResult<Py<PyAny>> {
        let sessions: Vec<SessionRef> = sessions.into_iter().map(|session| session.0).collect();
        self.call(
            py,
            Size::Many,
            |store| async move { store.delete_many(&sessions).await },
            convert::object,
        )
    }

    /// One page of all live sessions, and the cursor of the next page.
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
