//! The server.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::fs::FlockOperation;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wire::{Answer, Asked, Hello, LineBuffer, MAX_REQUEST, to_line};
use super::{ControlHandler, Peer, Reply, ReplyStream};
use base::clock::{ClockExt, SharedClock};
use base::{Error, ErrorKind, Result};

/// The server's limits. The defaults suit interactive use and scripts.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How many clients may be connected; one more is refused.
    pub max_clients: usize,
    /// How long a client may wait between two requests.
    pub idle: Duration,
    /// How long a client may take to read one line.
    pub write: Duration,
    /// How long a request in flight may take once the server shuts down.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_clients: 64,
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}

/// The listening socket. Removed from the file system when dropped.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    options: ServerOptions,
    clock: SharedClock,
    /// Held while we listen; the kernel releases it when the process ends in any way.
    _lock: File,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn running_already(path: &Path) -> Error {
    Error::new(ErrorKind::Conflict, "`jarvis up` is running already with this state directory")
        .with_operation("control.bind")
        .with_context("socket", path.display())
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(with_suffix(path, ".lock"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(running_already(path)),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Removes the socket of an earlier server, and nothing else.
async fn remove_stale(path: &Path) -> Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the control socket's path is taken by another kind of file; move it away",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(running_already(path)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

/// Binds under another name first, so that the socket never exists with wider permissions.
fn listen(path: &Path) -> Result<UnixListener> {
    let fresh = with_suffix(path, ".n");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

impl ControlServer {
    /// Listens at `path`. A socket that an earlier process left is replaced.
    ///
    /// # Errors
    /// `Conflict` when another process listens there or the path is not a socket; errors of the
    /// file system.
    pub async fn bind(path: &Path, clock: SharedClock, options: ServerOptions) -> Result<Self> {
        let bound = async {
            let lock = lock(path)?;
            remove_stale(path).await?;
            let listener = listen(path)?;
            let inode = std::fs::symlink_metadata(path)?.ino();
            Ok((lock, listener, inode))
        };
        let (lock, listener, inode) = bound.await.map_err(|error: Error| {
            if error.operation().is_some() {
                return error;
            }
            error.with_operation("control.bind").with_context("socket", path.display())
        })?;
        Ok(Self { listener, path: path.to_owned(), inode, options, clock, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `until` completes; then streams end, and requests in flight get the grace time.
    pub async fn serve(
        self,
        handler: Arc<dyn ControlHandler>,
        until: impl Future<Output = ()> + Send,
    ) {
        let (closing, closed) = watch::channel(false);
        let mut clients = JoinSet::new();
        let mut until = pin!(until);
        loop {
            while clients.try_join_next().is_some() {}
            let accepted = tokio::select! {
                biased;
                () = until.as_mut() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let full = clients.len() >= self.options.max_clients;
                    let client = Client::new(stream, self.options, &self.clock, closed.clone());
                    let handler = Arc::clone(&handler);
                    clients.spawn(async move { client.run(full, handler).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept a client");
                    tokio::select! {
                        biased;
                        () = until.as_mut() => break,
                        () = self.clock.sleep(Duration::from_millis(100)) => {}
                    }
                }
            }
        }
        closing.send_replace(true);
        let deadline = self.clock.monotonic() + self.options.grace;
        let rest = async { while clients.join_next().await.is_some() {} };
        self.clock.until(deadline, rest).await;
        clients.abort_all();
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket's file could not be removed");
        }
    }
}

fn allowed(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

struct Client {
    reader: BufReader<OwnedReadHalf>,
    lines: LineBuffer,
    writer: OwnedWriteHalf,
    options: ServerOptions,
    clock: SharedClock,
    closed: watch::Receiver<bool>,
    peer: io::Result<Peer>,
}

impl Client {
    fn new(
        stream: UnixStream,
        options: ServerOptions,
        clock: &SharedClock,
        closed: watch::Receiver<bool>,
    ) -> Self {
        let peer = stream.peer_cred().map(|it| Peer { uid: it.uid(), pid: it.pid() });
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            lines: LineBuffer::default(),
            writer,
            options,
            clock: SharedClock::clone(clock),
            closed,
            peer,
        }
    }

    async fn run(mut self, full: bool, handler: Arc<dyn ControlHandler>) {
        if let Err(error) = self.converse(full, handler).await {
            tracing::debug!(%error, "a control client was dropped");
        }
    }

    async fn converse(&mut self, full: bool, handler: Arc<dyn ControlHandler>) -> Result<()> {
        let peer = match &self.peer {
            Ok(peer) if allowed(peer.uid) => *peer,
            _ => {
                let refused = Error::new(
                    ErrorKind::Forbidden,
                    "only the user that runs `jarvis up`, and root, may use its socket",
                );
                return self.say(&Answer::err(0, &refused)).await;
            }
        };
        if full {
            let refused = Error::new(
                ErrorKind::RateLimited,
                "too many clients use the control socket; try again in a moment",
            );
            return self.say(&Answer::err(0, &refused)).await;
        }
        self.say(&Hello::ours()).await?;
        while let Some(line) = self.next_line().await? {
            match Asked::from_line(&line) {
                Ok(asked) => self.answer(asked, peer, handler.as_ref()).await?,
                Err(error) => {
                    let id = serde_json::from_slice::<Answer>(&line).map_or(0, |asked| asked.id);
                    let refused = Error::new(
                        ErrorKind::InvalidInput,
                        format!("this line is not a request: {error}"),
                    );
                    self.say(&Answer::err(id, &refused)).await?;
                }
            }
        }
        Ok(())
    }

    /// The next line; `None` when the client disconnects or the server shuts down.
    async fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let deadline = self.clock.monotonic() + self.options.idle;
        let clock = SharedClock::clone(&self.clock);
        let line = self.lines.next(&mut self.reader, MAX_REQUEST);
        let read = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => return Ok(None),
            read = clock.until(deadline, line) => read,
        };
        let Some(result) = read else { return Ok(None) };
        if let Err(error) = &result
            && error.kind() == ErrorKind::TooLarge
        {
            self.say(&Answer::err(0, error)).await?;
        }
        result
    }

    async fn answer(
        &mut self,
        Asked { id, request }: Asked,
        peer: Peer,
        handler: &dyn ControlHandler,
    ) -> Result<()> {
        let handled = AssertUnwindSafe(handler.handle(request, peer)).catch_unwind().await;
        match handled {
            Ok(Ok(Reply::Value(value))) => self.say(&Answer::ok(id, value)).await,
            Ok(Ok(Reply::Stream(stream))) => self.stream(id, stream).await,
            Ok(Err(error)) => self.say(&Answer::err(id, &error)).await,
            Err(_) => {
                let error = Error::new(ErrorKind::Internal, "answering this request panicked");
                self.say(&Answer::err(id, &error)).await
            }
        }
    }

    async fn stream(&mut self, id: u64, mut stream: Box<dyn ReplyStream>) -> Result<()> {
        loop {
            match self.next_item(stream.as_mut()).await {
                Some(Ok(item)) => self.say(&Answer::item(id, item)).await?,
                Some(Err(error)) => return self.say(&Answer::err(id, &error)).await,
                None => return self.say(&Answer::done(id)).await,
            }
        }
    }

    /// The stream's next item; `None` at its end, when the client sent a line or disconnected, or
    /// when the server shuts down.
    async fn next_item(
        &mut self,
        stream: &mut dyn ReplyStream,
    ) -> Option<Result<serde_json::Value>> {
        tokio::select! {
            biased;
            _ = self.reader.fill_buf() => None,
            _ = self.closed.wait_for(|closed| *closed) => None,
            next = stream.next() => next,
        }
    }

    async fn say(&mut self, message: &impl serde::Serialize) -> Result<()> {
        let line = to_line(message)?;
        let deadline = self.clock.monotonic() + self.options.write;
        match self.clock.until(deadline, self.writer.write_all(&line)).await {
            Some(written) => Ok(written?),
            None => Err(Error::new(ErrorKind::Timeout, "a control client does not read")),
        }
    }
}
