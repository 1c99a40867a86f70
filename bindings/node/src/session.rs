//! [`Sessions`]: the sessions.

#![expect(clippy::too_many_arguments, reason = "`save` has its fields as arguments")]

use std::net::IpAddr;
use std::time::Duration;

use jarvis_core::session::{
    Merged, NewSession, Save, SaveOutcome, Session, SessionData, SessionExt as _, SessionHandle,
    SessionId, SessionMeta, SessionRef, SessionStore, UPDATE_DEADLINE,
};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use serde::Serialize;

use crate::bridge::{Bridge, Place, now};
use crate::convert::{Answer, Value, json, millis};
use crate::error::{Failure, Thrown, thrown};
use crate::lazy::Lazy;
use crate::packed::{head, packed};
use crate::update::SessionUpdate;

/// A session from JavaScript.
#[napi(object)]
#[derive(Debug)]
pub struct SessionInput {
    /// Its id; for a new one a fresh id when absent.
    pub id: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Its data, as JSON text.
    pub data: String,
    /// The version that it changes; 0 for a session that was never stored.
    pub version: Option<f64>,
    /// How long it lives, in milliseconds.
    pub ttl: Option<f64>,
    /// The visitor's address.
    pub ip: Option<String>,
    /// The visitor's browser.
    pub user_agent: Option<String>,
    /// The prefix of the store that made it.
    pub prefix: Option<String>,
    /// Overwrite whatever is stored.
    pub force: Option<bool>,
}

fn meta(
    ip: Option<String>,
    user_agent: Option<String>,
    prefix: Option<String>,
) -> Result<SessionMeta> {
    let mut meta = SessionMeta::new();
    meta.prefix = prefix;
    if let Some(ip) = ip {
        let address: IpAddr = ip.parse().map_err(|_| {
            Error::new(ErrorKind::InvalidInput, format!("invalid IP address {ip:?}"))
        })?;
        meta = meta.with_ip(address);
    }
    if let Some(user_agent) = user_agent {
        meta = meta.with_user_agent(user_agent);
    }
    Ok(meta)
}

/// A version, which is a number in JavaScript.
fn version(number: f64) -> Result<u64> {
    let whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let version = number as u64;
    whole.then_some(version).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("invalid session version {number}: give a whole number"),
        )
    })
}

impl SessionInput {
    fn into_new(self) -> Result<NewSession> {
        let mut new = NewSession::new().with_data(SessionData::parse(self.data)?);
        new.id = self.id.map(SessionId::new).transpose()?;
        new.user = self.user.map(UserId::new).transpose()?;
        new.ttl = self.ttl.map(millis).transpose()?;
        new.meta = meta(self.ip, self.user_agent, self.prefix)?;
        Ok(new)
    }

    pub(crate) fn into_session(self) -> Result<Session> {
        let id =
            self.id.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the session has no id"))?;
        let mut session = Session::new(SessionId::new(id)?, millis(self.ttl.unwrap_or_default())?);
        session.user = self.user.map(UserId::new).transpose()?;
        session.data = SessionData::parse(self.data)?;
        session.version = version(self.version.unwrap_or_default())?;
        session.meta = meta(self.ip, self.user_agent, self.prefix)?;
        Ok(session)
    }

    fn into_save(self) -> Result<Save> {
        let is_forced = self.force == Some(true);
        let session = self.into_session()?;
        Ok(if is_forced { Save::forced(session) } else { Save::new(session) })
    }
}

/// The head of what was saved; the caller has the data.
fn saved(outcome: SaveOutcome) -> Result<Value, Failure> {
    let failed = |kind, message| Error::new(kind, message).with_operation("session.save");
    match outcome {
        SaveOutcome::Saved(session) => Ok(Value::Text(head(&session))),
        SaveOutcome::Conflict(current) => {
            let message = "somebody else saved this session first; load it again, or use `current`";
            Err(Failure::conflict(failed(ErrorKind::Conflict, message), current))
        }
        _ => Err(failed(ErrorKind::NotFound, "this session expired or was deleted").into()),
    }
}

/// The name of a session: its id, or the handle from a listing.
fn reference(name: &str, is_handle: bool) -> Result<SessionRef> {
    if is_handle {
        SessionHandle::new(name).map(Into::into)
    } else {
        SessionId::new(name).map(Into::into)
    }
}

/// The sessions. A text that a method gives is a packed session unless its doc says otherwise.
#[napi]
#[derive(Debug)]
pub struct Sessions {
    store: Lazy<dyn SessionStore>,
    bridge: Bridge,
    place: Place,
}

impl Sessions {
    pub(crate) fn new(jarvis: jarvis_core::Jarvis, bridge: Bridge, place: Place) -> Self {
        let store = Lazy::new(jarvis, |jarvis| Box::pin(jarvis.sessions()));
        Self { store, bridge, place }
    }

    fn answer<F, T, Fut>(&self, work: F) -> Result<Answer, Thrown>
    where
        F: FnOnce(Lazy<dyn SessionStore>) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Into<Value>,
    {
        self.bridge.answer(self.place, work(self.store.clone()))
    }
}

#[napi]
impl Sessions {
    /// Makes a session.
    #[napi(ts_return_type = "string | number")]
    pub fn create(&self, session: SessionInput) -> Result<Answer, Thrown> {
        self.answer(
            |store| async move { Ok(store.get().await?.create(session.into_new()?).await?) },
        )
    }

    /// The session of an id.
    #[napi(ts_return_type = "string | null | number")]
    pub fn load(&self, id: String) -> Result<Answer, Thrown> {
        let id = SessionId::new(id).map_err(thrown)?;
        let known = now(|| Some(self.store.opened()?.load_now(&id)?.map_err(Failure::from)));
        known.unwrap_or_else(|| {
            self.answer(|store| async move { Ok(store.get().await?.load(&id).await?) })
        })
    }

    /// Loads a session and extends it, in one trip.
    #[napi(ts_return_type = "string | null | number")]
    pub fn load_and_extend(&self, id: String, ttl: Option<f64>) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let ttl = ttl.map(millis).transpose()?;
            Ok(store.get().await?.load_and_extend(&SessionId::new(id)?, ttl).await?)
        })
    }

    /// Saves a session; its head. The arguments are the fields of `SessionInput`: reading an object
    /// would take as long as the rest of the call.
    #[napi(ts_return_type = "string | number")]
    pub fn save(
        &self,
        id: String,
        version: f64,
        ttl: f64,
        data: String,
        force: bool,
        user: Option<String>,
        ip: Option<String>,
        user_agent: Option<String>,
        prefix: Option<String>,
    ) -> Result<Answer, Thrown> {
        let (id, version, ttl, force) = (Some(id), Some(version), Some(ttl), Some(force));
        let session = SessionInput { id, user, data, version, ttl, ip, user_agent, prefix, force };
        self.answer(
            |store| async move { saved(store.get().await?.save(session.into_save()?).await?) },
        )
    }

    /// Saves a session, merged with what others stored since `base` was loaded. True and the packed
    /// session when it was merged, false and its head when it was not; null when there is no session.
    #[napi(ts_return_type = "Array<boolean | string> | null | number")]
    pub fn save_merged(&self, base: SessionInput, mine: SessionInput) -> Result<Answer, Thrown> {
        self.bridge.answer(self.place.waiting(), {
            let store = self.store.clone();
            async move {
                let (base, mine) = (base.into_session()?, mine.into_session()?);
                let merged = store.get().await?.save_merged(&base, mine).await?;
                let (is_merged, text) = match merged {
                    Merged::Saved(session) => (false, head(&session)),
                    Merged::Merged(session) => (true, packed(&session)),
                    _ => return Ok(Value::Nothing),
                };
                Ok(Value::List(vec![Value::Truth(is_merged), Value::Text(text)]))
            }
        })
    }

    /// An update of a session, in steps.
    #[napi]
    pub fn update(&self, id: String, deadline: Option<f64>) -> Result<SessionUpdate, Thrown> {
        let id = SessionId::new(id).map_err(thrown)?;
        let deadline = deadline.map_or(Ok(UPDATE_DEADLINE), millis).map_err(thrown)?;
        let place = self.place.waiting();
        Ok(SessionUpdate::new(self.store.clone(), id, deadline, self.bridge.clone(), place))
    }

    /// Removes a session.
    #[napi(ts_return_type = "boolean | number")]
    pub fn delete(&self, name: String, is_handle: bool) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            Ok(store.get().await?.delete(&reference(&name, is_handle)?).await?)
        })
    }

    /// Extends a session; its new expiry, in milliseconds since 1970.
    #[napi(ts_return_type = "string | null | number")]
    pub fn extend(
        &self,
        name: String,
        is_handle: bool,
        ttl: Option<f64>,
    ) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let ttl: Option<Duration> = ttl.map(millis).transpose()?;
            Ok(store.get().await?.extend(&reference(&name, is_handle)?, ttl).await?)
        })
    }

    /// Moves a session to a fresh id.
    #[napi(ts_return_type = "string | null | number")]
    pub fn regenerate(&self, id: String, user: Option<String>) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let user = user.map(UserId::new).transpose()?;
            Ok(store.get().await?.regenerate(&SessionId::new(id)?, user).await?)
        })
    }

    /// The sessions of a user, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn list(&self, user: String) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            Ok(json(&store.get().await?.list(&UserId::new(user)?).await?)?)
        })
    }

    /// Removes the sessions of a user; how many.
    #[napi(ts_return_type = "string | number")]
    pub fn clear(
        &self,
        user: String,
        except: Option<String>,
        is_handle: bool,
    ) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let except = except.map(|name| reference(&name, is_handle)).transpose()?;
            Ok(store.get().await?.clear(&UserId::new(user)?, except.as_ref()).await?)
        })
    }

    /// How many sessions live.
    #[napi(ts_return_type = "string | number")]
    pub fn count(&self, user: Option<String>) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let user = user.map(UserId::new).transpose()?;
            Ok(store.get().await?.count(user.as_ref()).await?)
        })
    }

    /// Many sessions.
    #[napi(ts_return_type = "Array<string | null> | number")]
    pub fn load_many(&self, ids: Vec<String>) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let ids: Vec<_> = ids.into_iter().map(SessionId::new).collect::<Result<_>>()?;
            let loaded = store.get().await?.load_many(&ids).await?;
            Ok(Value::List(loaded.into_iter().map(Value::from).collect()))
        })
    }

    /// Saves many; for each whether it was saved, and its head or its error as JSON.
    #[napi(ts_return_type = "Array<boolean | string> | number")]
    pub fn save_many(&self, sessions: Vec<SessionInput>) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let saves = sessions.into_iter().map(SessionInput::into_save).collect::<Result<_>>()?;
            let outcomes = store.get().await?.save_many(saves).await;
            let mut list = Vec::with_capacity(outcomes.len() * 2);
            for outcome in outcomes {
                let (is_saved, text) = match outcome.map_err(Failure::from).and_then(saved) {
                    Ok(head) => (true, head),
                    Err(failure) => (false, Value::Text(failure.to_json())),
                };
                list.extend([Value::Truth(is_saved), text]);
            }
            Ok(Value::List(list))
        })
    }

    /// Removes many; how many there were.
    #[napi(ts_return_type = "string | number")]
    pub fn delete_many(
        &self,
        names: Vec<String>,
        are_handles: Vec<bool>,
    ) -> Result<Answer, Thrown> {
        self.answer(|store| async move {
            let names = names.iter().zip(are_handles);
            let names: Vec<_> =
                names.map(|(name, is)| reference(name, is)).collect::<Result<_>>()?;
            Ok(store.get().await?.delete_many(&names).await?)
        })
    }

    /// A page of all sessions, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn scan(&self, cursor: Option<String>, limit: u32) -> Result<Answer, Thrown> {
        #[derive(Serialize)]
        struct Page<'a> {
            sessions: &'a [jarvis_core::session::SessionSummary],
            next: Option<&'a str>,
        }
        self.answer(|store| async move {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let page = store.get().await?.scan(cursor.as_deref(), limit).await?;
            Ok(json(&Page { sessions: &page.sessions, next: page.next.as_deref() })?)
        })
    }
}
