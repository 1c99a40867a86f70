//! Servers that misbehave, one way each, on a loopback port of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A server that does the same thing to every connection. Dropping it closes everything.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Counts one connection for as long as it is served.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    /// A server that runs `serve` for each connection.
    pub async fn serve<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let open = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&open);
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let open = Open::new(&opened);
                let serving = serve(stream);
                served.spawn(async move {
                    let _open = open;
                    serving.await
                });
                while served.try_join_next().is_some() {}
            }
        });
        Self { address, connections, open, task }
    }

    /// Reads a request's head, answers these bytes, and closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::serve(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                request_head(&mut stream).await?;
                stream.write_all(&answer).await?;
                stream.shutdown().await
            }
        })
        .await
    }

    /// Answers an HTTP request with this status line, header lines and body.
    pub async fn http(status: &str, headers: &[&str], body: &str) -> Self {
        Self::answering(http_answer(status, headers, body)).await
    }

    /// Accepts and never says a word.
    pub async fn silent() -> Self {
        Self::serve(|mut stream| async move {
            let mut sink = [0; 1_024];
            while stream.read(&mut sink).await? > 0 {}
            Ok(())
        })
        .await
    }

    /// Answers these bytes at once, then one `drop` every 20 ms, for ever.
    pub async fn trickling(first: &'static str, drop: &'static str) -> Self {
        Self::serve(move |mut stream| async move {
            request_head(&mut stream).await?;
            stream.write_all(first.as_bytes()).await?;
            loop {
                pause(Duration::from_millis(20)).await;
                stream.write_all(drop.as_bytes()).await?;
            }
        })
        .await
    }

    /// Answers `first`, then `more` as fast as it is taken, for ever.
    pub async fn endless(first: &'static str, more: &'static [u8]) -> Self {
        Self::serve(move |mut stream| async move {
            request_head(&mut stream).await?;
            stream.write_all(first.as_bytes()).await?;
            loop {
                stream.write_all(more).await?;
            }
        })
        .await
    }

    /// Answers `first` and then resets the connection (an RST, not a FIN).
    pub async fn resetting(first: &'static str) -> Self {
        Self::serve(move |mut stream| async move {
            request_head(&mut stream).await?;
            stream.write_all(first.as_bytes()).await?;
            stream.flush().await?;
            stream.set_zero_linger()
        })
        .await
    }

    /// Speaks TLS with this certificate and answers an HTTP request with 200.
    pub async fn tls(identity: &Identity) -> Self {
        let acceptor = identity.acceptor();
        Self::serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await?;
                request_head(&mut stream).await?;
                stream.write_all(&http_answer("200 OK", &[], "ok")).await?;
                stream.shutdown().await
            }
        })
        .await
    }

    /// How many connections it holds now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` and this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An HTTP/1.1 answer with its length.
#[must_use]
pub fn http_answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    answer.into_bytes()
}

/// Reads up to the empty line of a request and gives back what was read.
///
/// # Errors
/// The connection's; `UnexpectedEof` when it ends before.
pub async fn request_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A loopback port where nobody listens, and nobody else will: it is bound, not listening.
#[derive(Debug)]
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    /// Takes a free port.
    #[must_use]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        Self(socket)
    }

    /// The address that refuses.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("its address")
    }
}

impl Default for ClosedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener whose queue is full: it never accepts, and new connections are not completed.
#[derive(Debug)]
pub struct FullBacklog {
    listener: TcpListener,
    waiting: Vec<TcpStream>,
}

impl FullBacklog {
    /// Listens with the shortest queue and fills it.
    pub async fn new() -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a loopback port")
    }

    /// The same on this address.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn on(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.bind(address)?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut waiting = Vec::new();
        while let Some(stream) =
            within(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            waiting.push(stream?);
            assert!(waiting.len() < 16, "the queue never fills");
        }
        Ok(Self { listener, waiting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("its address")
    }

    /// How many connections fill the queue.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// A certificate, its key, and the authority to trust for it.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    authority: String,
}

impl Identity {
    /// Signed by an authority of its own, for `name`, valid until so many days from now (negative:
    /// it has expired).
    #[must_use]
    pub fn signed(name: &str, days: i64) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("an authority").pem();
        let issuer = rcgen::Issuer::new(params, key);
        let (params, key) = Self::leaf(name, days);
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        Self { chain: vec![leaf.der().clone()], key: key.serialize_der(), authority }
    }

    /// Signed by itself.
    #[must_use]
    pub fn self_signed(name: &str, days: i64) -> Self {
        let (params, key) = Self::leaf(name, days);
        let leaf = params.self_signed(&key).expect("a certificate");
        Self { chain: vec![leaf.der().clone()], key: key.serialize_der(), authority: leaf.pem() }
    }

    fn leaf(name: &str, days: i64) -> (rcgen::CertificateParams, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = i64::try_from(wall_seconds()).expect("this century");
        // An hour more, so that the whole days are what was asked for.
        let end = now + days * 86_400 + 3_600;
        let at = |seconds: i64| epoch + Duration::from_secs(seconds.unsigned_abs());
        params.not_after = at(end);
        params.not_before = at(end - 400 * 86_400);
        (params, rcgen::KeyPair::generate().expect("a key"))
    }

    /// The authority's certificate, as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The certificate itself, as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        let text = |der: &CertificateDer<'_>| pem("CERTIFICATE", der);
        self.chain.iter().map(text).collect()
    }

    /// The key, as PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// A TLS server with it.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider's versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .expect("a key that fits");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
                let padding = place > group.len();
                text.push(if padding { '=' } else { char::from(ALPHABET[digit]) });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The future's output, or `None` after that long of real time.
#[expect(clippy::disallowed_methods, reason = "real servers need real time")]
pub async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(time, future).await.ok()
}

/// Waits that long of real time: for servers that are slow on purpose.
#[expect(clippy::disallowed_methods, reason = "real servers need real time")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Asks again and again until it is so, for at most 20 s.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !so().await {
            pause(Duration::from_millis(20)).await;
        }
    };
    assert!(within(Duration::from_secs(20), asked).await.is_some(), "not within 20 s: {what}");
}

#[expect(clippy::disallowed_methods, reason = "certificates are made for the real date")]
fn wall_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}
