//! A wire between a client and a server that a test may cut.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It carries both ways.
    Whole,
    /// It carries nothing, and loses nothing: what was sent arrives when it is whole again.
    Cut,
    /// The next thing the server says is lost, and the connection with it. Then it is whole.
    SwallowOne,
}

/// Forwards a loopback port of its own to another. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A whole wire to this loopback port.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("its address").port();
        let mode = Arc::new(watch::channel(Mode::Whole).0);
        let wire = Arc::clone(&mode);
        let task = tokio::spawn(async move {
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                carried.spawn(carry(client, server, Arc::clone(&wire)));
                while carried.try_join_next().is_some() {}
            }
        });
        Self { port, mode, task }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Carries nothing from now on.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Carries everything again.
    pub fn mend(&self) {
        self.mode.send_replace(Mode::Whole);
    }

    /// Loses the next answer, with its connection.
    pub fn swallow_one_answer(&self) {
        self.mode.send_replace(Mode::SwallowOne);
    }

    /// Has the answer been lost?
    #[must_use]
    pub fn swallowed(&self) -> bool {
        *self.mode.borrow() == Mode::Whole
    }
}

async fn carry(client: TcpStream, server: u16, mode: Arc<watch::Sender<Mode>>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        result = one_way(from_client, to_server, &mode, false) => result,
        result = one_way(from_server, to_client, &mode, true) => result,
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: &watch::Sender<Mode>,
    answers: bool,
) -> io::Result<()> {
    let mut changes = mode.subscribe();
    let mut chunk = vec![0; 16 * 1_024];
    loop {
        let size = from.read(&mut chunk).await?;
        if size == 0 {
            return Ok(());
        }
        let now = changes.wait_for(|mode| *mode != Mode::Cut).await.map(|mode| *mode);
        if answers && now.is_ok_and(|mode| mode == Mode::SwallowOne) {
            mode.send_replace(Mode::Whole);
            return Ok(());
        }
        to.write_all(&chunk[..size]).await?;
    }
}
