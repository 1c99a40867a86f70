//! A server that speaks TLS.

use jarvis_core::ErrorKind;
use jarvis_core::store::redis::Options;
use jarvis_tests::engines::{RedisServer, likely_port};
use rcgen::{CertificateParams, Issuer, KeyPair};

use crate::stage::{get, open, open_with, set};

#[tokio::test]
async fn a_certificate_is_checked_against_the_roots() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root_key, key) =
        (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let mut root = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).expect("a root").pem();
    let issuer = Issuer::new(root, root_key);
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).expect("parameters");
    let certificate = certificate.signed_by(&key, &issuer).expect("a certificate").pem();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("our folder");
        path.display().to_string()
    };
    let (certificate, key) = (file("certificate", certificate), file("key", key.serialize_pem()));
    let port = likely_port();
    let tls = port.to_string();
    let options = ["--tls-port", &tls, "--tls-auth-clients", "no", "--tls-cert-file", &certificate];
    let options = [options.as_slice(), &["--tls-key-file", &key]].concat();
    let _server = RedisServer::start(&options).await;

    let url = format!("rediss://127.0.0.1:{port}");
    let redis = open_with(&url, &Options::new().with_root_certificates(root_pem));
    set(&redis, "a", "1").await.expect("set");
    assert_eq!(get(&redis, "a").await.expect("get").as_deref(), Some("1"));
    let error = get(&open(&url), "a").await.expect_err("a root that nobody knows");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("certificate"), "{error}");
}
