//! Connections, whatever they run over, and one wrapper for those that watch what comes in.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection over TCP or a Unix socket, with or without TLS.
pub type Socket = Box<dyn Connection>;

/// What a connection can do beside reading and writing.
pub trait Connection: AsyncRead + AsyncWrite + Debug + Send + Unpin {
    /// Sends small writes at once. For protocols that talk back and forth. A socket that can't do
    /// that is only slower.
    fn without_delay(&self) {}

    /// Asks whether the other side is still there whenever nothing came for this long, and breaks
    /// the connection after three questions without an answer.
    ///
    /// # Errors
    /// What the kernel refuses.
    fn keep_alive(&self, _idle: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for TcpStream {
    fn without_delay(&self) {
        self.set_nodelay(true).ok();
    }

    fn keep_alive(&self, idle: Duration) -> io::Result<()> {
        sockopt::set_socket_keepalive(self, true)?;
        sockopt::set_tcp_keepidle(self, idle)?;
        sockopt::set_tcp_keepintvl(self, idle)?;
        sockopt::set_tcp_keepcnt(self, 3)?;
        Ok(())
    }
}

impl Connection for UnixStream {}

#[cfg(feature = "tls")]
impl Connection for tokio_rustls::client::TlsStream<Socket> {
    fn without_delay(&self) {
        self.get_ref().0.without_delay();
    }

    fn keep_alive(&self, idle: Duration) -> io::Result<()> {
        self.get_ref().0.keep_alive(idle)
    }
}

/// Watches what is read from a connection.
pub trait ReadHook {
    /// Called before each read. An error is the result of that read.
    ///
    /// # Errors
    /// Why nothing more may be read.
    fn before(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called after each read, with the number of bytes that came.
    fn after(&mut self, bytes: usize);
}

/// A connection whose reads are watched. Writes pass through.
#[derive(Debug)]
pub struct Watched<H> {
    socket: Socket,
    hook: H,
}

impl<H: ReadHook> Watched<H> {
    /// Watches this connection.
    pub fn new(socket: Socket, hook: H) -> Self {
        Self { socket, hook }
    }
}

impl<H: ReadHook + Unpin> AsyncRead for Watched<H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.hook.before()?;
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.hook.after(buffer.filled().len() - before);
        result
    }
}

impl<H: Unpin> AsyncWrite for Watched<H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct AtMost(usize);

    impl ReadHook for AtMost {
        fn before(&mut self) -> io::Result<()> {
            if self.0 == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
        }

        fn after(&mut self, bytes: usize) {
            self.0 = self.0.saturating_sub(bytes);
        }
    }

    #[tokio::test]
    async fn a_hook_sees_every_read_and_can_end_them() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut watched = Watched::new(Box::new(ours), AtMost(4));
        watched.write_all(b"ask").await.unwrap();
        watched.shutdown().await.unwrap();
        let mut asked = Vec::new();
        theirs.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"ask");
        theirs.write_all(b"answer").await.unwrap();
        let mut buffer = [0; 4];
        watched.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"answ");
        let error = watched.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn tcp_connections_can_be_tuned() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        stream.without_delay();
        Connection::keep_alive(&stream, Duration::from_secs(20)).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(20));
    }
}
