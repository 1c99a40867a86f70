use std::path::Path;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::SystemClock;
use crate::net::timing::{Meter, ProbeError, Step};
use crate::vocabulary::{FailureKind, Verdict};

/// An authority, what it signed, and a server that asks for a certificate of it.
struct World {
    folder: tempfile::TempDir,
    server: TlsAcceptor,
}

impl World {
    fn new() -> Self {
        Self::of("the authority")
    }

    /// With an authority of this name.
    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("ca.pem", authority.pem());
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["operator".to_owned()]).unwrap();
        write("cert.pem", params.signed_by(&key, &issuer).unwrap().pem());
        write("key.pem", key.serialize_pem());
        write("other-key.pem", rcgen::KeyPair::generate().unwrap().serialize_pem());

        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        Self { folder, server: TlsAcceptor::from(Arc::new(config)) }
    }

    fn file(&self, key: &'static str, name: &str) -> PemFile {
        PemFile::new(key, self.folder.path().join(name))
    }

    fn authorities(&self) -> TlsPolicy {
        TlsPolicy::trusting(Some(self.file("tls.ca_file", "ca.pem")))
    }

    fn client(&self, key: &str) -> Option<ClientCertificate> {
        Some(ClientCertificate {
            certificate: self.file("tls.cert_file", "cert.pem"),
            key: self.file("tls.key_file", key),
        })
    }

    /// The client's side of a connection whose other side echoes one line.
    fn dial(&self) -> Socket {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = self.server.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = server.accept(theirs).await else { return };
            let mut line = [0; 5];
            if stream.read_exact(&mut line).await.is_ok() {
                stream.write_all(&line).await.ok();
                stream.shutdown().await.ok();
            }
        });
        Box::new(ours)
    }
}

fn endpoint() -> Endpoint {
    Endpoint::parse("localhost:1").unwrap()
}

/// TLS 1.3 tells a client that it was refused only when it reads.
async fn echo(mut socket: Socket) -> std::io::Result<()> {
    socket.write_all(b"hello").await?;
    let mut line = [0; 5];
    socket.read_exact(&mut line).await?;
    assert_eq!(&line, b"hello");
    Ok(())
}

async fn probe(world: &World, policy: &TlsPolicy) -> Step<(Socket, Validity)> {
    let day = Duration::from_hours(24);
    let limits = ExpiryLimits { warn_before: day * 21, fail_before: day * 3 };
    let client = TlsClient::new(policy, None, limits, &endpoint()).unwrap();
    let mut meter = Meter::start(Arc::new(SystemClock::new()), Duration::from_secs(10));
    client.handshake(world.dial(), None, &mut meter).await
}

#[tokio::test]
async fn our_certificate_is_shown_by_probes_and_connectors_alike() {
    let world = World::new();
    let anonymous = world.authorities();
    let known = world.authorities().with_client(world.client("key.pem"));

    let connector = known.connector(&endpoint()).unwrap();
    echo(connector.connect(world.dial()).await.unwrap()).await.unwrap();
    let connector = anonymous.connector(&endpoint()).unwrap();
    let refused = match connector.connect(world.dial()).await {
        Ok(socket) => echo(socket).await,
        Err(error) => Err(error),
    };
    assert!(refused.is_err());

    let (socket, validity) = probe(&world, &known).await.unwrap();
    assert_eq!(validity.verdict, Verdict::Pass);
    echo(socket).await.unwrap();
    let refused = match probe(&world, &anonymous).await {
        Ok((socket, _)) => echo(socket).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn one_policy_decides_whom_to_trust() {
    let (world, other) = (World::new(), World::of("another authority"));
    let client = || world.client("key.pem");
    let stranger = other.authorities().with_client(client());
    let machine = TlsPolicy::default().with_client(client());
    let anybody = TlsPolicy { trust: Trust::Anybody, client: client() };
    for policy in [&stranger, &machine] {
        let config = Arc::new(policy.client_config().unwrap());
        let name = ServerName::try_from("localhost").unwrap();
        let refused = tokio_rustls::TlsConnector::from(config).connect(name, world.dial()).await;
        assert!(refused.is_err());
    }
    let Err(ProbeError::Failed { kind, message }) = probe(&world, &stranger).await else {
        panic!("an authority that nobody named")
    };
    assert_eq!(kind, FailureKind::Tls);
    assert!(message.contains("issuer"), "{message}");
    let connector = anybody.connector(&endpoint()).unwrap();
    echo(connector.connect(world.dial()).await.unwrap()).await.unwrap();
    echo(probe(&world, &anybody).await.unwrap().0).await.unwrap();
}

#[test]
fn a_file_that_can_not_be_used_is_named_by_its_key() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.folder.path().join(name), text);
    write("empty.pem", "").unwrap();
    write("damaged.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    for name in ["missing.pem", "empty.pem", "damaged.pem", "key.pem"] {
        let policy = TlsPolicy::trusting(Some(world.file("alert.ca_file", name)));
        let error = policy.client_config().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.message().starts_with("alert.ca_file "), "{name}: {error}");
        let path = error.context().find(|(key, _)| *key == "path").unwrap().1;
        assert!(Path::new(path).ends_with(name));
    }
    for key in ["missing.pem", "cert.pem", "other-key.pem"] {
        let policy = world.authorities().with_client(world.client(key));
        let error = policy.client_config().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{key}");
        assert!(error.message().contains("tls.key_file"), "{error}");
    }
}

#[test]
fn probes_resume_no_session_and_share_their_configuration() {
    let world = World::new();
    let limits = ExpiryLimits { warn_before: Duration::ZERO, fail_before: Duration::ZERO };
    let client = |policy: &TlsPolicy| TlsClient::new(policy, None, limits, &endpoint()).unwrap();
    let (one, two) = (client(&TlsPolicy::default()), client(&world.authorities()));
    let http = Some(&b"http/1.1"[..]);
    assert!(Arc::ptr_eq(&one.config(http).unwrap(), &two.config(http).unwrap()));
    assert!(one.config(None).unwrap().alpn_protocols.is_empty());
    let known = client(&world.authorities().with_client(world.client("key.pem")));
    let config = known.config(http).unwrap();
    assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    for config in [config, one.config(http).unwrap()] {
        assert!(format!("{:?}", config.resumption).contains("NoClientSessionStorage"));
    }
}

#[cfg(feature = "http")]
#[test]
fn a_redirect_shows_our_certificate_to_no_other_host() {
    let world = World::new();
    let limits = ExpiryLimits { warn_before: Duration::ZERO, fail_before: Duration::ZERO };
    let policy = world.authorities().with_client(world.client("key.pem"));
    let known = TlsClient::new(&policy, None, limits, &endpoint()).unwrap();
    let [here, elsewhere] =
        ["localhost:2", "elsewhere:1"].map(|text| Endpoint::parse(text).unwrap());
    assert!(known.renamed(&endpoint(), &here).unwrap().own.is_some());
    assert!(known.renamed(&endpoint(), &elsewhere).unwrap().own.is_none());
}
