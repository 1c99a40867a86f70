//! `jarvis session`: reads and changes sessions.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::config::Config;
use jarvis_core::jarvis::Jarvis;
use jarvis_core::session::{
    NewSession, Save, SaveOutcome, Session, SessionData, SessionHandle, SessionId, SessionRef,
    SessionStore, SessionSummary, UPDATE_DEADLINE,
};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{Error, ErrorKind, Result};

use super::{Context, shared_store};
use crate::args::{DeleteArgs, Format, SessionCommand, SessionSetArgs};
use crate::exit::ExitStatus;
use crate::input::{Input, at_most_one_from_stdin};
use crate::merge_patch::merge;
use crate::text::session::{Deleted, Extended, Shown, listing};

/// No id and no handle is longer.
const MAX_NAME: u64 = 4 * 1024;

/// How many sessions are asked for at once.
const PAGE: usize = 1_000;

pub(crate) async fn run(context: &Context, command: SessionCommand) -> Result<ExitStatus> {
    let jarvis = context.open()?;
    let config = jarvis.config();
    shared_store(&config.store.session, "session", "sessions")?;
    let creates = matches!(command, SessionCommand::Create { .. });
    if !creates && has_no_file(&config) {
        return without_file(context, &command);
    }
    let store = jarvis.sessions().await?;
    let commands = Commands { context, jarvis: &jarvis, config: &config, store };
    context.wait_for("asking the session store", commands.run(command)).await
}

/// Is the store a file that does not exist yet? Reading must not create it.
fn has_no_file(config: &Config) -> bool {
    let file = config.store.session.sqlite_file(&config.jarvis.state_dir);
    file.is_some_and(|file| !file.try_exists().unwrap_or(true))
}

fn without_file(context: &Context, command: &SessionCommand) -> Result<ExitStatus> {
    match command {
        SessionCommand::List { .. } => list_of(context, &[], false),
        SessionCommand::Clear { .. } | SessionCommand::Delete(DeleteArgs { user: Some(_), .. }) => {
            confirm_deleted(context, 0, 0)
        }
        _ => Err(no_such()),
    }
}

fn no_such() -> Error {
    Error::new(ErrorKind::NotFound, "session not found: it expired, was deleted, or never existed")
}

/// No session has this id. It may be a handle.
fn none_of_id(id: &SessionId) -> Error {
    if SessionHandle::new(id.expose()).is_err() {
        return no_such();
    }
    Error::new(
        ErrorKind::NotFound,
        "no session has this id; if it is a handle, it can extend or delete the session, but not read it",
    )
}

/// What every one of these commands needs.
struct Commands<'a> {
    context: &'a Context,
    jarvis: &'a Jarvis,
    config: &'a Config,
    store: Arc<dyn SessionStore>,
}

impl Commands<'_> {
    async fn run(&self, command: SessionCommand) -> Result<ExitStatus> {
        match command {
            SessionCommand::Create { data, user, ttl, id } => {
                at_most_one_from_stdin(std::iter::once(&data).chain(&id))?;
                self.create(&data, user, ttl, id.as_ref()).await
            }
            SessionCommand::Get { session } => self.get(&session).await,
            SessionCommand::Set(args) => {
                at_most_one_from_stdin([&args.session, &args.data])?;
                self.set(&args).await
            }
            SessionCommand::List { user, limit } => self.list(user.as_ref(), limit).await,
            SessionCommand::Extend { session, ttl } => self.extend(&session, ttl).await,
            SessionCommand::Regenerate { session, user } => self.regenerate(&session, user).await,
            SessionCommand::Delete(DeleteArgs { user: Some(user), except, .. }) => {
                self.clear(&user, except.as_ref()).await
            }
            SessionCommand::Delete(DeleteArgs { sessions, .. }) => {
                at_most_one_from_stdin(&sessions)?;
                self.delete(&sessions).await
            }
            SessionCommand::Clear(args) => self.clear(&args.user, args.except.as_ref()).await,
        }
    }

    fn data(&self, input: &Input) -> Result<String> {
        input.text(self.config.session.max_bytes)
    }

    fn handle(&self, id: &SessionId) -> SessionHandle {
        id.handle(self.config.session.hash_ids)
    }

    /// Shows a session, with its id only if it was just created.
    fn show(&self, session: &Session, with_id: bool) -> Result<ExitStatus> {
        let shown = Shown::new(session, self.handle(&session.id), with_id).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the stored data is not JSON").with_source(error)
        })?;
        let now = self.jarvis.clock().wall();
        self.context.printer.print(&shown, |shown, colored| shown.text(now, colored))?;
        if with_id {
            self.context.printer.hint("The id is not shown again.\n")?;
        }
        Ok(ExitStatus::Done)
    }

    async fn create(
        &self,
        data: &Input,
        user: Option<UserId>,
        ttl: Option<Duration>,
        id: Option<&Input>,
    ) -> Result<ExitStatus> {
        let mut new = NewSession::new().with_data(SessionData::parse(self.data(data)?)?);
        new.id = id.map(|id| SessionId::new(name(id)?)).transpose()?;
        new.user = user;
        new.ttl = ttl;
        self.show(&self.store.create(new).await?, true)
    }

    async fn get(&self, session: &Input) -> Result<ExitStatus> {
        let id = SessionId::new(name(session)?)?;
        let session = self.store.load(&id).await?.ok_or_else(|| none_of_id(&id))?;
        self.show(&session, false)
    }

    async fn regenerate(&self, session: &Input, user: Option<UserId>) -> Result<ExitStatus> {
        let id = SessionId::new(name(session)?)?;
        let moved = self.store.regenerate(&id, user).await?.ok_or_else(|| none_of_id(&id))?;
        self.show(&moved, true)
    }

    async fn set(&self, args: &SessionSetArgs) -> Result<ExitStatus> {
        let id = SessionId::new(name(&args.session)?)?;
        let data = SessionData::parse(self.data(&args.data)?)?;
        let max_depth = self.config.session.max_depth;
        let changed = |session: &Session| match args.replace {
            true => Ok(data.clone()),
            false => SessionData::parse(merge(session.data.as_str(), data.as_str(), max_depth)?),
        };
        let saved = match args.version {
            Some(version) => self.compare_and_swap(&id, version, changed).await?,
            None => {
                let mut change = |session: &mut Session| {
                    session.data = changed(session)?;
                    Ok(())
                };
                let updated = self.store.update(&id, UPDATE_DEADLINE, &mut change).await?;
                updated.ok_or_else(no_such)?
            }
        };
        self.show(&saved, false)
    }

    async fn compare_and_swap(
        &self,
        id: &SessionId,
        version: u64,
        changed: impl Fn(&Session) -> Result<SessionData>,
    ) -> Result<Session> {
        let mut session = self.store.load(id).await?.ok_or_else(no_such)?;
        if session.version != version {
            return Err(conflict(session.version, version));
        }
        session.data = changed(&session)?;
        match self.store.save(Save::new(session)).await? {
            SaveOutcome::Saved(session) => Ok(*session),
            SaveOutcome::Conflict(current) => Err(conflict(current.version, version)),
            _ => Err(no_such()),
        }
    }

    async fn list(&self, user: Option<&UserId>, limit: usize) -> Result<ExitStatus> {
        let mut sessions = match user {
            Some(user) => self.store.list(user).await?,
            None => self.scan(limit).await?,
        };
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        list_of(self.context, &sessions, more)
    }

    /// One more than `limit`, to know whether there are more.
    async fn scan(&self, limit: usize) -> Result<Vec<SessionSummary>> {
        let mut found: Vec<SessionSummary> = Vec::new();
        let mut handles = std::collections::HashSet::new();
        let mut cursor: Option<String> = None;
        while found.len() <= limit {
            let page = self.store.scan(cursor.as_deref(), PAGE).await?;
            // A session that moved during the scan may come twice.
            found.extend(
                page.sessions.into_iter().filter(|session| handles.insert(session.handle.clone())),
            );
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn extend(&self, session: &Input, ttl: Option<Duration>) -> Result<ExitStatus> {
        for session in references(&name(session)?)? {
            if let Some(expires_at) = self.store.extend(&session, ttl).await? {
                let now = self.jarvis.clock().wall();
                let extended = Extended { expires_at };
                self.context.printer.confirm(&extended, |extended| extended.text(now))?;
                return Ok(ExitStatus::Done);
            }
        }
        Err(no_such())
    }

    async fn delete(&self, sessions: &[Input]) -> Result<ExitStatus> {
        let (mut deleted, mut missing) = (0, 0);
        for session in sessions {
            let mut found = false;
            for session in references(&name(session)?)? {
                found = found || self.store.delete(&session).await?;
            }
            if found { deleted += 1 } else { missing += 1 }
        }
        confirm_deleted(self.context, deleted, missing)
    }

    async fn clear(&self, user: &UserId, except: Option<&Input>) -> Result<ExitStatus> {
        let kept = match except {
            Some(except) => Some(self.one_of(user, &name(except)?).await?),
            None => None,
        };
        let deleted = self.store.clear(user, kept.as_ref()).await?;
        confirm_deleted(self.context, deleted, 0)
    }

    /// A session of this user by its id or handle. A mistyped one must not delete the session that
    /// was to be kept.
    async fn one_of(&self, user: &UserId, text: &str) -> Result<SessionRef> {
        let theirs = self.store.list(user).await?;
        let hash_ids = self.config.session.hash_ids;
        let found = references(text)?.into_iter().find(|reference| {
            let handle = match reference {
                SessionRef::Handle(handle) => handle.clone(),
                SessionRef::Id(id) => id.handle(hash_ids),
            };
            theirs.iter().any(|session| session.handle == handle)
        });
        found.ok_or_else(|| {
            let message = format!(
                "the session given with --except does not belong to {user}; nothing was deleted"
            );
            Error::new(ErrorKind::NotFound, message)
        })
    }
}

/// An id or a handle, without the line break at the end of a file.
fn name(input: &Input) -> Result<String> {
    Ok(input.text(MAX_NAME)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a text may name: a handle where it has the form of one, and an id.
fn references(text: &str) -> Result<Vec<SessionRef>> {
    let id = SessionId::new(text)?;
    let handle = SessionHandle::new(text).ok().map(SessionRef::from);
    Ok(handle.into_iter().chain([id.into()]).collect())
}

fn conflict(current: u64, expected: u64) -> Error {
    let message = format!(
        "the session is at version {current}, not {expected}: another program saved it; nothing was changed"
    );
    Error::new(ErrorKind::Conflict, message)
}

fn list_of(context: &Context, sessions: &[SessionSummary], more: bool) -> Result<ExitStatus> {
    // Some stores know the ids, which are secrets.
    let shown: Vec<SessionSummary> = sessions
        .iter()
        .cloned()
        .map(|mut session| {
            session.id = None;
            session
        })
        .collect();
    if context.printer.format() == Format::Jsonl {
        for session in &shown {
            context.printer.item(session, |_, _| String::new())?;
        }
        return Ok(ExitStatus::Done);
    }
    let width = context.width();
    context.printer.print(&shown, |shown, colored| listing(shown, more, colored, width))?;
    Ok(ExitStatus::Done)
}

fn confirm_deleted(context: &Context, deleted: u64, missing: u64) -> Result<ExitStatus> {
    context.printer.confirm(&Deleted { deleted, missing }, Deleted::text)?;
    Ok(if missing > 0 { ExitStatus::Failed } else { ExitStatus::Done })
}
