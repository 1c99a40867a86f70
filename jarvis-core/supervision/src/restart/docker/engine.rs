//! One Docker Engine as everybody here speaks to it: own deadlines, and errors a person can act on.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};

use super::host::{DockerTls, EngineHost, resolve_here};
use super::hub::Hub;
use super::wire::Wire;
use base::clock::{ClockExt, Monotonic, SharedClock};
use base::net::address::Endpoint;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::InstanceId;
use base::{Error, ErrorKind, Result, Retry};

/// How long a question may take.
pub(super) const READ: Duration = Duration::from_secs(5);
/// How much longer than the stop timeout a stop or restart may take: the engine kills after it,
/// waits for the kill, and starts.
pub(super) const MARGIN: Duration = Duration::from_secs(20);
/// bollard's own timer; ours is always earlier.
const NEVER: u64 = 24 * 3_600;
/// How many lives that we ended are remembered.
const OURS: usize = 64;

/// The Docker Engines that a process speaks to. Restarters of one engine share one event
/// connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerHosts {
    clock: SharedClock,
    engines: Arc<Mutex<HashMap<EngineHost, Weak<Engine>>>>,
}

impl DockerHosts {
    /// None yet. Connects nothing.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, engines: Arc::default() }
    }

    /// The engine of a URL, a context, or (`None`) of the process's environment.
    pub(super) fn engine(&self, host: Option<&str>, tls: Option<DockerTls>) -> Result<Arc<Engine>> {
        let host = resolve_here(host, tls)?;
        let mut engines = self.engines.lock();
        engines.retain(|_, engine| engine.strong_count() > 0);
        if let Some(engine) = engines.get(&host).and_then(Weak::upgrade) {
            return Ok(engine);
        }
        let engine = Arc::new(Engine::new(host.clone(), self.clock.clone())?);
        engines.insert(host, Arc::downgrade(&engine));
        Ok(engine)
    }
}

pub(super) struct Engine {
    pub(super) host: EngineHost,
    pub(super) docker: Docker,
    pub(super) clock: SharedClock,
    pub(super) hub: Hub,
    ours: Mutex<Ours>,
}

/// What we did ourselves, so that it is not taken for a person's doing.
#[derive(Default)]
struct Ours {
    /// Containers that we act on, and until when their events are ours.
    acting: HashMap<String, Option<Monotonic>>,
    ended: VecDeque<InstanceId>,
}

/// Ends our action on a container when dropped.
pub(super) struct Acting<'a> {
    engine: &'a Engine,
    container: String,
}

impl Engine {
    fn new(host: EngineHost, clock: SharedClock) -> Result<Self> {
        let wire = Arc::new(Wire::new(&host)?);
        let send = move |request: BollardRequest| Arc::clone(&wire).send(request);
        let docker = Docker::connect_with_custom_transport(
            send,
            Some("http://docker"),
            NEVER,
            API_DEFAULT_VERSION,
        )
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "no client for a Docker host").with_source(error)
        })?;
        Ok(Self { host, docker, clock, hub: Hub::default(), ours: Mutex::default() })
    }

    /// A question, with a short deadline. Nothing is changed by it.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T, DockerError>> + Send,
    ) -> Result<T> {
        match self.clock.until(self.clock.monotonic() + READ, future).await {
            Some(answer) => answer.map_err(|error| self.error(error, false)),
            None => Err(self.silent(READ).with_retry(Retry::Safe { after: None })),
        }
        .map_err(|error| error.with_operation(operation))
    }

    /// Something that changes a container, until the deadline. A lost answer is `Indeterminate`.
    pub(super) async fn act<T>(
        &self,
        operation: &'static str,
        deadline: Monotonic,
        future: impl Future<Output = Result<T, DockerError>> + Send,
    ) -> Result<T> {
        let left = deadline.saturating_since(self.clock.monotonic());
        match self.clock.until(deadline, future).await {
            Some(answer) => answer.map_err(|error| self.error(error, true)),
            None => Err(self.silent(left)),
        }
        .map_err(|error| error.with_operation(operation))
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse> {
        self.read(
            "docker.inspect",
            self.docker.inspect_container(
                container,
                None::<bollard::query_parameters::InspectContainerOptions>,
            ),
        )
        .await
    }

    /// As [`inspect`](Self::inspect), where absence is an answer.
    pub(super) async fn find(&self, container: &str) -> Result<Option<ContainerInspectResponse>> {
        match self.inspect(container).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// The containers with all of these labels, or all, stopped ones included where asked.
    pub(super) async fn list(&self, labels: &[String], all: bool) -> Result<Vec<ContainerSummary>> {
        let mut options = query::ListContainersOptionsBuilder::default().all(all);
        if !labels.is_empty() {
            options = options.filters(&HashMap::from([("label", labels.to_vec())]));
        }
        self.read("docker.list", self.docker.list_containers(Some(options.build()))).await
    }

    fn ours(&self) -> MutexGuard<'_, Ours> {
        self.ours.lock()
    }

    /// From now until a moment after the guard is dropped, what happens to this container is our
    /// doing.
    pub(super) fn acting(&self, container: &str) -> Acting<'_> {
        self.ours().acting.insert(container.to_owned(), None);
        Acting { engine: self, container: container.to_owned() }
    }

    pub(super) fn is_acting(&self, container: &str) -> bool {
        let now = self.clock.monotonic();
        let mut ours = self.ours();
        ours.acting.retain(|_, until| until.is_none_or(|until| now < until));
        ours.acting.contains_key(container)
    }

    /// We are about to end this life.
    pub(super) fn ends(&self, life: &InstanceId) {
        let mut ours = self.ours();
        if !ours.ended.contains(life) {
            if ours.ended.len() == OURS {
                ours.ended.pop_front();
            }
            ours.ended.push_back(life.clone());
        }
    }

    pub(super) fn ended(&self, life: &InstanceId) -> bool {
        self.ours().ended.contains(life)
    }

    fn silent(&self, waited: Duration) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "the Docker Engine at {} did not answer within {}; is it overloaded or stopped?",
                self.host,
                base::units::format_duration(Duration::from_millis(
                    u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)
                )),
            ),
        )
    }

    fn error(&self, error: DockerError, acting: bool) -> Error {
        match error {
            DockerError::DockerResponseServerError { status_code, message } => {
                let (kind, retry) = match status_code {
                    400 => (ErrorKind::InvalidInput, Retry::Never),
                    401 => (ErrorKind::Unauthorized, Retry::Never),
                    403 => (ErrorKind::Forbidden, Retry::Never),
                    404 => (ErrorKind::NotFound, Retry::Never),
                    409 => (ErrorKind::Conflict, Retry::Never),
                    429 => (ErrorKind::RateLimited, Retry::Safe { after: None }),
                    // The engine tried and says why not (a port is taken, a program is missing).
                    500 => (ErrorKind::Unavailable, Retry::Never),
                    _ => (ErrorKind::Unavailable, Retry::Safe { after: None }),
                };
                let message = message.trim().replace('\n', " ");
                let message = message.trim_end_matches('.');
                Error::new(kind, format!("the Docker Engine answers: {message}")).with_retry(retry)
            }
            DockerError::IOError { err } => self.unreachable(err),
            DockerError::HyperResponseError { err } => {
                let retry = if acting { Retry::Indeterminate } else { Retry::Safe { after: None } };
                Error::new(
                    ErrorKind::Unavailable,
                    format!("the connection to the Docker Engine at {} was lost", self.host),
                )
                .with_retry(retry)
                .with_source(err)
            }
            other => {
                let retry = if acting { Retry::Indeterminate } else { Retry::Never };
                Error::new(
                    ErrorKind::Unavailable,
                    format!("what answers at {} does not speak Docker's API", self.host),
                )
                .with_retry(retry)
                .with_source(other)
            }
        }
    }

    /// No connection was made, so that nothing was applied.
    fn unreachable(&self, error: io::Error) -> Error {
        let at = &self.host;
        let unix = matches!(at.endpoint, Endpoint::Unix(_));
        let (kind, message) = match error.kind() {
            io::ErrorKind::PermissionDenied => (
                ErrorKind::Forbidden,
                format!(
                    "permission denied on the Docker socket {at}; add this user to the docker group (usermod -aG docker USER, then log in again), or set host to a rootless engine's socket"
                ),
            ),
            io::ErrorKind::NotFound if unix => (
                ErrorKind::Unavailable,
                format!("there is no Docker socket {at}; is dockerd running, and is host right?"),
            ),
            io::ErrorKind::ConnectionRefused => {
                (ErrorKind::Unavailable, format!("nobody listens at {at}; is dockerd running?"))
            }
            _ => {
                let text = format!("can't connect to the Docker Engine at {at}: {error}");
                let ours = error
                    .raw_os_error()
                    .map(|code| Error::from(io::Error::from_raw_os_error(code)));
                let ran_out = ours.is_some_and(|error| error.kind() == ErrorKind::Exhausted);
                (if ran_out { ErrorKind::Exhausted } else { ErrorKind::Unavailable }, text)
            }
        };
        let retry =
            if kind == ErrorKind::Forbidden { Retry::Never } else { Retry::Safe { after: None } };
        Error::new(kind, message).with_retry(retry).with_source(error)
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        // Events arrive a little after the answer that they tell of.
        let until = self.engine.clock.monotonic() + Duration::from_secs(5);
        self.engine.ours().acting.insert(std::mem::take(&mut self.container), Some(until));
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("host", &self.host).finish_non_exhaustive()
    }
}
