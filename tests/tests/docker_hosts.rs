//! Ways to a Docker Engine: TCP with and without TLS, a socket that refuses us, a rollback by
//! somebody's own command.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jarvis_core::ErrorKind;
use jarvis_core::restart::docker::{DockerConfig, DockerHosts, DockerRestarter, DockerTls};
use jarvis_core::restart::{RunState, ServiceRestarter};
use jarvis_core::vocabulary::VersionId;
use jarvis_tests::docker::{BOX_1, BOX_2, Container, clock, docker, host, request, restarter_at};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

async fn pass_on(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let engine = host();
    let Ok(mut engine) = UnixStream::connect(engine.trim_start_matches("unix://")).await else {
        return;
    };
    let _ = copy_bidirectional(&mut client, &mut engine).await;
}

/// Listens on a port of loopback and passes on to the engine.
async fn listen(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => pass_on(client).await,
                    Some(tls) => {
                        if let Ok(client) = tls.accept(client).await {
                            pass_on(client).await;
                        }
                    }
                }
            });
        }
    });
    port
}

/// An authority, and the files and the acceptor that it signed.
struct Certificates {
    folder: tempfile::TempDir,
    acceptor: TlsAcceptor,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
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
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = params.signed_by(&key, &issuer).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .build()
        .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self { folder, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

#[tokio::test]
async fn an_engine_is_reached_over_tcp() {
    let container = Container::run("tcp", &[], BOX_1);
    let url = format!("tcp://127.0.0.1:{}", listen(None).await);
    let restarter = restarter_at(&url, DockerConfig::container(&container.name));
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
    restarter.restart(request()).await.unwrap();
}

#[tokio::test]
async fn an_engine_is_reached_over_tls_with_our_certificate_only() {
    let container = Container::run("tls", &[], BOX_1);
    let certificates = Certificates::new();
    let url = format!("tcp://127.0.0.1:{}", listen(Some(certificates.acceptor.clone())).await);
    let folder = certificates.folder.path();
    let with = |tls: DockerTls| {
        let config = DockerConfig::container(&container.name).with_tls(Some(tls));
        restarter_at(&url, config)
    };
    let all = DockerTls::in_folder(folder);
    let restarter = with(all.clone());
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
    let receipt = restarter.restart(request()).await.unwrap();
    assert_ne!(receipt.before, receipt.after);

    let mut anonymous = all.clone();
    (anonymous.cert, anonymous.key) = (None, None);
    let error = with(anonymous).observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let other = Certificates::new();
    let mut stranger = all.clone();
    stranger.ca = Some(other.folder.path().join("ca.pem").into());
    let error = with(stranger).observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    let mut half = all;
    half.key = None;
    let hosts = DockerHosts::new(clock());
    let config = DockerConfig::container("api").with_host(Some(url)).with_tls(Some(half));
    let error = DockerRestarter::new(config, &hosts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
}

const SOCKET: &str = "JARVIS_TEST_CLOSED_SOCKET";

/// Root may open every socket, so that the question is asked by a copy of this test that runs as
/// nobody.
#[tokio::test]
async fn fault_23_a_socket_that_refuses_us_names_the_remedy() {
    if let Ok(socket) = std::env::var(SOCKET) {
        let restarter = restarter_at(&format!("unix://{socket}"), DockerConfig::container("api"));
        let error = restarter.observe().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error:?}");
        assert!(error.message().contains("docker group"), "{error}");
        assert!(!error.is_retryable());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let all = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.path(), all(0o755)).unwrap();
    let socket = folder.path().join("d.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, all(0o000)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    child
        .args(["--exact", "fault_23_a_socket_that_refuses_us_names_the_remedy"])
        .env(SOCKET, &socket)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("rollback");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_rollback_command_is_told_what_to_go_back_to_and_is_not_a_person() {
    let container = Container::run("command", &[], BOX_2);
    let to = VersionId::new(docker(&["image", "inspect", "-f", "{{.Id}}", BOX_1])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = script(
        folder.path(),
        &format!(
            "#!/bin/sh -e\ndocker -H {0} rm -f $JARVIS_CONTAINER\ndocker -H {0} run -d --network none --name $JARVIS_CONTAINER $1\n",
            host()
        ),
    );
    let argv = |path: &Path| Some(vec![path.display().to_string(), "{version}".to_owned()]);
    let config = DockerConfig::container(&container.name).with_rollback(argv(&path));
    let restarter = restarter_at(&host(), config);
    let before = restarter.observe().await.unwrap();
    let receipt = restarter.roll_back(request(), to.clone()).await.unwrap();
    let after = restarter.observe().await.unwrap();
    assert_eq!((&after.version, &after.state), (&Some(to.clone()), &RunState::Running));
    assert_eq!((receipt.before, receipt.after), (before.instance, after.instance));
    restarter.settle_roll_back(true).await.unwrap();
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);

    let path = script(folder.path(), "#!/bin/sh\necho no such tag >&2\nexit 4\n");
    let config = DockerConfig::container(&container.name).with_rollback(argv(&path));
    let error = restarter_at(&host(), config).roll_back(request(), to).await.unwrap_err();
    assert!(error.message().contains("no such tag"), "{error}");
}
